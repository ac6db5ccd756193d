"""How many requests, and how many bytes of them, are in the house at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from punctum.serve.limits import Limits, RequestError


class Seat:
    """One request's; the bytes that it holds."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.held = 0

    def hold(self, count: int) -> None:
        """So many bytes more.

        Raises:
            RequestError: 413, this request alone is too much; 429, all requests together are.
        """
        admission = self._admission
        if self.held + count > admission.limits.held_bytes:
            raise RequestError(413, "pictures and boxes need more memory than there is: send them in parts")
        if admission.held + count > admission.limits.held_bytes:
            raise RequestError(429, "too many pictures are being sent at once: come again", retry_after=1)
        self.held += count
        admission.held += count

    def release(self, count: int) -> None:
        """So many bytes are no longer needed."""
        self._admission.held -= count
        self.held -= count


class Admission:
    """Lets requests in one by one, up to the limits.

    Args:
        limits: `requests` and `held_bytes`.
    Example:
        >>> admission = Admission(Limits(requests=1))
        >>> with admission.seat() as seat:
        ...     seat.hold(100)
        ...     admission.inside, admission.held
        (1, 100)
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = 0
        self.held = 0

    @contextmanager
    def seat(self) -> Iterator[Seat]:
        """A seat until the request is answered.

        Raises:
            RequestError: 429, all are taken.
        """
        if self.inside >= self.limits.requests:
            raise RequestError(429, f"{self.limits.requests} requests are waiting: come again", retry_after=1)
        self.inside += 1
        seat = Seat(self)
        try:
            yield seat
        finally:
            seat.release(seat.held)
            self.inside -= 1
