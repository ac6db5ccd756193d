"""Labels spoilt on purpose: how many of them stand at the head of `punctum check`'s list.

    python benchmarks/label_mistakes.py --data ../shared/data --out runs/mistakes

Of helen.zip's labels, 2 % of the points are shifted in a random direction by 5, 10, 20 or 40 % of the distance of the
outer corners of the eyes, and in 2 % of the faces the points of every left/right pair trade places. Then the lists of
`punctum check RUN DATA`:

- clean: the model was trained on the untouched training faces, the test faces' labels are spoilt;
- memorized: the training faces' labels are spoilt, the model was trained on them, and on them it is asked;
- crossed: the same spoilt labels, in two halves; each half is judged by a model that was trained on the other.

Each with three seeds (of the mistakes and the training). Interrupted, it goes on where it was.
"""

import argparse
import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import COMMON, HEADS, TASKS, prepare, punctum_command
from numpy.typing import NDArray

SHARE = 0.02
SIZES = (0.05, 0.1, 0.2, 0.4)
WIDTH = 0.125
EYES = (36, 45)  # p37 and p46: the outer corners


def plant(content: dict[str, Any], seed: int) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.bool_]]:
    """Spoilt annotations, the shift of each point (N, K) in units of the eyes' distance, and who was swapped (N,)."""
    # Not the stream that `punctum train --seed` splits by: who is swapped shall not decide who is trained on.
    spoilt, rng = copy.deepcopy(content), np.random.default_rng((seed, 1))
    rows = spoilt["annotations"]
    points = np.array([row["keypoints"] for row in rows], dtype=np.float64).reshape(len(rows), -1, 3)
    swapped = np.zeros(len(rows), dtype=bool)
    swapped[rng.permutation(len(rows))[: round(SHARE * len(rows))]] = True
    free = np.flatnonzero(np.repeat(~swapped, points.shape[1]))
    chosen = rng.permutation(free)[: round(SHARE * points.shape[0] * points.shape[1])]
    shift = np.zeros(points.shape[:2])
    shift.flat[chosen] = np.resize(SIZES, len(chosen))
    angle = rng.uniform(0, 2 * np.pi, shift.shape)
    length = np.linalg.norm(points[:, EYES[0], :2] - points[:, EYES[1], :2], axis=-1)[:, None] * shift
    points[..., :2] += length[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    for i, j in content["categories"][0]["flip_pairs"]:
        points[np.ix_(swapped, [i, j])] = points[np.ix_(swapped, [j, i])]
    for row, moved in zip(rows, points, strict=True):
        row["keypoints"] = moved.round(3).flatten().tolist()
    return spoilt, shift, swapped


def part(content: dict[str, Any], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """The annotations of some of the images."""
    images = [image for image, kept in zip(content["images"], keep, strict=True) if kept]
    ids = {image["id"] for image in images}
    rows = [row for row in content["annotations"] if row["image_id"] in ids]
    return {**content, "images": images, "annotations": rows}


def write(path: Path, content: dict[str, Any]) -> Path:
    """The annotations as a file."""
    path.write_text(json.dumps(content))
    return path


def train(data: Path, val: Path, run: Path, seed: int, epochs: int) -> Path:
    """A run folder: the density head, as benchmarks/accuracy.py trains it on helen, but half as wide."""
    if not (run / "trained.json").exists():
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        options = [*HEADS["density"], *TASKS["helen"].train, *COMMON, "--val", str(val), "--seed", str(seed)]
        for option, value in (("--max-epochs", epochs), ("--backbone.width", WIDTH)):
            options[options.index(option) + 1] = str(value)
        seconds = punctum_command(["train", str(data), "--out", str(run), *options, *resume], run)
        (run / "trained.json").write_text(json.dumps({"cpu_minutes": seconds / 60}) + "\n")
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with helen.zip")
    parser.add_argument("--out", type=Path, default=Path("runs/mistakes"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=25)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ((train_file, test_file),) = prepare("helen", given.data, given.out / "data")
    train_set, test_set = (json.loads(path.read_text()) for path in (train_file, test_file))
    # A few test faces for the log alone: every spoilt label is trained on.
    few = write(train_file.parent / "few.json", part(test_set, np.arange(len(test_set["images"])) < 16))
    for seed in range(given.seeds):
        spoilt, shift, swapped = plant(train_set, seed)
        data = write(train_file.parent / f"train-spoilt{seed}.json", spoilt)
        train(data, few, given.out / f"spoilt-seed{seed}", seed, given.epochs)
        half = np.random.default_rng((seed, 2)).permutation(len(spoilt["images"])) % 2 == 0
        for h, keep in enumerate((half, ~half)):
            data = write(train_file.parent / f"train-spoilt{seed}-half{h}.json", part(spoilt, keep))
            train(data, few, given.out / f"half{h}-seed{seed}", seed, given.epochs)


if __name__ == "__main__":
    main()
