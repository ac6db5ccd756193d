"""How an option changes while a head is trained: functions of the part of training done, and of nothing else."""

from dataclasses import dataclass

from punctum.registry import check_positive


@dataclass(frozen=True)
class LinearAnneal:
    """From a start to an end along a straight line, over the first part of training; constant from then on.

        value = start + (end - start) min(1, fraction / until)

    It remembers nothing, so a resumed training goes on where it was.

    Args:
        start: value at the start, positive.
        end: value from `until` on, positive.
        until: part of training over which it changes, in [0, 1]; 0 is the end value at once.
    Raises:
        ValueError: a value is out of range.
    Example:
        >>> anneal = LinearAnneal(2.0, 0.5, until=0.5)
        >>> anneal(0.0), anneal(0.25), anneal(1.0)
        (2.0, 1.25, 0.5)
    """

    start: float
    end: float
    until: float

    def __post_init__(self) -> None:
        check_positive("start", self.start)
        check_positive("end", self.end)
        check_positive("until", self.until, zero=True)
        if self.until > 1:
            raise ValueError(f"until is a part of training, so at most 1, got {self.until}")

    def __call__(self, fraction: float) -> float:
        """The value when this part of training, in [0, 1], is done."""
        done = min(1.0, fraction / self.until) if self.until else 1.0
        # Weighted, not stepped: this way the last value is the end itself.
        return self.start * (1 - done) + self.end * done
