"""Whether a graph gives what its file says it does: whoever wrote the file, no odd one ends in a traceback."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.deploy.description import Description
from punctum.points import FLAGS

# B instances, K keypoints, L levels of regions.
SHAPES = {
    "keypoints": "BK2", "score": "BK", "covariance": "BK22", "present": "BK", "radius": "BKL", "factor": "BKL",
    **dict.fromkeys(FLAGS, "BK"), "typical": "B",
}  # fmt: skip
NEEDED = ("keypoints", "score")
NEEDED_CALIBRATED = ("radius", "factor", *FLAGS, "typical")


def check_outputs(description: Description, there: Collection[str], path: Path) -> None:
    """Refuse a file whose description and graph do not belong together.

    Args:
        description: what the file says of itself.
        there: the names of its graph's outputs.
        path: for the message.
    Raises:
        ValueError: an output is missing in either of them, or of no known name.
    """
    needed = (*NEEDED, *(NEEDED_CALIBRATED if description.promise else ()))
    missing = [name for name in dict.fromkeys((*needed, *description.outputs)) if name not in there]
    unsaid = [name for name in needed if name not in description.outputs]
    unknown = [name for name in description.outputs if name not in SHAPES]
    if missing or unsaid or unknown:
        wrong = ", ".join(str(name) for name in dict.fromkeys((*missing, *unsaid, *unknown)))
        raise ValueError(f"{path}: its description does not fit its graph (outputs: {wrong}): export it again")


def check_numbers(description: Description, outputs: Mapping[str, NDArray[Any]], count: int, path: Path) -> None:
    """Refuse what a graph has computed for `count` instances where it is of another shape, or not finite.

    Raises:
        ValueError: it is; the output is named.
    """
    levels = () if description.promise is None else description.promise.levels
    sizes = {"B": count, "K": len(description.schema.names), "L": len(levels), "2": 2}
    for name, values in outputs.items():
        wanted = tuple(sizes[axis] for axis in SHAPES[name])
        if values.shape != wanted:
            raise ValueError(f"{path}: its graph gives {name} as {values.shape}, and should give {wanted}")
    for name in NEEDED:
        if not np.isfinite(outputs[name]).all():
            raise ValueError(f"{path}: its graph gives {name} that are not finite numbers: export it again")
