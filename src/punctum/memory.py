"""How much memory a process has needed, so that what it did can be charged for it."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def load_libraries(device: torch.device) -> None:
    """Let PyTorch load what it loads at its first convolutions and steps: a hundred MiB, and no network's."""
    small = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 8, 1))
    small.to(device)
    small(torch.rand(2, 3, 16, 16, device=device)).square().mean().backward()
    torch.optim.AdamW(small.parameters()).step()


def forget_peak() -> None:
    """Let the process's peak start from what it has now; where only the all-time peak is known, it stays."""
    if _CLEAR.exists():
        with suppress(OSError):  # Where the process may not write there, as in some containers.
            _CLEAR.write_text("5")


def resident_peak() -> float:
    """The most memory that this process had since `forget_peak`, MiB.

    Example:
        >>> resident_peak() > 1
        True
    """
    if _STATUS.exists():
        found = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        if found:
            return float(found[0].split()[1]) / 1024
    import resource  # Not on Windows, where memory stays unmeasured.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
