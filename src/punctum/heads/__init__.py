"""From a network's last features to coordinates: one output representation per file.

A new head is one file in this package: a final subclass of `Head` with a `name`. It is found by itself.
"""

import functools
from collections.abc import Sequence
from typing import Any

from punctum import registry
from punctum.heads.base import Head, Prediction, Target

__all__ = ["Head", "Prediction", "Target", "available", "build"]


@functools.cache
def _found() -> dict[str, type[Head]]:
    return registry.find_classes(__name__, Head)  # type: ignore[type-abstract]


def available() -> dict[str, type[Head]]:
    """Every head by its name, sorted.

    Example:
        >>> available()["dsnt"].__name__
        'DSNT'
    """
    return dict(_found())


def build(name: str, in_channels: int, num_keypoints: int, size: Sequence[int], **options: Any) -> Head:
    """A head by its name.

    Args:
        name: one of `available()`.
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features, (W,), (H, W) or (D, H, W).
        options: the head's own, as its class documents them.
    Raises:
        ValueError: there is no such head or option, or the head refuses a value.
    Example:
        >>> build("dsnt", 8, 3, (4, 4), regularizer="kl").regularizer
        'kl'
    """
    for what, value in (("in_channels", in_channels), ("num_keypoints", num_keypoints)):
        if value < 1:
            raise ValueError(f"{what} must be at least 1, got {value}")
    if not 1 <= len(size) <= 3 or min(size) < 1:
        raise ValueError(f"size must be 1, 2 or 3 positive integers, got {tuple(size)}")
    return registry.build("head", _found(), name, in_channels, num_keypoints, tuple(size), **options)
