"""What pictures that `punctum suggest` picks are worth, beside random ones.

    python benchmarks/suggest.py --data ../shared/data --out runs/suggest
    python benchmarks/suggest.py --data ../shared/data --out runs/suggest-films --pool films

100 random faces of helen.zip are labelled; a model is trained on them. Of a pool 100 more are added, chosen by each
strategy, and a new model is trained on the 200. The pool is the other 1,107 training faces, or one that repeats
itself: 200 of them once, and 10 more as films of 80 frames each, made by moving, turning, scaling and lighting the
picture a little. Figures are NME (% of the distance of the outer corners of the eyes) on the 330 test faces, with the
same seeds for all strategies:

- suggest: the pool's pictures by `punctum suggest`;
- doubt: those of the largest expected error; diverse: `suggest` with the same doubt of every picture; random.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import punctum
from accuracy import COMMON, HEADS, TASKS, half_width, prepare, punctum_command
from label_mistakes import part, write
from punctum.data import read
from punctum.data.images import read_image
from punctum.model_density import density_of
from punctum.predict import Predictor, load_model
from punctum.suggest_choose import choose
from punctum.suggest_looks import look

START, ADDED, WIDTH = 100, 100, 0.125
ONCE, FILMS, FRAMES = 200, 10, 80
LARGEST = np.array([6, 6, 4, 4, 10])
STRATEGIES = ("random", "doubt", "diverse", "suggest")


def train(data: Path, test: Path, run: Path, seed: int, epochs: int) -> float:
    """NME of a density head that is trained on these faces, in %."""
    if not (run / "metrics.json").exists() or not (run / "done").exists():
        # Half of the faces are few: the last epochs' model is judged, the log's validation faces play no part.
        options = [*HEADS["density"], *TASKS["helen"].train, *COMMON, "--hardware.cache", "ram", "--seed", str(seed)]
        for option, value in (("--max-epochs", epochs), ("--backbone.width", WIDTH)):
            options[options.index(option) + 1] = str(value)
        few = test.parent / "few.json"
        punctum_command(["train", str(data), "--out", str(run), "--val", str(few), *options], run)
        punctum_command(["evaluate", str(run), str(test), *TASKS["helen"].evaluate, "--no-report"], run)
        (run / "done").write_text("")
    return 100 * json.loads((run / "metrics.json").read_text())["nme"]["value"]


def films(pool: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """A pool that repeats itself; its pictures are written into the folder of the others."""
    rng = np.random.default_rng((seed, 11))
    order = rng.permutation(len(pool["images"]))
    once = part(pool, np.isin(np.arange(len(order)), order[:ONCE]))
    rows = {row["image_id"]: row for row in pool["annotations"]}
    images, annotations = list(once["images"]), list(once["annotations"])
    for n, i in enumerate(order[ONCE : ONCE + FILMS]):
        image = pool["images"][i]
        pixels, walk = read_image(folder / image["file_name"]), np.zeros(5)
        for t in range(FRAMES):
            # Pixels, pixels, degrees, per cent of size, per cent of brightness.
            walk = np.clip(walk + rng.normal(0, [0.5, 0.5, 0.3, 0.3, 1]), -LARGEST, LARGEST)
            frame, row = moved(pixels, rows[image["id"]], walk, rng)
            label = 10**6 + n * FRAMES + t
            name = f"film{seed}-{n}-{t:02}.jpg"
            cv2.imwrite(str(folder / name), frame[..., ::-1])
            images.append({**image, "id": label, "file_name": name})
            annotations.append({**row, "id": label, "image_id": label})
    return {**pool, "images": images, "annotations": annotations}


def moved(
    pixels: NDArray[np.uint8], row: dict[str, Any], walk: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """A picture and its annotation a moment later."""
    x, y, turn, size, light = walk
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1 + size / 100)
    matrix[:, 2] += x, y
    frame = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    frame = frame * (1 + light / 100) + rng.normal(0, 2, frame.shape)
    points = np.array(row["keypoints"], dtype=float).reshape(-1, 3)
    points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    left, top, w, h = row["bbox"]
    centre = matrix[:, :2] @ (left + w / 2, top + h / 2) + matrix[:, 2]
    box = [*(centre - np.array([w, h]) / 2), w, h]
    return frame.clip(0, 255).astype(np.uint8), {
        **row,
        "keypoints": points.ravel().tolist(),
        "bbox": list(map(float, box)),
    }


def both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two files as one."""
    return {**one, **{key: one[key] + other[key] for key in ("images", "annotations")}}


