"""Labels spoilt on purpose: how many of them stand at the head of `punctum check`'s list.

    python benchmarks/label_mistakes.py --data ../shared/data --out runs/mistakes

Of helen.zip's labels, 2 % of the points are shifted in a random direction by 5, 10, 20 or 40 % of the distance of the
outer corners of the eyes, and in 2 % of the faces the points of every left/right pair trade places. Then the lists of
`punctum check RUN DATA`:

- clean: the model was trained on the untouched training faces, the test faces' labels are spoilt;
- memorized: the training faces' labels are spoilt, the model was trained on them, and on them it is asked;
- crossed: the same spoilt labels, in two halves; each half is judged by a model that was trained on the other.

Each with three seeds (of the mistakes and the training); the density head at half the width of
benchmarks/accuracy.py. Beside the list stand rankings by one number alone: surprise (how far the label lies from the
prediction, in the model's own standard deviations) against what is usual at its keypoint, the bare surprise, and the
distance in pixels. Interrupted, it goes on where it was.
"""

import argparse
import copy
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import punctum
from accuracy import COMMON, HEADS, TASKS, half_width, prepare, punctum_command
from punctum.check_labels import LabelCheck, check_labels
from punctum.check_rank import FAR, robust_z

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Line = tuple[int, tuple[int, ...]]

SHARE = 0.02
SIZES = (0.05, 0.1, 0.2, 0.4)
WIDTH = 0.125
PARTS = (0.02, 0.05, 0.1)
BASELINES = ("surprise, per keypoint", "surprise", "distance")
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
    """JSON as a file."""
    path.write_text(json.dumps(content, indent=1 if "results" in content else None) + "\n")
    return path


def train(data: Path, val: Path, run: Path, seed: int, epochs: int) -> Path:
    """A run folder: the density head, as benchmarks/accuracy.py trains it on helen, but half as wide."""
    if not (run / "trained.json").exists():
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        options = [*HEADS["density"], *TASKS["helen"].train, *COMMON, "--hardware.cache", "ram", "--val", str(val)]
        options += ["--seed", str(seed)]
        for option, value in (("--max-epochs", epochs), ("--backbone.width", WIDTH)):
            options[options.index(option) + 1] = str(value)
        seconds = punctum_command(["train", str(data), "--out", str(run), *options, *resume], run)
        (run / "trained.json").write_text(json.dumps({"cpu_minutes": seconds / 60}) + "\n")
    return run


def check(run: Path, data: Path) -> LabelCheck:
    """The list of `punctum check RUN DATA`, kept beside the run."""
    return check_labels(run, data, out=run / f"check-{data.stem}", device="cpu")


