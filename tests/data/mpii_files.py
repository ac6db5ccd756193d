"""The same two people as MPII's three kinds of file tell of them.

Ann stands at (101, 86) in MATLAB's pixels, is 200 px tall (scale 1), and has a head box of 30 x 40, diagonal 50: her
length is 30. Her left hip was not annotated, her left wrist is hidden. Ben, in the same picture, has no centre, and
only his head.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

from punctum.data.mpii import SCHEMA

ANN = {k: (21.0 + 10 * k, 31.0 + 5 * k) for k in range(16) if k != 3}
BEN = {8: (301.0, 51.0), 9: (301.0, 31.0)}
HIDDEN = 15


def struct(*rows: dict[str, Any]) -> np.ndarray:
    """A MATLAB struct array."""
    array = np.empty(len(rows), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[i][name] = value
    return array


def points(places: dict[int, tuple[float, float]]) -> np.ndarray:
    rows = []
    for k, (x, y) in places.items():
        # The head's points have no flag; of the others some are numbers and some are texts.
        flag: Any = np.zeros((0, 0)) if k in (8, 9) else ("0" if k == HIDDEN else 1 if k % 2 else "1")
        rows.append({"x": x, "y": y, "id": k, "is_visible": flag})
    return struct({"point": struct(*rows)})


def mat(path: Path, change: Any = lambda annolist: annolist) -> Path:
    nothing = np.zeros((0, 0))
    head = {"x1": 11, "y1": 21, "x2": 41, "y2": 61}
    ann = {**head, "annopoints": points(ANN), "scale": 1.0, "objpos": struct({"x": 101, "y": 86})}
    ben = {**head, "annopoints": points(BEN), "scale": nothing, "objpos": nothing}
    annolist = [
        {
            "image": struct({"name": "test.jpg"}),
            "annorect": struct({"scale": 2.0, "objpos": struct({"x": 9, "y": 9})}),
        },
        {"image": struct({"name": "a.jpg"}), "annorect": struct(ann, ben)},
        {"image": struct({"name": "b.jpg"}), "annorect": nothing},
    ]
    release = {"annolist": struct(*change(annolist)), "img_train": np.array([0, 1, 1]), "version": "12"}
    savemat(path, {"RELEASE": struct(release)})
    return path


def h5(path: Path, **changes: Any) -> Path:
    part = np.zeros((2, 16, 2))
    for row, places in enumerate((ANN, BEN)):
        for k, place in places.items():
            part[row, k] = place
    visible = (part > 0).all(-1).astype(float)
    visible[0, HIDDEN] = 0
    # Ann's centre is 15 px lower, and her scale 1.25 times larger: as the hourglass code writes them.
    table = {
        "imgname": np.array([b"a.jpg", b"a.jpg"]),
        "part": part,
        "visible": visible,
        "center": np.array([[101.0, 101.0], [-1, -1]]),
        "scale": np.array([1.25, -1]),
        "normalize": np.array([30.0, 30.0]),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in table.items():
            if values is not None:
                file[name] = values
    return path


def hrnet(path: Path, change: Any = lambda rows: None) -> Path:
    rows = [
        {
            "image": "a.jpg",
            "joints": [list(places.get(k, (-1.0, -1.0))) for k in range(16)],
            "joints_vis": [int(k in places) for k in range(16)],
            "center": centre,
            "scale": scale,
        }
        for places, centre, scale in ((ANN, [101.0, 86.0], 1.0), (BEN, [-1.0, -1.0], -1.0))
    ]
    change(rows)
    path.write_text(json.dumps(rows))
    return path


def expected() -> np.ndarray:
    """(2, 16, 2) in punctum's pixels, which count from 0."""
    keypoints = np.full((2, len(SCHEMA.names), 2), np.nan)
    for row, places in enumerate((ANN, BEN)):
        for k, (x, y) in places.items():
            keypoints[row, k] = x - 1, y - 1
    return keypoints
