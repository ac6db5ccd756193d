"""Which labels are the likeliest mistakes: deviations from a model, against what is usual, and what neighbours say.

A label is off when its instance's other points do not lead one to expect it: a model errs at a whole chin, a person
at one point. What is wrong with an instance as a whole, its other points cannot tell, so that is looked for first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from punctum.check import NORMAL_MEDIAN
from punctum.check_judge import Judged
from punctum.schema import Pair

Kind = Literal["point", "exchanged", "mirrored", "shifted", "instance"]
Array = NDArray[np.float64]

HALF = NORMAL_MEDIAN[1]
# Of so many other points' weight is what is usual at all keypoints, beside a keypoint's own.
PRIOR = 8
# Instances that the covariance of an instance's points is drawn towards independence by, for each number in them.
SHRINK = 0.25
# Standard deviations beyond which a deviation counts no more: one mistake shall not bend what its neighbours expect.
CLIP = 3.0
ROUNDS = 5
# Nats that an exchange of labels must save: e^-12 times as many honest pairs of labels look so.
EXCHANGE = 12.0
# Robust standard deviations beyond which an instance is off as a whole.
FAR = 6.0
# Instances from which on there is a usual instance to compare with, and points that one must have.
INSTANCES, POINTS = 10, 3
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the list.

    Args:
        evidence: how unusual it is, in robust standard deviations; the list's order.
        row: the instance.
        keypoints: the point; the two whose labels seem exchanged; all judged ones of an instance.
        kind: what seems wrong: a point's place; two labels exchanged; left and right exchanged; all points shifted
            alike; the instance as a whole.
    """

    evidence: float
    row: int
    keypoints: tuple[int, ...]
    kind: Kind


def rank(judged: Judged, flip_pairs: Sequence[Pair]) -> list[Finding]:
    """All judged labels, the likeliest mistakes first; those that one mistake explains are one line.

    Args:
        judged: labels beside the model.
        flip_pairs: of the keypoints.
    """
    scaled = judged.deviation / spread(judged.deviation)[:, None]
    exchanged = _exchanges(judged, scaled, flip_pairs)
    mirrored = [finding for finding in exchanged if finding.kind == "mirrored"]
    left, rows = _without(scaled, mirrored), [finding.row for finding in mirrored]
    whole = [finding for finding in _whole_instances(left) if finding.row not in rows]
    evidence = robust_z(in_context(_without(left, whole)))
    # Two labels that are exchanged are both off: more so, perhaps, to their neighbours than to the model.
    exchanged = [replace(f, evidence=float(np.fmax(f.evidence, _most(evidence, f)))) for f in exchanged]
    places = np.argwhere(np.isfinite(_without(evidence, exchanged))).tolist()
    points = [Finding(float(evidence[i, k]), i, (k,), "point") for i, k in places]
    # Sorting is stable: of equal evidence, instances come first, then earlier rows.
    return sorted([*whole, *exchanged, *points], key=lambda finding: -finding.evidence)


def _without(values: Array, findings: Sequence[Finding]) -> Array:
    """The values, NaN at the points of the findings."""
    values = values.copy()
    for finding in findings:
        values[finding.row, list(finding.keypoints)] = np.nan
    return values


def _most(evidence: Array, finding: Finding) -> float:
    """The largest evidence of a finding's points, NaN where none has any."""
    return float(np.fmax.reduce(evidence[finding.row, list(finding.keypoints)]))


def spread(deviation: Array) -> Array:
    """Each keypoint's usual deviation: the standard deviation of a normal distribution of the same median length.

    Args:
        deviation: (N, K, D); NaN does not count.
    Returns:
        (K,), positive.
    """
    return _positive(_medians(np.linalg.norm(deviation, axis=-1)) / NORMAL_MEDIAN[deviation.shape[-1]])


def robust_z(values: Array) -> Array:
    """Standard deviations above the keypoint's usual value: (v - median) / (1.48 median |v - median|), (N, K).

    Medians: a few mistakes do not move what is usual, as they would move means and variances.

    Example:
        >>> robust_z(np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])).round(1).ravel()
        array([-1.3, -0.7,  0. ,  0.7, 65.4])
    """
    middle = _medians(values)
    return (values - middle) / _positive(_medians(np.abs(values - middle)) / HALF)


def in_context(deviation: Array) -> Array:
    """How far each point is from where the other points of its instance lead one to expect it.

        c_k = |d_k - E[d_k | d_others]|,     d ~ N(0, S),     S = (sum_n d d' + a v I) / (N + a)

    A model's errors at neighbouring points go together, and so does what people mean by a point: that is S, of the
    very labels that are judged, drawn to independence (v is the mean variance). Mistakes shall not enter it: in each
    round deviations are cut off at a few usual ones about what was expected, and S is taken anew. A missing point is
    where it is expected.

    Args:
        deviation: (N, K, D), in the keypoint's usual standard deviations; NaN where missing.
    Returns:
        (N, K), NaN where missing. With one keypoint, or very few instances, about the lengths themselves.
    """
    n, k, d = deviation.shape
    missing = np.asarray(np.isnan(deviation).any(-1))
    values = np.where(missing[..., None], 0.0, deviation - _centres(deviation))
    kept, expected, prior = _cut(values, np.zeros_like(values)), values, SHRINK * k * d
    for _ in range(ROUNDS):
        flat = kept.reshape(n, k * d)
        towards = prior * max(float(np.mean(flat**2)), TINY) * np.eye(k * d)
        precision = np.linalg.inv((flat.T @ flat + towards) / (n + prior))
        # E[d_k | others] = d_k - (P_kk)^-1 (P d)_k: the rule for blocks of a precision matrix.
        pulled = (flat @ precision).reshape(n, k, d, 1)
        own = precision.reshape(k, d, k, d)[np.arange(k), :, np.arange(k), :]
        expected = kept - np.linalg.solve(own, pulled)[..., 0]
        kept = np.where(missing[..., None], expected, _cut(values, expected))
    return np.where(missing, np.nan, np.linalg.norm(values - expected, axis=-1))


