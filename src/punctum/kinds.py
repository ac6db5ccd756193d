"""What models find, in words: points in images or volumes, or layers in scans."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from punctum.data import Annotations


def check_axes(dims: int, picture_axes: int, annotations: "Annotations") -> None:
    """Refuse annotations of another kind than a model finds.

    Args:
        dims: coordinates of the model's points.
        picture_axes: of the pictures that it takes.
        annotations: what it is asked to predict for, or judged by.
    Raises:
        ValueError: the annotations' places or pictures have other axes.
    """
    if (dims, picture_axes) != (annotations.dims, annotations.picture_axes):
        ours, theirs = kind_of(dims, picture_axes), kind_of(annotations.dims, annotations.picture_axes)
        raise ValueError(f"the model finds {ours}, and {annotations.source} is of {theirs}")


def kind_of(dims: int, picture_axes: int) -> str:
    """What D coordinates in pictures of so many axes are, in words.

    Example:
        >>> kind_of(1, 2), kind_of(2, 2), kind_of(3, 3)
        ('layers in scans', 'points in images', 'points in volumes')
    """
    if dims == 1:
        return "layers in scans"
    depth = " with a depth" if dims > picture_axes else ""
    return f"points{depth} in {'volumes' if picture_axes == 3 else 'images'}"