def chosen(strategy: str, run: Path, pool: Path, labelled: Path, seed: int) -> list[str]:
    """The file names of the pictures that a strategy adds."""
    known, others = read(labelled), read(pool)
    if strategy == "random":
        return [others.image_names[i] for i in np.random.default_rng((seed, 7)).permutation(len(others))[:ADDED]]
    model = load_model(run)
    predictor, density = Predictor(model, "cpu"), density_of(run, model)
    looks = look(predictor, others, density)
    if strategy == "doubt":
        order = np.argsort(-looks.doubt, kind="stable")[:ADDED]
    else:
        doubt = np.ones_like(looks.doubt) if strategy == "diverse" else looks.doubt
        order = choose(doubt, looks.features, ADDED, look(predictor, known, density).features).order
    names = dict(zip(others.images, others.image_names, strict=True))
    return [names[looks.images[i]] for i in order]


def main() -> None:
    """Train what is missing, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with helen.zip")
    parser.add_argument("--out", type=Path, default=Path("runs/suggest"))
    parser.add_argument("--pool", choices=("faces", "films"), default="faces")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=50)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    ((train_file, test_file),) = prepare("helen", given.data, given.out / "data")
    everything, folder = json.loads(train_file.read_text()), train_file.parent
    names = np.array([Path(image["file_name"]).name for image in everything["images"]])
    few = json.loads(test_file.read_text())
    write(folder / "few.json", part(few, np.arange(len(few["images"])) < 16))
    nme: dict[str, list[float]] = {name: [] for name in ("start", *STRATEGIES)}
    filmed: dict[str, list[int]] = {name: [] for name in STRATEGIES}
    for seed in range(given.seeds):
        start = np.zeros(len(names), dtype=bool)
        start[np.random.default_rng((seed, 3)).permutation(len(names))[:START]] = True
        labelled = write(folder / f"start{seed}.json", part(everything, start))
        rest = part(everything, ~start)
        rest = films(rest, read(train_file).images[0].parent, seed) if given.pool == "films" else rest
        pool = write(folder / f"pool{seed}.json", rest)
        pool_names = [Path(image["file_name"]).name for image in rest["images"]]
        run = given.out / f"start-seed{seed}"
        nme["start"].append(train(labelled, test_file, run, seed, given.epochs))
        for strategy in STRATEGIES:
            added = {Path(name).name for name in chosen(strategy, run, pool, labelled, seed)}
            taken = part(rest, np.isin(pool_names, list(added)))
            data = write(folder / f"{strategy}{seed}.json", both(part(everything, start), taken))
            filmed[strategy].append(sum(name.startswith("film") for name in added))
            nme[strategy].append(train(data, test_file, given.out / f"{strategy}-seed{seed}", seed, given.epochs))
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one thread",
        "versions": {"punctum": punctum.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "pool": given.pool,
        "labelled": START,
        "added": ADDED,
        "epochs": given.epochs,
        "width": WIDTH,
        "results": {name: summary(name, nme) for name in nme},
        **({"frames_of_films_among_the_added": filmed} if given.pool == "films" else {}),
    }
    path = write(given.out / "suggest.json", report)
    for name, result in report["results"].items():
        print(
            f"{name:10} NME {result['nme']:.2f} %, against random {result['gain']:+.2f} ± {result['half_width']:.2f}"
        )
    print(f"written: {path}")


def summary(name: str, nme: dict[str, list[float]]) -> dict[str, Any]:
    """The mean, and the mean difference to random ones of the same seed with its 95 % t-interval's half-width."""
    gains = [ours - theirs for ours, theirs in zip(nme[name], nme["random"], strict=True)]
    return {
        "nme": float(np.mean(nme[name])),
        "gain": float(np.mean(gains)),
        "half_width": half_width(gains) or 0.0,
        "seeds": nme[name],
    }


if __name__ == "__main__":
    main()