def _exchanges(judged: Judged, scaled: Array, flip_pairs: Sequence[Pair]) -> list[Finding]:
    """Two labels that are more plausible exchanged; where most left/right pairs are, the instance as one finding."""
    length = np.linalg.norm(scaled, axis=-1)
    rows, both = judged.pairs[:, 0], judged.pairs[:, 1:]
    crossed = judged.crossed / spread(judged.deviation)[both]
    saved = ((length[rows[:, None], both] ** 2).sum(-1) - (crossed**2).sum(-1)) / 2
    known = length[np.isfinite(length)]
    usual = np.median(known)
    unit = max(float(np.median(np.abs(known - usual))) / HALF, TINY)

    def finding(nats: float, row: int, keypoints: Sequence[int], kind: Kind) -> Finding:
        # As one point would be surprising, whose place alone explained so many nats.
        evidence = (np.sqrt(2 * nats) - usual) / unit
        return Finding(float(evidence), int(row), tuple(int(k) for k in keypoints), kind)

    found, taken = _mirrored(judged, saved, flip_pairs, finding)
    plausible = (saved > EXCHANGE) & (crossed.max(-1, initial=0.0) < CLIP)
    for m in sorted(np.flatnonzero(plausible), key=lambda m: -saved[m]):
        row, i, j = (int(value) for value in judged.pairs[m])
        if not {(row, i), (row, j)} & taken:
            taken |= {(row, i), (row, j)}
            found.append(finding(saved[m], row, (i, j), "exchanged"))
    return found


def _mirrored(
    judged: Judged, saved: Array, flip_pairs: Sequence[Pair], finding: Callable[..., Finding]
) -> tuple[list[Finding], set[tuple[int, int]]]:
    """Instances most of whose left/right pairs are more plausible exchanged, and the points that this explains."""
    there = np.asarray(np.isfinite(judged.deviation).all(-1))
    flips = {tuple(sorted(pair)) for pair in flip_pairs}
    nats: dict[int, list[float]] = {}
    for (row, i, j), gain in zip(judged.pairs.tolist(), saved.tolist(), strict=True):
        if (i, j) in flips and gain > 0:
            nats.setdefault(row, []).append(gain)
    found, taken = [], set()
    for row, gains in nats.items():
        judged_pairs = [pair for pair in flips if there[row, list(pair)].all()]
        if len(gains) > max(1, len(judged_pairs) / 2) and sum(gains) > EXCHANGE:
            keypoints = sorted({k for pair in judged_pairs for k in pair})
            taken |= {(row, k) for k in keypoints}
            found.append(finding(sum(gains), row, keypoints, "mirrored"))
    return found, taken


def _whole_instances(scaled: Array) -> list[Finding]:
    """Instances most of whose points are off by far more than in others: shifted alike, or for no such reason."""
    length = np.linalg.norm(scaled, axis=-1)
    enough = np.flatnonzero(np.isfinite(length).sum(1) >= POINTS)
    if len(enough) < INSTANCES:
        return []
    off = np.nanmedian(length[enough], axis=1)
    shift = np.nanmedian(scaled[enough], axis=1, keepdims=True)
    rest = np.nanmedian(np.linalg.norm(scaled[enough] - shift, axis=-1), axis=1)
    found = []
    for row, evidence, alike in zip(enough, robust_z(off[:, None])[:, 0], rest < off / 2, strict=True):
        if evidence > FAR:
            keypoints = tuple(np.flatnonzero(np.isfinite(length[row])).tolist())
            found.append(Finding(float(evidence), int(row), keypoints, "shifted" if alike else "instance"))
    return found


def _cut(values: Array, about: Array) -> Array:
    """Values no farther from where they are expected than CLIP usual distances."""
    offset = values - about
    length = np.linalg.norm(offset, axis=-1, keepdims=True)
    limit = CLIP * np.median(length, axis=0) / NORMAL_MEDIAN[values.shape[-1]]
    return about + offset * np.minimum(1.0, limit / np.maximum(length, TINY))


def _medians(values: Array) -> Array:
    """(K,) of (N, K), each drawn to the median of all by as much as it rests on few; NaN does not count."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(values.shape[1])
    everyone = float(np.median(values[known]))
    own = np.array([np.median(v[k]) if k.any() else everyone for v, k in zip(values.T, known.T, strict=True)])
    share = known.sum(0) / (known.sum(0) + PRIOR)
    return share * own + (1 - share) * everyone


def _centres(deviation: Array) -> Array:
    """(K, D): where all deviations of a keypoint go one way, that is the model's error or the labels' convention."""
    return np.stack([_medians(deviation[..., axis]) for axis in range(deviation.shape[-1])], -1)


def _positive(values: Array) -> Array:
    return np.maximum(values, TINY)
