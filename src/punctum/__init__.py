"""punctum: numeric coordinates from images, and how far to trust each one.

    >>> import punctum
    >>> punctum.load("runs/first").predict(["a.jpg"])[0].keypoints  # doctest: +SKIP

`punctum.ops` holds the tensor functions; `punctum.heads`, `punctum.backbones`, `punctum.model`, `punctum.data`,
`punctum.metrics`, `punctum.train`, `punctum.evaluate` and `punctum.predict` the rest. Nothing but the standard
library is imported until it is used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load"]

if TYPE_CHECKING:
    from punctum.loading import load


def __getattr__(name: str) -> Any:
    # PEP 562: `punctum.load` brings OpenCV and the model code along, `import punctum` does not.
    if name == "load":
        from punctum.loading import load

        return load
    raise AttributeError(f"module 'punctum' has no attribute {name!r}")
