"""The mouse of docs/downstream.md: a model's points in every frame of a real video, smoothed.

Called by draw_downstream.py with a model of mirrormouse, the video, and labels that the model did not learn from.
The mouse is seen twice, from the side and, in a mirror, from below. Nobody labelled the video; but a paw's place
across the picture is seen in both views, so they test each other.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from draw_downstream import INSIDE, held, print_table
from matplotlib.figure import Figure

import punctum
from punctum import data
from punctum.downstream import smooth
from punctum.report.charts import ACCENT, INK, MUTED, SECOND, legend, style

Array = np.ndarray[Any, Any]

FPS = 250
PAWS = ("paw1LH", "paw2LF", "paw3RF", "paw4RH")


def draw(run: Path, video: Path, labels: Path) -> Figure:
    """One frame with the way of a paw, and the paw in time; tables of what smoothing changes."""
    predictor = punctum.load(run, "cpu")
    annotations = data.read(labels)
    factor = scale(predictor, annotations)
    frames = read_frames(video)
    found = predictor.predict(frames)
    y, spread = np.stack([p.keypoints for p in found]), factor * np.stack([p.covariance for p in found])
    followed = smooth(y, spread, fps=FPS, gate=1e-4)
    names = predictor.schema.names
    print(f"{len(y)} frames, {followed.dropped.mean():.1%} of the points dropped; mean chi2 / 2 of the others "
          f"{np.nanmean(followed.chi2[followed.used]) / 2:.2f}")  # fmt: skip
    relation = views_agree(annotations.keypoints, names)
    rows = {}
    for name, points in (
        ("labels", annotations.keypoints),
        ("each frame alone", y),
        ("smoothed", followed.keypoints),
    ):
        off = np.abs(disagreement(points, names, relation))
        shake = np.nan if name == "labels" else np.linalg.norm(np.diff(points, 2, axis=0), axis=-1).mean()
        rows[name] = [f"{np.nanmedian(off):.1f}", f"{np.nanquantile(off, 0.95):.1f}", f"{shake:.2f}"]
    print_table(rows, "", "views apart, median px", "95th percentile px", "change of velocity, px a frame")
    return draw_paw(frames, y, followed, names.index("paw3RF_bot"))


def scale(predictor: Any, annotations: Any) -> float:
    """By what covariances must be multiplied for 95 % ellipses to hold 95 % of labels that the model has not seen."""
    points = predictor.annotated_points(annotations)
    seen = annotations.visibility > 0
    error, spread = (points.keypoints - annotations.keypoints)[seen], points.covariance[seen]
    squared = (error * np.linalg.solve(spread, error[..., None])[..., 0]).sum(-1)
    factor = float(np.quantile(squared, 0.95)) / INSIDE[2]
    print(
        f"{seen.sum()} labels: 95 % ellipses hold {held(error, spread):.1%}; covariances are taken {factor:.2f}-fold"
    )
    return factor


def read_frames(video: Path) -> list[Array]:
    """All frames, RGB."""
    reader, frames = cv2.VideoCapture(str(video)), []
    while (read := reader.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames


def paws(points: Array, names: tuple[str, ...]) -> tuple[Array, Array]:
    """The side view's and the mirror's paws, (N, 4, 2) each."""
    side, below = ([names.index(f"{paw}_{view}") for paw in PAWS] for view in ("top", "bot"))
    return points[:, side], points[:, below]


def views_agree(labels: Array, names: tuple[str, ...]) -> Array:
    """a, b, c, d of x_side = a x_below + b y_below + c y_side + d: two cameras far away, from labels."""
    side, below = (p.reshape(-1, 2) for p in paws(labels, names))
    known = np.isfinite(side).all(-1) & np.isfinite(below).all(-1)
    rows = np.column_stack([below, side[:, 1], np.ones(len(side))])
    return np.linalg.lstsq(rows[known], side[known, 0], rcond=None)[0]


def disagreement(points: Array, names: tuple[str, ...], relation: Array) -> Array:
    """By how many pixels the views contradict each other, (N, 4)."""
    side, below = paws(points, names)
    return side[..., 0] - np.concatenate([below, side[..., 1:], np.ones_like(side[..., 1:])], -1) @ relation


def draw_paw(frames: list[Array], y: Array, followed: Any, k: int, start: int = 300, count: int = 250) -> Figure:
    """A second of one paw: its way over a frame, and along the picture in time."""
    drawing = Figure(figsize=(9.6, 3.8), layout="constrained", facecolor="white")
    left, right = drawing.subplots(1, 2, width_ratios=(1, 1.9))
    some = slice(start, start + count)
    left.imshow(frames[start])
    left.plot(*y[some, k].T, ".", color=SECOND, markersize=2.5)
    left.plot(*followed.keypoints[some, k].T, color=ACCENT, linewidth=1.3)
    left.set(xticks=[], yticks=[], xlim=(-0.5, 395.5), ylim=(405.5, -0.5))
    style(right).set(xlabel="time, s", ylabel="along the picture, px")
    times, middle = np.arange(len(y))[some] / FPS, followed.keypoints[some, k, 0]
    band = 1.96 * np.sqrt(followed.covariance[some, k, 0, 0])
    kept, gone = followed.used[some, k], followed.dropped[some, k]
    right.plot(times[kept], y[some][kept, k, 0], ".", color=MUTED, markersize=4, label="each frame alone")
    right.plot(times[gone], y[some][gone, k, 0], "x", color=SECOND, markersize=6, label="dropped by the gate")
    right.fill_between(times, middle - band, middle + band, color=ACCENT, alpha=0.35, linewidth=0, label="95 %")
    right.plot(times, middle, color=INK, linewidth=0.9, label="smoothed")
    right.set_ylim(175, 355)
    legend(right, loc="upper right", ncols=4, fontsize=8.5)
    return drawing
