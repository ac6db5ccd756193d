"""What the numbers say is wrong, and what to do about it: nothing is advised without its numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from punctum.diagnostics.border import BorderBin

SHRUNK = 0.75
"""Best sigma, in cells, below which support has shrunk: the paper's baseline has 0.5 to 1 on easy cases (Table III),
a prior of 0.5 makes it worse, one of 1 and 2 better (Table 1)."""

WIDER = 1.25
"""Times that the hard points' sigma exceeds the easy ones' when support shrinks on the easy ones, not everywhere."""

PULL = 0.25
"""Cells towards the middle that count as a pull: half of what rounding to a cell loses at most."""

NEAR_BORDER = 2.0
"""Cells from the border within which a pull is looked for: the reach of a Gaussian with the usual sigma of 1."""

COMMON = 0.1
"""Share of maps that are flat, have two candidates or stand on the wrong side, from which on it is worth a word."""

ABOVE_CHANCE = 2.0
"""Times that hills stand on the flip partner more often than on the opposite place, where nobody is at home."""

BETTER = 0.05
"""Share of the error that another way to read the same maps must save; its interval must exclude zero as well."""

DISHONEST = 1.5
"""Factor between errors and what the covariance promises: 95 % regions of 1.5 too small a sigma hold 74 %."""

FINE = 0.5
"""Cells of error that most points stay below, or of sigma, where the map is too coarse: the answer then lies in how
neighbouring cells share the mass, which is the first thing that noise takes away."""

STARVED = 0.1
"""Share of the gradient near the truth, on the worst third of the points, below which they hardly learn."""

ENOUGH = 30
"""Points that a group needs before anything is said about it."""

# Heads that are told where the mean shall be, not what the map shall look like.
_MEAN_TRAINED = ("dsnt", "integral", "sampling")


@dataclass(frozen=True)
class Finding:
    """A fault that was measured.

    Args:
        name: a word for it.
        values: what was measured.
        threshold: what that was held against, in words.
        advice: one sentence: what is the matter, and what to do.
    """

    name: str
    values: dict[str, float]
    threshold: str
    advice: str


@dataclass(frozen=True)
class Case:
    """All that findings are drawn from.

    Args:
        head: its name and options, as the model holds them.
        size: S of the heatmaps.
        summary: `summarize_maps` of all points.
        splits: of the levels of each split; the first one is asked about easy and hard.
        border: pull in two bins, near the border and farther in, by the truth's and by the prediction's place.
        gains: cells of mean error that other ways to read the maps save, with their intervals.
        worst: by name of a share (`flat`, `two`), the keypoints that have most of it.
        stride: input pixels per cell.
    """

    head: Mapping[str, Any]
    size: Sequence[int]
    summary: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    border: Mapping[str, Sequence[BorderBin]]
    gains: Mapping[str, tuple[float, float, float]]
    worst: Mapping[str, str]
    stride: float


def find(case: Case) -> list[Finding]:
    """Every finding that the numbers support, in the order in which to look at them."""
    if case.summary["n"] < ENOUGH:
        return []
    return [found for rule in RULES if (found := rule(case)) is not None]


def _flat(case: Case) -> Finding | None:
    share = case.summary["flat"]
    if share < COMMON:
        return None
    return Finding(
        "flat maps",
        {"share": share, "effective_cells": case.summary["effective_cells"]},
        f"flat in {COMMON:.0%} of the maps or more; flat is spread over half of the cells",
        f"{share:.0%} of the maps are nearly even ({case.worst['flat']}): the network does not find these points. "
        "Train longer, or look with `punctum check` whether they can be seen in the crop and are labelled alike",
    )


def _left_right(case: Case) -> Finding | None:
    partner = case.summary["partner"]
    if partner["n"] < ENOUGH or partner["share"] < max(COMMON, ABOVE_CHANCE * partner["chance"]):
        return None
    return Finding(
        "left and right confused",
        {"share": partner["share"], "by_chance": partner["chance"], "points": partner["n"]},
        f"a hill on the flip partner in {COMMON:.0%} or more, and {ABOVE_CHANCE:g} times as often as opposite to it",
        f"in {partner['share']:.0%} of the maps a hill stands where the mirror partner is (by chance "
        f"{partner['chance']:.0%}): left and right are taken for each other. Check that flip_pairs and labels agree "
        "on whose left is meant; then more data, and a larger crop, which shows which way the subject faces",
    )


def _two(case: Case) -> Finding | None:
    share = case.summary["two"]
    if share < COMMON:
        return None
    saved = case.gains["local"][0] if "local" in case.gains else 0.0
    place, mend = "one of them is picked", "more data would tell them apart"
    if case.head.get("decoder") == "mean":
        place = "the mean lies between them, where neither is"
        local = "`--head.decoder local` takes the higher one, which here"
        # Who picks the wrong one errs by more than who stands between.
        cost = (
            f"costs {-saved:.2f} cells of mean error: more data first" if saved <= 0 else f"saves {saved:.2f} cells"
        )
        mend = f"{local} {cost}"
    return Finding(
        "two candidates",
        {"share": share},
        f"in {COMMON:.0%} of the maps or more",
        f"{share:.0%} of the maps have two candidates ({case.worst['two']}): {place}; {mend}",
    )


def _support(case: Case) -> Finding | None:
    split, easy, hard = _ends(case)
    name = case.head["name"]
    if easy is None or hard is None or name not in _MEAN_TRAINED or easy["sigma"]["median"] >= SHRUNK:
        return None
    sigmas = (easy["sigma"]["median"], hard["sigma"]["median"])
    a2 = (easy["a2"]["value"], hard["a2"]["value"])
    shrinks = sigmas[1] >= WIDER * sigmas[0]
    kind, other = ("well-found", "badly found") if split == "error" else ("easy", "harder")
    where = f"support shrinks on {kind} points" if shrinks else "support has shrunk everywhere"
    return Finding(
        "support shrinks",
        {"sigma_easy": sigmas[0], "sigma_hard": sigmas[1], "a2_easy": a2[0], "a2_hard": a2[1]},
        f"best sigma of the easy ones below {SHRUNK} cells",
        f"{where} (A(2) {a2[0]:.2f} against {a2[1]:.2f} on {other} ones, best sigma {sigmas[0]:.2f} against "
        f"{sigmas[1]:.2f} cells): {_prior(case)}",
    )


def _prior(case: Case) -> str:
    """What keeps this head's maps wide."""
    head = case.head
    sigma: float = _wide(case)
    if head["name"] == "dsnt":
        wider = head.get("regularizer", "none") != "none"
        word = f"raise the sigma that its regularizer asks for: --head.sigma {max(sigma, 2 * head.get('sigma', 1)):g}"
        return word if wider else f"add a JS regularizer: --head dsnt --head.regularizer js --head.sigma {sigma:g}"
    if head["name"] == "sampling" and head.get("estimator") != "crps":
        return "the expected error is smallest for a single cell, a proper score is not: --head.estimator crps"
    if head["name"] == "integral" and head.get("prior", "none") != "none":
        sigma = max(sigma, 2 * head.get("sigma", 1))
    return f"add a KL prior with sigma {sigma:g}: --head integral --head.prior kl --head.sigma {sigma:g}"


