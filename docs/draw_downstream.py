"""Draws docs/images/downstream/*.png, and prints every figure that docs/downstream.md states.

    python docs/draw_downstream.py                                   # what is made up
    python docs/draw_downstream.py --mouse RUN VIDEO LABELS.csv      # a model of mirrormouse, its video and labels

Everything made up is drawn with a seed, and its errors are drawn from the covariances that are then told: that is
what a calibrated prediction promises. Two minutes on one core.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from punctum.downstream import smooth, triangulate
from punctum.files import write_through
from punctum.report.charts import ACCENT, INK, MUTED, SECOND, legend, new_axes

Array = np.ndarray[Any, Any]

OUT = Path(__file__).parent / "images" / "downstream"
# 95 % quantiles of chi-square with 1, 2 and 3 degrees of freedom.
INSIDE = {1: 3.841459, 2: 5.991465, 3: 7.814728}


def main() -> None:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mouse", nargs=3, type=Path, metavar=("RUN", "VIDEO", "LABELS"))
    given = parser.parse_args()
    if given.mouse:
        import draw_mouse

        save(draw_mouse.draw(*given.mouse), "mouse")
        return
    save(draw_geometry(), "geometry")
    save(draw_motion(), "motion")
    print_lasting_errors()
    print_space_and_time()


def save(drawing: Any, name: str) -> None:
    """As a PNG, whole or not at all."""
    drawing.set_dpi(110)
    canvas = FigureCanvasAgg(drawing)
    print(write_through(OUT / f"{name}.png", lambda temporary: canvas.print_png(str(temporary))))


def noisy(rng: np.random.Generator, places: Array, spread: Array) -> Array:
    """Places (..., D) with errors of covariance (..., D, D)."""
    return places + (np.linalg.cholesky(spread) @ rng.normal(size=(*places.shape, 1)))[..., 0]


def held(error: Array, spread: Array) -> float:
    """Share of the errors inside of their 95 % ellipse."""
    squared = (error * np.linalg.solve(spread, error[..., None])[..., 0]).sum(-1)
    return float((squared < INSIDE[error.shape[-1]]).mean())


def print_table(rows: Mapping[str, list[str]], *head: str) -> None:
    """In Markdown."""
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")
    print()


# Several views


def camera(centre: tuple[float, float, float], target: tuple[float, float, float] = (0, 0, 1)) -> Array:
    """K [R | t] of a 1920 x 1080 camera at a place (metres, z up) that looks at another."""
    place = np.array(centre, dtype=float)
    ahead = np.array(target) - place
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    lens = np.array([[1500, 0, 959.5], [0, 1500, 539.5], [0, 0, 1]])
    return lens @ np.c_[rotation, -rotation @ place]


CAMERAS = np.stack([camera(c) for c in [(4, 0, 1.8), (1.5, 4, 1.5), (-3, 3, 2.2), (-2, -4, 1.2)]])


def project(points: Array) -> Array:
    """Pixels (V, ..., 2) of points (..., 3)."""
    seen = [np.concatenate([points, np.ones_like(points[..., :1])], -1) @ p.T for p in CAMERAS]
    return np.stack([s[..., :2] / s[..., 2:] for s in seen])


def spreads(rng: np.random.Generator, count: int) -> Array:
    """(4, N, 2, 2): 1 to 3 px where a view sees the point; one view in five guesses, 10 to 40 px along a limb."""
    guess = rng.random((4, count)) < 0.2
    across = np.where(guess, rng.uniform(3, 8, (4, count)), rng.uniform(1, 3, (4, count)))
    along = np.where(guess, rng.uniform(10, 40, (4, count)), rng.uniform(1, 3, (4, count)))
    turn = rng.uniform(0, np.pi, (4, count))
    axes = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    return (axes * np.stack([along, across], -1)[..., None, :] ** 2) @ axes.swapaxes(-1, -2)


def draw_geometry() -> Any:
    """Errors in space of points seen by four cameras, weighted and not; one point from above, many times."""
    rng = np.random.default_rng(0)
    truth = rng.uniform([-0.5, -0.5, 0], [0.5, 0.5, 2], (20_000, 3))
    spread = spreads(rng, len(truth))
    pixels = noisy(rng, project(truth), spread)
    width = np.sqrt(np.linalg.eigvalsh(spread)[..., -1])
    sure = np.where((width < 8)[..., None], pixels, np.nan)
    found = {
        "weighted by covariances": triangulate(pixels, CAMERAS, spread),
        "all views alike": triangulate(pixels, CAMERAS),
        "alike, views above 8 px left out": triangulate(sure, CAMERAS),
        "alike, gate at 0.001 and 2 px": triangulate(pixels, CAMERAS, 0 * spread + 4 * np.eye(2), gate=1e-3),
        "weighted, covariances four times too small": triangulate(pixels, CAMERAS, spread / 4),
    }
    errors = {name: 1000 * np.linalg.norm(f.points - truth, axis=-1) for name, f in found.items()}
    rows = {}
    for name, f in found.items():
        known = ~np.isnan(f.points[:, 0])
        median, high = np.quantile(errors[name][known], [0.5, 0.95])
        inside = f"{100 * held((f.points - truth)[known], f.covariance[known]):.1f} %"
        rows[name] = [f"{median:.1f}", f"{high:.1f}", inside, f"{100 * (1 - known.mean()):.1f} %"]
    print_table(rows, "triangulation", "median mm", "95th percentile mm", "95 % ellipsoids hold", "not found")
    drawing, (left, right) = new_axes("error in space, mm", "share of points", size=(9.6, 4.0), columns=2)
    looks = [(ACCENT, "-"), (SECOND, "-"), (SECOND, ":"), (MUTED, "--")]
    for name, (colour, dashes) in zip(errors, looks, strict=False):
        ordered = np.sort(errors[name][~np.isnan(errors[name])])
        share = np.linspace(0, 1, len(ordered))
        left.plot(ordered, share, label=name, linewidth=1.8, color=colour, linestyle=dashes)
    left.set(xlim=(0.5, 200), ylim=(0, 1), xscale="log")
    left.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    legend(left, loc="lower right", fontsize=8.5)
    draw_one_point(right, rng)
    return drawing


def draw_one_point(axes: Any, rng: np.random.Generator) -> None:
    """A point that the second camera guesses at, triangulated from 300 draws; the stated ellipse, from above."""
    spread = np.stack([4 * np.eye(2), np.diag([900.0, 25]), 4 * np.eye(2), 4 * np.eye(2)])
    truth = np.array([0.2, 0.1, 1.2])
    pixels = noisy(rng, np.repeat(project(truth)[:, None], 300, 1), np.repeat(spread[:, None], 300, 1))
    for name, colour, weights in (("all views alike", SECOND, None), ("weighted", ACCENT, spread)):
        told = None if weights is None else np.repeat(weights[:, None], 300, 1)
        f = triangulate(pixels, CAMERAS, told)
        axes.plot(*(1000 * (f.points - truth)[:, :2].T), ".", color=colour, markersize=3, alpha=0.5, label=name)
        if weights is not None:
            turn = np.linspace(0, 2 * np.pi, 100)
            root = np.linalg.cholesky(f.covariance[0, :2, :2] * INSIDE[2])
            axes.plot(
                *(1000 * root @ [np.cos(turn), np.sin(turn)]), color=INK, linewidth=1.4, label="95 %, as stated"
            )
    axes.set(xlabel="x error, mm", ylabel="y error, mm", xlim=(-80, 80), ylim=(-50, 50), aspect="equal")
    legend(axes, loc="upper left", fontsize=8.5)


# A video


def wander(rng: np.random.Generator, frames: int, count: int, fps: float, power: float) -> Array:
    """Paths (T, K, 2) of points with white acceleration."""
    step, fine = 1 / (20 * fps), 20 * frames
    kicks = rng.normal(size=(fine, count, 2)) * np.sqrt(power * step)
    speed = kicks.cumsum(0) + 50 * rng.normal(size=(count, 2))
    return (speed.cumsum(0) * step + 100 * rng.normal(size=(count, 2)))[::20]


def walk(rng: np.random.Generator, frames: int, count: int, fps: float) -> Array:
    """Paths (T, K, 2) of paws: steps forward and up, twice a second, which white acceleration is not."""
    phase = 2 * np.pi * (2 * np.arange(frames)[:, None] / fps + rng.random(count))
    along = 120 * np.arange(frames)[:, None] / fps + 15 * np.sin(phase)
    return np.stack([along, 12 * np.maximum(np.sin(phase + 1), 0) ** 2], -1)


def exactness(rng: np.random.Generator, frames: int, count: int) -> Array:
    """(T, K, 2, 2): 1 px, and now and then 8 px for a third of a second."""
    hidden = np.repeat(rng.random((frames // 10 + 1, count)) < 0.25, 10, 0)[:frames]
    sigma = np.where(hidden, 8.0, 1.0) * rng.uniform(0.8, 1.25, (frames, count))
    return sigma[..., None, None] ** 2 * np.eye(2)


def draw_motion() -> Any:
    """Tables of errors and coverage, and one track: what was measured, the truth, and the band."""
    rng, fps = np.random.default_rng(1), 30
    for title, path in (
        ("white acceleration", wander(rng, 300, 12, fps, 3000.0)),
        ("steps", walk(rng, 300, 12, fps)),
    ):
        spread = exactness(rng, 300, 12)
        y = noisy(rng, path, spread)
        wrong = rng.random(y.shape[:2]) < 0.02
        y[wrong] += rng.normal(size=(wrong.sum(), 2)) * 80
        y[100:110, ::2] = np.nan
        alike = 0 * spread + np.trace(spread, axis1=-2, axis2=-1).mean() / 2 * np.eye(2)
        found = {
            "weighted by covariances": smooth(y, spread, fps=fps, gate=1e-4),
            "weighted, without a gate": smooth(y, spread, fps=fps),
            "all frames alike, gate": smooth(y, alike, fps=fps, gate=1e-4),
        }
        rows = {"as measured": [rms(y - path), rms((y - path)[~wrong]), "", ""]}
        for name, f in found.items():
            inside = f"{100 * held(f.keypoints - path, f.covariance):.1f} %"
            dropped = f"{(f.dropped & wrong).sum()} of {(wrong & ~np.isnan(y[..., 0])).sum()}"
            dropped += f", {(f.dropped & ~wrong).sum()} others"
            rows[name] = [rms(f.keypoints - path), rms((f.keypoints - path)[~wrong]), inside, dropped]
        print(title)
        print_table(rows, "", "RMS error px", "where not wrong", "95 % ellipses hold", "outliers dropped")
    return draw_track(path, y, spread, found["weighted by covariances"], fps)


def rms(error: Array) -> str:
    """Root mean square length."""
    return f"{np.sqrt(np.nanmean(np.square(error).sum(-1))):.2f}"


def draw_track(path: Array, measured: Array, spread: Array, found: Any, fps: float, k: int = 2) -> Any:
    """The height of one paw: what was measured with its deviation, the truth, the smoothed band."""
    truth, y, variance = path[:, k, 1], measured[:, k, 1], spread[:, k, 1, 1]
    drawing, axes = new_axes("time, s", "height of a paw, px", size=(9.6, 3.6))
    times, kept = np.arange(len(y)) / fps, found.used[:, k]
    middle, band = found.keypoints[:, k, 1], 1.96 * np.sqrt(found.covariance[:, k, 1, 1])
    axes.errorbar(times[kept], y[kept], np.sqrt(variance[kept]), fmt=".", color=MUTED, markersize=4, linewidth=0.7,
                  label="measured, ± its deviation")  # fmt: skip
    gone = found.dropped[:, k]
    axes.plot(times[gone], y[gone].clip(-29, 39), "x", color=SECOND, markersize=6, label="dropped by the gate")
    axes.fill_between(
        times, middle - band, middle + band, color=ACCENT, alpha=0.3, linewidth=0, label="smoothed, 95 %"
    )
    axes.plot(times, truth, color=INK, linewidth=1.2, label="truth")
    axes.set(xlim=(2, 8), ylim=(-30, 50))
    legend(axes, loc="upper right", ncols=4, fontsize=8.5)
    return drawing


def print_lasting_errors() -> None:
    """Coverage when errors of neighbouring frames are alike, told and untold."""
    rng, fps, rows = np.random.default_rng(2), 30, {}
    path = wander(rng, 300, 20, fps, 3000.0)
    for share in (0.0, 0.5, 0.8, 0.9):
        error = rng.normal(size=path.shape)
        for t in range(1, len(error)):
            error[t] = share * error[t - 1] + np.sqrt(1 - share**2) * error[t]
        cells = []
        for factor in (1.0, (1 + share) / (1 - share)):
            spread = np.broadcast_to(factor * np.eye(2), (*path.shape, 2))
            f = smooth(path + error, spread, fps=fps)
            cells += [f"{100 * held(f.keypoints - path, f.covariance):.1f} %"]
        plain = smooth(path + error, np.broadcast_to(np.eye(2), (*path.shape, 2)), fps=fps)
        rows[f"{share:g}"] = [f"{np.nanmean(plain.chi2) / 2:.2f}", *cells, f"{factor:.0f}"]
    print_table(
        rows, "correlation of neighbours", "mean chi2 / D", "95 % ellipses hold", "widened hold", "by the factor"
    )


def print_space_and_time() -> None:
    """Twenty points that swing by 0.2 m about once a second, triangulated and followed in time."""
    rng, fps = np.random.default_rng(3), 30
    swing = 2 * np.pi * (np.arange(200)[:, None, None] / fps * rng.uniform(0.3, 1.2, (20, 3)) + rng.random((20, 3)))
    path = rng.uniform([-0.5, -0.5, 0], [0.5, 0.5, 2], (20, 3)) + 0.2 * np.sin(swing)
    spread = spreads(rng, 200 * 20).reshape(4, 200, 20, 2, 2)
    pixels = noisy(rng, project(path), spread)
    points = triangulate(pixels, CAMERAS, spread)
    found = smooth(points.points, points.covariance, fps=fps)
    rows = {}
    for name, place, covariance in (("each frame alone", points.points, points.covariance),
                                    ("smoothed", found.keypoints, found.covariance)):  # fmt: skip
        error = place - path
        rows[name] = [rms(1000 * error), f"{100 * held(error, covariance):.1f} %"]
    print_table(rows, "", "RMS error mm", "95 % ellipsoids hold")


if __name__ == "__main__":
    main()
