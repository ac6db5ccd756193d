"""Do `typical` and the flags notice foreign pictures? A model of faces, and what is no face as it learned them.

    python benchmarks/foreign.py --data ../shared/data --runs runs/trust/helen --out runs/foreign

Takes the density models that benchmarks/trust.py trained on helen.zip, calibrates each on half of the held-out faces,
and predicts the other half and foreign pictures: people (lspet.zip), mice (mirrormouse.zip), noise, one grey, the
same faces upside down, faces blurred, darkened, and with a black square over a quarter of the picture. AUROC is that
of telling foreign pictures from the other half of the faces, by one number of each picture: 1 - typical, the share of
flagged points, or 1 - the mean of the head's own score. Beside it, how many pictures each limit would name.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from accuracy import half_width, prepare
from label_mistakes import part, write
from punctum.calibrate import calibrate
from punctum.data import read, read_image
from punctum.environment import environment
from punctum.image_prediction import ImagePrediction
from punctum.predict import Predictor, load, load_model

LIMIT = 0.01  # of `typical`, as `punctum predict` counts it
Picture = NDArray[np.uint8]


def main() -> None:
    """Calibrate, predict, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with helen.zip, lspet.zip, mirrormouse.zip")
    parser.add_argument("--runs", type=Path, default=Path("runs/trust/helen"), help="of benchmarks/trust.py")
    parser.add_argument("--out", type=Path, default=Path("runs/foreign"))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    _, test = prepare("helen", given.data, given.out / "data")[0]
    elsewhere = {
        "people": prepare("lspet", given.data, given.out / "data")[0][1],
        "mice": prepare("mirrormouse", given.data, given.out / "data")[0][0],
    }
    rows = [one_seed(given.runs, given.out, test, elsewhere, seed) for seed in range(given.seeds)]
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "limit": LIMIT,
        "pictures": rows[0]["pictures"],
        "results": over_seeds([row["results"] for row in rows]),
    }
    path = write(given.out / "foreign.json", report)
    print(table(report["results"]))
    print(f"written: {path}")


def one_seed(runs: Path, out: Path, test: Path, elsewhere: dict[str, Path], seed: int) -> dict[str, Any]:
    """Figures of one model and one half."""
    run = out / f"seed{seed}"
    shutil.copytree(runs / f"density-seed{seed}" / "fold0" / "model", run / "model", dirs_exist_ok=True)
    shutil.copy(runs / f"density-seed{seed}" / "fold0" / "config.yaml", run)
    faces = json.loads(test.read_text())
    first = np.random.default_rng(seed).permutation(len(faces["images"])) % 2 == 0
    half = write(test.parent / f"half{seed}.json", part(faces, first))
    rest = read(write(test.parent / f"rest{seed}.json", part(faces, ~first)))
    calibrate(run, half, device="cpu")
    predictor, plain = load(run, "cpu"), Predictor(load_model(run), "cpu")
    usual = [read_image(path) for path in rest.images]
    known = figures(predictor, plain, usual)
    results: dict[str, Any] = {"faces": {"named": float((known["typical"] >= 1 - LIMIT).mean())}}
    sets = foreign(usual, elsewhere, seed)
    for name, pictures in sets.items():
        found = figures(predictor, plain, pictures)
        results[name] = {f"AUROC {word}": auroc(found[word], known[word]) for word in known}
        results[name]["named"] = float((found["typical"] >= 1 - LIMIT).mean())
        results[name]["flagged points"] = float(found["flags"].mean())
    results["faces"]["flagged points"] = float(known["flags"].mean())
    return {"pictures": {"faces": len(usual), **{n: len(p) for n, p in sets.items()}}, "results": results}


def figures(predictor: Predictor, plain: Predictor, pictures: list[Picture]) -> dict[str, NDArray[np.float64]]:
    """Numbers of each picture that are larger the more foreign it seems."""
    found = predictor.predict(pictures)
    own = plain.predict(pictures)
    return {
        "typical": np.array([1 - trust_of(p).typical for p in found]),
        "flags": np.array([np.any(list(trust_of(p).flags.values()), axis=0).mean() for p in found]),
        "own score": np.array([1 - p.score.mean() for p in own]),
        "score": np.array([1 - p.score.mean() for p in found]),
    }


def trust_of(prediction: ImagePrediction) -> Any:
    """What the calibration says of it."""
    if prediction.trust is None:
        raise SystemExit("the model is not calibrated")
    return prediction.trust


def auroc(foreign_values: NDArray[np.float64], known: NDArray[np.float64]) -> float:
    """P(a foreign picture's number is larger), ties counted half: Mann and Whitney's U."""
    u = stats.mannwhitneyu(foreign_values, known, alternative="greater").statistic
    return float(u / (len(foreign_values) * len(known)))


def foreign(usual: list[Picture], elsewhere: dict[str, Path], seed: int) -> dict[str, list[Picture]]:
    """Pictures of other kinds by name."""
    rng = np.random.default_rng(seed)
    sets = {}
    for name, path in elsewhere.items():
        images = list(dict.fromkeys(read(path).images))
        sets[name] = [read_image(images[i]) for i in rng.permutation(len(images))[: len(usual)]]
    shape = usual[0].shape
    sets["noise"] = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in usual]
    sets["grey"] = [np.full(shape, value, dtype=np.uint8) for value in rng.integers(32, 224, 32)]
    sets["upside down"] = [np.ascontiguousarray(image[::-1, ::-1]) for image in usual]
    sets["blurred, sigma 6 px"] = [np.asarray(cv2.GaussianBlur(image, (0, 0), 6), dtype=np.uint8) for image in usual]
    sets["darkened to 10 %"] = [(image * 0.1).astype(np.uint8) for image in usual]
    sets["a quarter covered"] = [covered(image, rng) for image in usual]
    return sets


def covered(image: Picture, rng: np.random.Generator) -> Picture:
    """A black square of half of the picture's side, anywhere in it."""
    side = image.shape[0] // 2
    y, x = rng.integers(0, image.shape[0] - side), rng.integers(0, image.shape[1] - side)
    picture = image.copy()
    picture[y : y + side, x : x + side] = 0
    return picture


def over_seeds(rows: list[Any]) -> Any:
    """Mean and half-width of the 95 % interval over seeds, at every leaf."""
    if isinstance(rows[0], dict):
        return {key: over_seeds([row[key] for row in rows]) for key in rows[0]}
    return {"mean": statistics.mean(rows), "half_width": half_width(list(rows)), "seeds": rows}


def table(results: dict[str, Any]) -> str:
    """Markdown, as docs/uncertainty.md shows it."""
    columns = ["AUROC typical", "AUROC flags", "AUROC score", "AUROC own score", "named", "flagged points"]
    lines = [f"| pictures | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, row in results.items():
        scale = [100 if column in ("named", "flagged points") else 1 for column in columns]
        digits = [1 if s == 100 else 3 for s in scale]
        shown = [
            f"{s * row[c]['mean']:.{d}f}" + (f" ± {s * row[c]['half_width']:.{d}f}" if row[c]["half_width"] else "")
            if c in row
            else ""
            for c, s, d in zip(columns, scale, digits, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
