"""Which place of a density to say: the one that is best at the figure one is judged by."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from punctum.ops import GaussianMixture
from punctum.ops.decisions import decode

Kind = Literal["head", "mean", "mode", "median", "oks", "pck"]

_MEANING = {
    "head": "the coordinate that the head itself reads off",
    "mean": "least expected squared error",
    "mode": "the most probable place",
    "median": "least expected distance",
    "oks": "highest expected OKS",
    "pck": "most probably within a distance",
}


@dataclass(frozen=True)
class Decision:
    """A rule that turns a density over places into one of them.

        head     what the head reads off by itself, as it was trained to
        mean     least expected squared distance: between two candidates
        mode     highest density: on one of them
        median   least expected distance (EPE, MRE): between the two others
        oks      highest expected OKS; `oks:S` takes S as sigma of every keypoint
        pck:R    the ball of radius R holds the most: highest expected PCK@R, R in lengths as PCK counts them

    Args:
        kind: one of these.
        value: R of `pck`, or the sigma of `oks`; None otherwise.
    Raises:
        ValueError: an unknown kind, or a value that is missing, out of place, or not positive.
    Example:
        >>> Decision.parse("pck:0.1"), str(Decision.parse("mode"))
        (Decision(kind='pck', value=0.1), 'mode')
    """

    kind: Kind = "head"
    value: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"decode: there is no rule {self.kind!r}: choose {_choices()}")
        if self.kind == "pck" and self.value is None:
            raise ValueError("decode: pck needs a distance in lengths, such as pck:0.1")
        if self.value is not None and self.kind not in ("pck", "oks"):
            raise ValueError(f"decode: {self.kind} takes no number: choose {_choices()}")
        if self.value is not None and not 0 < self.value < float("inf"):
            raise ValueError(f"decode: {self.kind} needs a positive number, got {self.value:g}")

    @classmethod
    def parse(cls, text: str) -> "Decision":
        """`mean`, `mode`, `median`, `oks`, `oks:0.05`, `pck:0.1` or `head`, as the command line has them."""
        kind, colon, number = text.partition(":")
        if kind not in get_args(Kind):
            raise ValueError(f"decode: there is no rule {text!r}: choose {_choices()}")
        try:
            value = float(number) if colon else None
        except ValueError:
            raise ValueError(f"decode: {number!r} in {text!r} is not a number") from None
        return cls(kind, value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind}:{self.value:g}"

    @property
    def meaning(self) -> str:
        """What the rule is best at, in words."""
        return _MEANING[self.kind]


HEAD = Decision()


def decide(
    mixture: GaussianMixture, decision: Decision, lengths: Tensor, oks_lengths: Tensor | None = None
) -> Tensor:
    """The place that a rule takes of each density, in the density's own unit.

    Args:
        mixture: B x K densities, in original pixels.
        decision: the rule; "head" needs no density, and is none for this function.
        lengths: (B,) what PCK divides distances by, in original pixels.
        oks_lengths: (B, K) s k of the OKS, in original pixels.
    Returns:
        (B, K, D).
    Raises:
        ValueError: OKS without the keypoints' sigmas; the head's own rule.
    Example:
        >>> import torch
        >>> from punctum.ops import single_gaussian
        >>> density = single_gaussian(torch.full((1, 1, 2), 5.0), torch.eye(2).expand(1, 1, 2, 2))
        >>> decide(density, Decision("mode"), torch.ones(1))
        tensor([[[5., 5.]]])
    """
    if decision.kind == "head":
        raise ValueError("decode: what the head reads off is no rule for a density")
    if decision.kind == "pck":
        return decode(mixture, "pck", radius=(decision.value or 0.0) * lengths[:, None])
    if decision.kind == "oks":
        if oks_lengths is None:
            raise ValueError(
                "decode: oks needs a sigma for each keypoint, and the model has none: `--decode oks:0.05` takes one "
                "for all, and `punctum sigmas` measures them"
            )
        return decode(mixture, "oks", length=oks_lengths)
    return decode(mixture, decision.kind)


def _choices() -> str:
    return "head, mean, mode, median, oks, oks:SIGMA or pck:DISTANCE (such as pck:0.1)"
