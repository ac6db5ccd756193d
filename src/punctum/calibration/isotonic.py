"""A score made a probability: the increasing curve that fits best."""

from dataclasses import dataclass

import torch
from torch import Tensor

from punctum.ops.recording import is_exporting


@dataclass(frozen=True, eq=False)
class IsotonicMap:
    """An increasing curve through knots: straight between them, constant beyond the first and the last.

    Args:
        x: (M,) increasing, float64.
        y: (M,) increasing, within [0, 1].
    Raises:
        ValueError: they are not.
    Example:
        >>> curve = IsotonicMap(torch.tensor([0.2, 0.6]), torch.tensor([0.0, 1.0]))
        >>> curve(torch.tensor([0.0, 0.3, 0.9]))
        tensor([0.0000, 0.2500, 1.0000], dtype=torch.float64)
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        x, y = self.x.to(torch.float64).contiguous(), self.y.to(torch.float64).contiguous()
        if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
            raise ValueError(f"x and y must be (M,) with M > 0, got {tuple(x.shape)} and {tuple(y.shape)}")
        if not (x.isfinite().all() and (x.diff() > 0).all()):
            raise ValueError("x must be finite numbers that increase")
        if not ((y >= 0) & (y <= 1)).all() or not (y.diff() >= 0).all():
            raise ValueError("y must be within [0, 1], and never fall")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def __call__(self, scores: Tensor) -> Tensor:
        """The curve at scores of any shape, float64, within [0, 1]; at NaN, its lowest value."""
        scores = scores.to(torch.float64)
        scores = torch.where(scores.isnan(), -torch.inf, scores).clamp(self.x[0], self.x[-1])
        above = count_below(self.x, scores).clamp_min(1).clamp_max(len(self.x) - 1)
        below = (above - 1).clamp_min(0)
        width = (self.x[above] - self.x[below]).clamp_min(torch.finfo(torch.float64).tiny)
        share = (scores - self.x[below]) / width
        return torch.lerp(self.y[below], self.y[above], share)

    @classmethod
    def fit(cls, scores: Tensor, hits: Tensor, weights: Tensor | None = None) -> "IsotonicMap":
        """The curve for the probability of a hit, given the score.

            least sum_i w_i (y_i - f(s_i))^2 over all increasing f

        which is piecewise constant; each piece becomes one knot, at its mean score, so that scores within a piece
        keep their order.

        Args:
            scores: (P,), finite.
            hits: (P,), 0 or 1, or shares of hits.
            weights: (P,), positive; None: ones.
        Raises:
            ValueError: there are no points, or a score is not finite.
        Source:
            Barlow et al. 1972 (pool adjacent violators); Oron and Flournoy 2017, Statistics in Biopharmaceutical
            Research 9(3) (a knot per piece).
        Example:
            >>> curve = IsotonicMap.fit(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.0, 1.0, 0.0, 1.0]))
            >>> curve.x.float(), curve.y.float()
            (tensor([0.1000, 0.2500, 0.4000]), tensor([0.0000, 0.5000, 1.0000]))
        """
        s, y = scores.to(torch.float64), hits.to(torch.float64)
        if s.ndim != 1 or s.shape != y.shape or len(s) == 0:
            raise ValueError(f"scores and hits must be (P,) with P > 0, got {tuple(s.shape)} and {tuple(y.shape)}")
        if not s.isfinite().all():
            raise ValueError("scores must be finite")
        w = torch.ones_like(s) if weights is None else weights.to(torch.float64)
        # Equal scores must get one value: they start as one piece.
        x, position = s.unique(return_inverse=True)
        mass = torch.zeros_like(x).index_add_(0, position, w)
        mean = torch.zeros_like(x).index_add_(0, position, w * y) / mass
        return cls(*_pool(x, mean, mass))


def count_below(ordered: Tensor, values: Tensor) -> Tensor:
    """How many of ordered numbers (M,) are smaller than each value: `searchsorted`, and in a form that ONNX has.

    Example:
        >>> count_below(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 9.0]))
        tensor([1, 3])
    """
    if is_exporting():
        return (ordered < values[..., None]).sum(-1)
    return torch.searchsorted(ordered, values.contiguous())


def _pool(x: Tensor, mean: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbouring pieces whose means do not increase become one, until all do: knots (M,) and values (M,)."""
    pieces: list[tuple[float, float, float]] = []  # knot, value, weight
    for piece in zip(x.tolist(), mean.tolist(), mass.tolist(), strict=True):
        merged = piece
        while pieces and pieces[-1][1] >= merged[1]:
            before = pieces.pop()
            total = before[2] + merged[2]
            share = merged[2] / total
            merged = (
                before[0] + share * (merged[0] - before[0]),
                before[1] + share * (merged[1] - before[1]),
                total,
            )
        pieces.append(merged)
    knots, values, _ = torch.tensor(pieces, dtype=torch.float64).unbind(1)
    return knots, values.clamp(0, 1)