def lists(checks: list[LabelCheck], rows: list[Rows], shape: tuple[int, int]) -> dict[str, list[Line]]:
    """Rankings of the judged labels, several checks of parts of the instances as one: lines of (row, keypoints)."""
    lines = [
        (f.evidence, (int(at[f.row]), f.keypoints)) for c, at in zip(checks, rows, strict=True) for f in c.findings
    ]
    ranked = {"check": [line for _, line in sorted(lines, key=lambda entry: -entry[0])]}
    values = {name: np.full(shape, np.nan) for name in BASELINES}
    for c, at in zip(checks, rows, strict=True):
        deviation = np.linalg.norm(c.judged.deviation, axis=-1)
        distance = np.where(np.isfinite(deviation), c.distance, np.nan)
        for name, value in zip(BASELINES, (robust_z(deviation), deviation, distance), strict=True):
            values[name][at] = value
    for name, value in values.items():
        order = np.argsort(-np.nan_to_num(value, nan=-np.inf), axis=None, kind="stable")[: np.isfinite(value).sum()]
        ranked[name] = [(int(n // shape[1]), (int(n % shape[1]),)) for n in order]
    return ranked


def found(ranked: list[Line], shift: Array, swapped: NDArray[np.bool_]) -> dict[str, Any]:
    """The shares of shifted labels that stand in the first 2, 5 and 10 % of the lines, and the same of swapped faces.

    Of the faces that were swapped no line counts for the shifted labels, nor do they push any down.
    """
    line = np.full(shift.shape, np.inf)
    lines = [(row, keypoints) for row, keypoints in ranked if not swapped[row]]
    for n, (row, keypoints) in enumerate(lines):
        line[row, list(keypoints)] = np.minimum(line[row, list(keypoints)], n)
    groups = {"all": shift > 0, **{f"{size:.0%}": shift == size for size in SIZES}}
    shares = {
        group: {f"{part:.0%}": float(np.mean(line[chosen] < part * len(lines))) for part in PARTS}
        for group, chosen in groups.items()
    }
    first = np.array(
        [next(n for n, (row, _) in enumerate(ranked) if row == face) for face in np.flatnonzero(swapped)]
    )
    return {
        "shifted": shares,
        "swapped": {f"{part:.0%}": float(np.mean(first < part * len(ranked))) for part in PARTS},
    }


def measure(checks: list[LabelCheck], rows: list[Rows], shift: Array, swapped: NDArray[np.bool_]) -> dict[str, Any]:
    """All rankings of one seed; what its findings of several points are; how many lines far off are mistakes."""
    findings = [(f, int(at[f.row])) for c, at in zip(checks, rows, strict=True) for f in c.findings]
    mirrored = {row for f, row in findings if f.kind == "mirrored"}
    far = [bool(swapped[row] or shift[row, list(f.keypoints)].any()) for f, row in findings if f.evidence > FAR]
    return {
        "rankings": {name: found(r, shift, swapped) for name, r in lists(checks, rows, shift.shape).items()},
        "swapped_faces": int(swapped.sum()),
        "named_swapped": len(mirrored & set(np.flatnonzero(swapped).tolist())),
        "wrongly_named_swapped": len(mirrored - set(np.flatnonzero(swapped).tolist())),
        "lines": len(findings),
        "lines_far_off": len(far),
        "planted_among_them": sum(far),
        "planted_labels": int((shift > 0).sum()),
        "median_error_px": float(np.nanmedian(np.concatenate([c.distance.ravel() for c in checks]))),
    }


def over_seeds(values: list[Any]) -> Any:
    """The same nested figures as mean, half-width of the 95 % interval and the values of all seeds."""
    if isinstance(values[0], dict):
        return {key: over_seeds([value[key] for value in values]) for key in values[0]}
    return {"mean": float(np.mean(values)), "half_width": half_width(values), "seeds": values}


def main() -> None:
    """Train what is missing, check, count, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with helen.zip")
    parser.add_argument("--out", type=Path, default=Path("runs/mistakes"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    ((train_file, test_file),) = prepare("helen", given.data, given.out / "data")
    train_set, test_set = (json.loads(path.read_text()) for path in (train_file, test_file))
    # A few test faces for the log alone: every spoilt label is trained on.
    few = write(train_file.parent / "few.json", part(test_set, np.arange(len(test_set["images"])) < 16))
    settings: dict[str, list[Any]] = {"clean": [], "memorized": [], "crossed": []}
    for seed in range(given.seeds):

        def trained(name: str, data: Path, seed: int = seed) -> Path:
            return train(data, few, given.out / f"{name}-seed{seed}", seed, given.epochs)

        spoilt, shift, swapped = plant(train_set, seed)
        data = write(train_file.parent / f"train-spoilt{seed}.json", spoilt)
        everyone = np.arange(len(swapped))
        settings["memorized"].append(measure([check(trained("spoilt", data), data)], [everyone], shift, swapped))
        first = np.random.default_rng((seed, 2)).permutation(len(swapped)) % 2 == 0
        halves = [
            write(train_file.parent / f"train-spoilt{seed}-half{h}.json", part(spoilt, keep))
            for h, keep in enumerate((first, ~first))
        ]
        runs = [trained(f"half{h}", half) for h, half in enumerate(halves)]
        rows = [np.flatnonzero(first), np.flatnonzero(~first)]
        checks = [check(run, half) for run, half in zip(runs[::-1], halves, strict=True)]
        settings["crossed"].append(measure(checks, rows, shift, swapped))
        spoilt, shift, swapped = plant(test_set, seed)
        data = write(test_file.parent / f"test-spoilt{seed}.json", spoilt)
        everyone = np.arange(len(swapped))
        settings["clean"].append(measure([check(trained("clean", train_file), data)], [everyone], shift, swapped))
    results = {name: over_seeds(values) for name, values in settings.items()}
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one thread",
        "versions": {"punctum": punctum.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "share": SHARE,
        "sizes": SIZES,
        "epochs": given.epochs,
        "width": WIDTH,
        "results": results,
    }
    path = write(given.out / "label-mistakes.json", report)
    print(table(results))
    print(f"written: {path}")


def table(results: dict[str, Any]) -> str:
    """Markdown, as docs/labelling.md shows it: shares of the shifted labels, in per cent."""
    groups = ["all", *(f"{size:.0%}" for size in SIZES)]
    lines = [f"| setting | ranking | first | {' | '.join(groups)} |", f"|---|---|---|{'---|' * len(groups)}"]
    for setting, result in results.items():
        for name, ranking in result["rankings"].items():
            for part in (f"{part:.0%}" for part in PARTS):
                values = [ranking["shifted"][group][part] for group in groups]
                shown = [f"{100 * v['mean']:.0f} ± {100 * v['half_width']:.0f}" for v in values]
                lines.append(f"| {setting} | {name} | {part} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
