"""What an evaluation saw, point by point: `evaluation.npz` beside metrics.json, for reports and comparisons."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.files import write_through
from punctum.numpy_file import DAMAGED

NAME = "evaluation.npz"
OPTIONAL = ("covariance", "boxes", "level", "log_prob", "typical", "flags", "flag_names")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """N instances of K keypoints, predicted and labelled, in original-image pixels.

    Args:
        names: (K,) str, of the keypoints.
        images: (N,) str, paths of the pictures; instances of one picture share it.
        ids: (N,) str, what the annotations call the instances.
        keypoints: (N, K, D) predicted.
        target: (N, K, D) labelled; NaN where not.
        score: (N, K) in [0, 1].
        lengths: (N,) what errors are divided by, px; NaN where the instance has none.
        normalizer: (), str, what those lengths are.
        covariance: (N, K, D, D) in pixels squared, or None.
        boxes: (N, 2 D) as (x, y, width, height), NaN where there is none, or None.

    Of a calibrated model, else None:
        level: (N, K), the probability of all places denser than the labelled one; NaN where there is no label.
        log_prob: (N, K), log density at the labelled place, nats per pixel^D.
        typical: (N,), share of the calibration instances that are at least as uncertain.
        flags: (N, K, F) bool, what makes a point suspect.
        flag_names: (F,) str.
    """

    names: NDArray[np.str_]
    images: NDArray[np.str_]
    ids: NDArray[np.str_]
    keypoints: NDArray[np.float64]
    target: NDArray[np.float64]
    score: NDArray[np.float64]
    lengths: NDArray[np.float64]
    normalizer: NDArray[np.str_]
    covariance: NDArray[np.float64] | None = None
    boxes: NDArray[np.float64] | None = None
    level: NDArray[np.float64] | None = None
    log_prob: NDArray[np.float64] | None = None
    typical: NDArray[np.float64] | None = None
    flags: NDArray[np.bool_] | None = None
    flag_names: NDArray[np.str_] | None = None

    @property
    def errors(self) -> NDArray[np.float64]:
        """(N, K) distances in pixels, NaN where there is no label."""
        return np.sqrt(((self.keypoints - self.target) ** 2).sum(-1))

    def save(self, folder: str | Path) -> Path:
        """Write `folder`/evaluation.npz, whole or not at all."""
        arrays = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)

        return write_through(Path(folder) / NAME, write)

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """What `save` wrote; nothing in it is unpickled.

        Raises:
            FileNotFoundError: the folder has none.
            ValueError: the file is none of ours.
        Example:
            >>> import tempfile
            >>> folder, one = tempfile.mkdtemp(), np.array(["a"])
            >>> there, true = np.full((1, 1, 2), 3.0), np.zeros((1, 1, 2))
            >>> length = np.ones(1)
            >>> _ = Evaluation(one, one, one, there, true, length[:, None], length, np.array("pixels")).save(folder)
            >>> Evaluation.load(folder).errors.round(3).tolist()
            [[4.243]]
        """
        path = Path(folder) / NAME
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: `punctum evaluate` writes it")
        try:
            # Opened here: NumPy leaves a broken file open.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {f.name: file[f.name] for f in fields(cls) if f.name in file or f.name not in OPTIONAL}
            if not all(isinstance(value, np.ndarray) for value in found.values()):
                raise ValueError("an entry is no NumPy array")
        except (ValueError, OSError, *DAMAGED) as error:
            raise ValueError(f"{path} is not what `punctum evaluate` writes: {error!s:.200}") from error
        return cls(**found)
