"""An evaluation's curves: errors, training, and whether scores and spreads can be believed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.evaluation import Evaluation
from punctum.report import charts
from punctum.report.blocks import Block, Column, Figure, Table, Text
from punctum.report.trust import Bins, by_score, coverage, levels

# Ellipses are called right while the measured share is so near to the nominal one.
NEAR = 0.05
FAMOUS = 0.9
CALIBRATE = (
    "Nobody has calibrated this model: what its scores and spreads are worth was measured here, and nothing is "
    "promised. `punctum calibrate` makes probabilities of its scores, and regions that keep what they promise, from "
    "labelled images that it has not learned from."
)


def accuracy_charts(evaluation: Evaluation, metrics: dict[str, Any], unit: str) -> list[Block]:
    """The share of points within any error, in pixels and in lengths."""
    errors = evaluation.errors
    known = errors[np.isfinite(errors)]
    if not len(known):
        return [Text("No labelled point has a prediction that is a number.", "warning")]
    half, ninety = (float(np.quantile(known, q)) for q in (0.5, 0.9))
    curves = {"all points": errors, **_extremes(evaluation)}
    more = ": of all, and of the keypoints with the smallest and the largest median" if len(curves) > 1 else ""
    blocks: list[Block] = [
        Figure(
            charts.error_cdf(curves, xlabel=f"error, {unit}", log=bool((known > 0).all())),
            f"Share of points with an error up to x{more}.",
            f"Cumulative distribution of errors: half of the points within {half:.2f} {unit}, 90 % within "
            f"{ninety:.2f} {unit}.",
        )
    ]
    relative = errors / evaluation.lengths[:, None]
    if np.isfinite(relative).any() and not str(evaluation.normalizer).startswith("pixels"):
        thresholds = sorted(float(t) for t in metrics["pck"])
        shares = ", ".join(f"{share['value']:.1%} at {t}" for t, share in metrics["pck"].items() if share["value"])
        curves = {"all points": relative, **_extremes(evaluation, relative)}
        limit = 1.2 * thresholds[-1]
        blocks.append(
            Figure(
                charts.error_cdf(curves, xlabel="threshold, lengths", ylabel="PCK", limit=limit, marks=thresholds),
                f"PCK over its threshold, in lengths: {evaluation.normalizer}. Dotted: the thresholds used above.",
                f"PCK by threshold: {shares}.",
            )
        )
    return blocks


def _extremes(evaluation: Evaluation, errors: NDArray[np.float64] | None = None) -> dict[str, NDArray[np.float64]]:
    """Errors of the best and the worst keypoint, where there are several."""
    medians = np.full(len(evaluation.names), np.nan)
    for k, column in enumerate(evaluation.errors.T):
        if np.isfinite(column).any():
            medians[k] = np.nanmedian(column)
    if np.isfinite(medians).sum() < 3 or np.nanmin(medians) == np.nanmax(medians):
        return {}
    shown = evaluation.errors if errors is None else errors
    best, worst = int(np.nanargmin(medians)), int(np.nanargmax(medians))
    return {f"best: {evaluation.names[best]}": shown[:, best], f"worst: {evaluation.names[worst]}": shown[:, worst]}


def training_charts(rows: Sequence[dict[str, str]], unit: str) -> list[Block]:
    """Losses and the validation error over epochs, from logs/metrics.csv."""

    def column(name: str) -> NDArray[np.float64]:
        return np.array([_number(row.get(name)) for row in rows])

    epochs = column("epoch")
    blocks: list[Block] = []
    losses = {"training": column("train_loss"), "validation": column("val_loss")}
    if any(np.isfinite(v).any() for v in losses.values()):
        blocks.append(
            Figure(
                charts.history(epochs, losses, ylabel="loss"),
                "Loss after each epoch.",
                f"Loss over {len(rows)} epochs; {_last(losses)}.",
            )
        )
    errors = {"median": column("val_epe_px_median"), "mean": column("val_epe_px_mean")}
    if any(np.isfinite(v).any() for v in errors.values()):
        blocks.append(
            Figure(
                charts.history(epochs, errors, ylabel=f"validation error, {unit}"),
                "Error on the validation images after each epoch.",
                f"Validation error over {len(rows)} epochs; {_last(errors)}.",
            )
        )
    return blocks


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _last(curves: dict[str, NDArray[np.float64]]) -> str:
    ends = {name: values[np.isfinite(values)] for name, values in curves.items()}
    return ", ".join(f"{name} ends at {values[-1]:.4g}" for name, values in ends.items() if len(values))


# --- scores and spreads --------------------------------------------------------------------------------------------


def trust_blocks(evaluation: Evaluation, metrics: dict[str, Any], unit: str) -> list[Block]:
    """Whether a higher score means a smaller error, and whether ellipses hold what they promise."""
    image_ids = np.unique(evaluation.images, return_inverse=True)[1]
    blocks: list[Block] = [Text(_ranking(metrics))]
    blocks += _score_blocks(evaluation, metrics, image_ids, unit)
    if evaluation.covariance is not None:
        blocks += _coverage_blocks(evaluation, image_ids)
    if evaluation.keypoints.shape[-1] > 1:  # layers in scans can't be calibrated
        blocks.append(Text(CALIBRATE))
    return blocks


def _ranking(metrics: dict[str, Any]) -> str:
    ranked = (metrics.get("score_error_correlation") or {}).get("value")
    if ranked is None:
        return "The scores are all equal, or there are none: they say nothing of the errors."
    strength = "hardly" if abs(ranked) < 0.1 else "weakly" if abs(ranked) < 0.3 else "clearly"
    way = "smaller" if ranked >= 0 else "larger"
    return (
        f"Higher scores go {strength} with {way} errors: their rank correlation is {ranked:.2f}, where 1 is a "
        "perfect order and 0 none. The order is all that it judges; the figures show the sizes."
    )


def _score_blocks(
    evaluation: Evaluation, metrics: dict[str, Any], image_ids: NDArray[np.int64], unit: str
) -> list[Block]:
    errors = evaluation.errors
    groups = by_score(evaluation.score, errors, image_ids)
    if len(groups.score) < 2:
        return []
    blocks: list[Block] = []
    relative = errors / evaluation.lengths[:, None]
    if np.isfinite(relative).any():
        threshold = min(metrics["pck"], key=lambda t: abs((metrics["pck"][t]["value"] or 0) - FAMOUS))
        hits = np.where(np.isfinite(relative), relative <= float(threshold), np.nan)
        shares = by_score(evaluation.score, hits, image_ids)
        what = f"within {threshold} {unit if str(evaluation.normalizer).startswith('pixels') else 'lengths'}"
        blocks.append(
            Figure(
                charts.bands(
                    shares.score,
                    {"points": (shares.value, shares.low, shares.high)},
                    xlabel="score",
                    ylabel=f"share {what}",
                    diagonal=True,
                    share="y",
                ),
                f"Share of points {what} by score, in ten groups of equal size, with 95 % intervals. On the dashed "
                "line a score would be that probability; heads define their scores otherwise: it need not lie there.",
                f"Points {what}, from the lowest scores to the highest: {_listed(shares, '.0%')}.",
            )
        )
    blocks.append(
        Figure(
            charts.bands(
                groups.score,
                {"points": (groups.value, groups.low, groups.high)},
                xlabel="score",
                ylabel=f"mean error, {unit}",
            ),
            "Mean error by score, in the same groups: it should fall from left to right.",
            f"Mean error in {unit}, from the lowest scores to the highest: {_listed(groups, '.2f')}.",
        )
    )
    return blocks


def _listed(groups: Bins, form: str) -> str:
    return ", ".join(format(value, form) for value in groups.value)


def _coverage_blocks(evaluation: Evaluation, image_ids: NDArray[np.int64]) -> list[Block]:
    level = levels(evaluation.target - evaluation.keypoints, evaluation.covariance)  # type: ignore[arg-type]
    if not np.isfinite(level).any():
        return [Text("No predicted spread can be judged: no labelled point has one.", "warning")]
    fine, named = coverage(level, image_ids, np.linspace(0.05, 0.95, 19)), coverage(level, image_ids)
    shape = {1: "intervals", 2: "ellipses", 3: "ellipsoids"}[evaluation.keypoints.shape[-1]]
    figure = Figure(
        charts.bands(
            fine.score,
            {"measured": (fine.value, fine.low, fine.high)},
            xlabel=f"{shape} of this probability",
            ylabel="hold so many points",
            diagonal=True,
            share="xy",
        ),
        f"How many labelled points the predicted {shape} hold, if errors were Gaussian with the predicted "
        "covariance. Above the dashed line they are too large, below it too small.",
        "; ".join(f"{p:.0%} promised, {v:.1%} held" for p, v in zip(named.score, named.value, strict=True)) + ".",
    )
    rows = [list(row) for row in zip(named.score, named.value, named.low, named.high, strict=True)]
    columns = [Column("promised", ".0%"), Column("held", ".1%"), Column("95 % from", ".1%"), Column("to", ".1%")]
    table = Table(columns, rows, f"Of {int(named.count[0]):,} labelled points with a predicted spread.")
    return [figure, Text(_judged(named, shape)), table]


def _judged(named: Bins, shape: str) -> str:
    """What the ellipses are worth, in a sentence."""
    excess = named.value - named.score
    over, under = int(excess.argmax()), int(excess.argmin())
    too_large, too_small = (f"those of {named.score[i]:.0%} hold {named.value[i]:.1%}" for i in (over, under))
    if abs(excess).max() <= NEAR:
        return f"The {shape} hold about as many points as they promise: on average, they can be taken at their word."
    if excess[under] >= -NEAR:
        return (
            f"The {shape} are too large: {too_large}. A regularizer that asks for a spread gets it, however small "
            "the errors are."
        )
    if excess[over] <= NEAR:
        return f"The {shape} are too small to be relied on as they are: {too_small}."
    return f"The {shape} have not the errors' shape: {too_large}, and {too_small}. Some errors are far out."