def _wide(case: Case) -> int:
    """The paper's best sigma, 2 cells, belongs to maps of 64 x 48; on coarse maps it would be a sixth of them."""
    return 2 if min(case.size) >= 32 else 1


def _starved(case: Case) -> Finding | None:
    far = case.splits.get("error", {}).get("far", {"n": 0})
    if case.head["name"] not in _MEAN_TRAINED or far["n"] < ENOUGH or far["gradient"]["near_truth"] >= STARVED:
        return None
    shares = far["gradient"]
    return Finding(
        "gradient starves",
        {key: shares[key] for key in ("near_truth", "near_peak", "elsewhere")},
        f"less than {STARVED:.0%} near the truth, on the third of the points that is worst",
        f"on the worst third of the points {shares['near_truth']:.0%} of the gradient acts near the truth and "
        f"{shares['near_peak']:.0%} at the wrong peak, because its value factor vanishes where the map is empty: "
        f"{_prior(case)}",
    )


def _decoder(case: Case) -> Finding | None:
    current, error = case.head.get("decoder"), case.summary["error"]["mean"]
    options = ("argmax", "local") if case.head["name"] == "heatmap" else ("mean", "local")
    best = max((name for name in options if name in case.gains), key=lambda name: case.gains[name][0], default=None)
    if current is None or best is None or best == current:
        return None
    saved, low, high = case.gains[best]
    if low <= 0 or saved < BETTER * error:
        return None
    return Finding(
        "a better decoder",
        {"error": error, "saved": saved, "saved_low": low, "saved_high": high},
        f"saves {BETTER:.0%} of the mean error, and its 95 % interval is above zero",
        f"read by {best!r} instead of {current!r}, the same maps err by {error - saved:.2f} cells instead of "
        f"{error:.2f} (saves {low:.2f} to {high:.2f}): --head.decoder {best}",
    )


