"""From images to features: one family of networks per file.

A new backbone is one file in this package: a final subclass of `Backbone` with a `name`. It is found by itself.
"""

import functools
from typing import Any

from punctum import registry
from punctum.backbones.base import Backbone

__all__ = ["Backbone", "available", "build"]


@functools.cache
def _found() -> dict[str, type[Backbone]]:
    return registry.find_classes(__name__, Backbone)  # type: ignore[type-abstract]


def available() -> dict[str, type[Backbone]]:
    """Every backbone by its name, sorted.

    Example:
        >>> available()["resnet18"].__name__
        'ResNet18'
    """
    return dict(_found())


def build(name: str, **options: Any) -> Backbone:
    """A backbone by its name.

    Args:
        name: one of `available()`.
        options: the backbone's own, as its class documents them.
    Raises:
        ValueError: there is no such backbone or option, or the backbone refuses a value.
    Example:
        >>> build("resnet18", output_stride=8, width=0.25).feature_size((96, 128))
        (12, 16)
    """
    return registry.build("backbone", _found(), name, **options)
