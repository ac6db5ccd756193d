"""What one server takes on, and how it says no."""

from dataclasses import dataclass, fields

MIB = 2**20


class RequestError(Exception):
    """A request that is not served, and why: the message is for whoever asked.

    Args:
        status: of the answer.
        message: what is wrong, and where.
        retry_after: seconds after which it may go better; None where it never will.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True)
class Limits:
    """Bounds of memory and time. Whatever is asked, no more than these is spent on it.

    Args:
        body_bytes: of one request.
        held_bytes: of all requests together, of which the pictures are not decoded yet.
        pixels: of one picture, as its header says, before it is decoded.
        pictures: of one request.
        instances: boxes of one request.
        requests: that are read, decoded or waiting at a time; one more is told to come later.
        seconds: from the first byte to the answer.
        batch: instances that go through the network together.
        wait_seconds: how long the first of them waits for others while nothing else runs.
        readers: threads that decode.
    Raises:
        ValueError: one of them is not positive.
    Example:
        >>> Limits(requests=8).requests
        8
    """

    body_bytes: int = 32 * MIB
    held_bytes: int = 512 * MIB
    pixels: int = 50_000_000
    pictures: int = 64
    instances: int = 256
    requests: int = 1024
    seconds: float = 30.0
    batch: int = 32
    wait_seconds: float = 0.002
    readers: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "wait_seconds" else 1e-9
            if not value >= least:
                raise ValueError(f"{field.name} must be positive, got {value}")