def _border(case: Case) -> Finding | None:
    near, given_prediction = case.border["truth"], case.border["prediction"]
    if len(near) < 2 or near[0].low != 0 or near[0].n < ENOUGH or near[0].interval_95 is None:
        return None
    excess = near[0].pull - near[1].pull
    if near[0].interval_95[0] <= 0 or excess < PULL:
        return None
    biased = [b for b in given_prediction if b.low == 0 and b.n >= ENOUGH and b.interval_95 and b.interval_95[0] > 0]
    is_bias = bool(biased) and biased[0].pull >= PULL
    mend = "--head.decoder local" if case.head.get("decoder") == "mean" else "a wider crop, --crop.padding 1.5"
    if case.head["name"] == "integral":
        mend += ", or --head.debias true"
    why = (
        f"so is what the model itself places there ({biased[0].pull:.2f}), so this is a bias: {mend}"
        if is_bias
        else "what the model itself places there is not, so this is doubt, which has only one side to err to: more "
        "pictures with such points, or a wider crop, not another decoder"
    )
    return Finding(
        "border pull",
        {"pull": near[0].pull, "farther_in": near[1].pull, "given_prediction": biased[0].pull if biased else 0.0},
        f"{PULL} cells more than farther in, within {NEAR_BORDER:g} cells of the border, and above zero",
        f"points near the border are drawn {near[0].pull:.2f} cells inwards (elsewhere {near[1].pull:.2f}); {why}",
    )


def _confidence(case: Case) -> Finding | None:
    ratio = case.summary["confidence"]
    if ratio is None or 1 / DISHONEST <= ratio <= DISHONEST:
        return None
    over = ratio > 1
    times = f"{ratio:.1f} times as large as" if over else f"{1 / max(ratio, 0.01):.1f} times smaller than"
    end = (
        "the covariance promises too much: never draw a region from it as it is. A head with a proper score, such as "
        "density, learns an honest one"
        if over
        else "the covariance promises too little: it says how wide maps were asked to be, not how far off they are"
    )
    return Finding(
        "overconfident" if over else "underconfident",
        {"ratio": ratio},
        f"errors within a factor of {DISHONEST} of what the covariance says",
        f"errors are {times} the head's own covariance says: {end}",
    )


def _coarse(case: Case) -> Finding | None:
    share, sigma = case.summary["below_half_a_cell"], case.summary["sigma"]["median"]
    # A narrow map that misses by cells is too sure of itself; finer cells would not help it.
    spiky = sigma < FINE and case.summary["error"]["median"] < 2 * FINE
    if share < 0.5 and not spiky:
        return None
    small = f"{share:.0%} of the errors are below half a cell"
    what = small if share >= 0.5 else f"the best sigma is {sigma:.2f} cells"
    stride = round(case.stride)
    finer = f"--backbone.output_stride {stride // 2}" if stride >= 8 else "a larger --crop.input_size"
    return Finding(
        "map too coarse",
        {"below_half_a_cell": share, "sigma": sigma, "stride": case.stride},
        f"half of the errors below {FINE} cells; or the best sigma, and half of the errors below {2 * FINE:g}",
        f"{what}, and a cell is {case.stride:.0f} px of the input: raise the map's resolution with {finer}",
    )


def _ends(case: Case) -> tuple[str, Any, Any]:
    """The easiest and the hardest level that have enough points, of the first split with two such levels."""
    for split, levels in case.splits.items():
        filled = [level for level in levels.values() if level["n"] >= ENOUGH]
        if len(filled) > 1:
            return split, filled[0], filled[-1]
    return "", None, None


RULES: tuple[Callable[[Case], Finding | None], ...] = (
    _flat,
    _left_right,
    _two,
    _support,
    _starved,
    _decoder,
    _border,
    _confidence,
    _coarse,
)
