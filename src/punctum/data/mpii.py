"""MPII Human Pose, as the stacked-hourglass code (.h5) and the HRNet code (JSON) keep it.

Three files tell of the same people in different ways; here they become the same `Annotations`:

                      joints            centre, scale                    missing joints       head size
    official .mat     1-based           as annotated                     not listed           head box
    hourglass .h5     1-based, whole    centre moved, scale times 1.25   a coordinate <= 1    0.6 x its diagonal
    HRNet JSON        1-based           as annotated                     joints_vis 0         none

MATLAB counts pixels from 1: 1 is subtracted from joints and centres, as HRNet's code does. The box is the square
of 200 * scale around the centre moved down by 15 * scale (scale as annotated: the person's height over 200 px), so
that a crop with the usual padding of 1.25 is the papers' 1.25 * 200 * scale.

Source:
    Andriluka et al. 2014, CVPR; Newell et al. 2016, arXiv:1603.06937 (.h5); Sun et al. 2019, arXiv:1902.09212 (JSON).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import NO_BOX, Instance, assemble
from punctum.data.errors import DataError, counted
from punctum.data.json_text import read_json
from punctum.data.matrices import read_hdf5
from punctum.schema import Schema

SCHEMA = Schema(
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
        "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
        "left_wrist",
    ),
    skeleton=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (10, 11), (11, 12), (12, 7), (7, 13),
        (13, 14), (14, 15),
    ),
    flip_pairs=((5, 0), (4, 1), (3, 2), (15, 10), (14, 11), (13, 12)),
)  # fmt: skip

FIRST_PIXEL = 1.0
"""What MPII's files, and predictions in their form, call the centre of the top-left pixel."""

_HOURGLASS_SCALE = 1.25


def person_box(centre: ArrayLike, scale: float, *, moved: bool = False) -> NDArray[np.float64]:
    """The square around a person.

        side = 200 scale,      middle = centre - 1 + (0, 15 scale)

    Args:
        centre: (x, y) in the file's pixels, which count from 1.
        scale: as annotated: the person's height over 200 px.
        moved: the centre has been moved down already.
    Returns:
        (4,) as (x, y, width, height), in pixels that count from 0; NaN where the file knows no centre or scale.
    Example:
        >>> person_box((101, 86), 1.0)
        array([  0.,   0., 200., 200.])
    """
    x, y = np.asarray(centre, dtype=np.float64) - FIRST_PIXEL
    if not (np.isfinite([x, y, scale]).all() and scale > 0):
        return NO_BOX
    middle = np.array([x, y if moved else y + 15 * scale])
    return np.array([*(middle - 100 * scale), 200 * scale, 200 * scale])


def image_folders(source: Path) -> list[Path]:
    """Where MPII's images may be: the annotations usually lie in `annot` beside `images`."""
    here = source.parent
    return [here / "images", here.parent / "images", here]


def read_mpii_h5(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from an `annot/*.h5` of the stacked-hourglass code.

    A row is a person; its number, from 0, is the person's id. `center` and `scale` in such a file are no longer
    those of MPII: the centre has been moved down by 15 times the scale, and the scale made 1.25 times larger, which
    is undone. `normalize` becomes `lengths`. A joint with a coordinate of 1 or less counts as missing, as in
    the code that made the file: it writes missing joints as (0, 0), and neither trains nor measures those.

    Args:
        path: the HDF5 file with `imgname`, `part`, `visible`, `center`, `scale` and, best, `normalize`.
        images: the folder of the images; without it, looked for near the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its row and keypoint.
        ImportError: h5py is not there.
    """
    source = Path(path)
    table = read_hdf5(source)
    _check_table(source, table)
    parts, seen = table["part"].astype(np.float64), table["visible"]
    labelled = (parts > FIRST_PIXEL).all(-1) & (seen >= 0)
    outside = (parts != 0).any(-1) & (seen >= 0) & ~labelled
    lengths = table.get("normalize", np.full(len(parts), np.nan)).reshape(-1)
    instances = [
        Instance(
            where=f"{source.name}: row {row}",
            image=name.decode() if isinstance(name, bytes) else str(name),
            id=str(row),
            keypoints=np.where(labelled[row, :, None], parts[row] - FIRST_PIXEL, np.nan),
            visibility=np.where(labelled[row], 1 + (seen[row] > 0), 0).astype(np.int8),
            box=person_box(table["center"][row], float(table["scale"][row]) / _HOURGLASS_SCALE, moved=True),
            length=float(lengths[row]) if lengths[row] > 0 else np.nan,
        )
        for row, name in enumerate(table["imgname"].tolist())
    ]
    notes = [f"{counted(int(outside.sum()), 'joint')} with a coordinate of 1 or less taken as missing, as is usual"]
    return assemble(
        SCHEMA,
        instances,
        source=source,
        folders=image_folders(source) if images is None else [Path(images)],
        mistakes=_unplaced(source, parts),
        notes=notes if outside.any() else [],
        labels_only=labels_only,
    )


def _check_table(source: Path, table: dict[str, NDArray[Any]]) -> None:
    needed = {"imgname": (), "part": (16, 2), "visible": (16,), "center": (2,), "scale": ()}
    missing = [name for name in needed if name not in table]
    if missing:
        found = ", ".join(table) or "nothing"
        hint = ": these are predictions, not annotations" if "preds" in table else ""
        raise DataError([f"{source.name}: no MPII annotations: it has no {', '.join(missing)}, but {found}{hint}"])
    n = table["imgname"].shape[0] if table["imgname"].ndim else 0
    wrong = [
        f"{source.name}: {name} should be {(n, *shape)}, is {table[name].shape}"
        for name, shape in needed.items()
        if table[name].shape != (n, *shape)
    ]
    wrong += [
        f"{source.name}: {name} should be numbers, is {table[name].dtype}"
        for name in (*needed, "normalize")
        if name != "imgname" and name in table and table[name].dtype.kind not in "biuf"
    ]
    if table["imgname"].dtype.kind not in "SUO" or table["imgname"].ndim != 1:
        wrong.append(f"{source.name}: imgname should be {n} texts, is {table['imgname'].dtype}")
    if "normalize" in table and table["normalize"].size != n:
        wrong.append(f"{source.name}: normalize should be ({n},), is {table['normalize'].shape}")
    if wrong:
        raise DataError(wrong)


def _unplaced(source: Path, parts: NDArray[np.float64]) -> list[str]:
    return [
        f"{source.name}: row {row}: keypoint {SCHEMA.names[k]}: its place {parts[row, k].tolist()} is not two finite "
        f"numbers"
        for row, k in np.argwhere(~np.isfinite(parts).all(-1)).tolist()
    ]


def read_mpii_json(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from an `annot/*.json` of the HRNet code, which SimpleBaseline and many others share.

    A list of objects, one per person, with `image`, `joints`, `joints_vis`, `center` and `scale`. Its `joints_vis`
    says whether a joint is labelled, not whether it is hidden. `center` and `scale` are MPII's own. The file has no
    head sizes, so PCKh cannot be measured with it.

    Args:
        path: the JSON file.
        images: the folder of the images; without it, looked for near the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its entry and keypoint.
    """
    source = Path(path)
    rows = read_json(source)
    if not isinstance(rows, list):
        raise DataError([f"{source.name}: expected a list of people"])
    mistakes: list[str] = []
    found = [_person(row, f"{source.name}: entry {i}", str(i), mistakes) for i, row in enumerate(rows)]
    return assemble(
        SCHEMA,
        [person for person in found if person is not None],
        source=source,
        folders=image_folders(source) if images is None else [Path(images)],
        mistakes=mistakes,
        notes=[],
        labels_only=labels_only,
    )


def _person(row: Any, where: str, label: str, mistakes: list[str]) -> Instance | None:
    before = len(mistakes)
    if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row["image"]:
        mistakes.append(f"{where}: expected an object with image, joints, joints_vis, center and scale")
        return None
    count = len(SCHEMA.names)
    joints = _array(row.get("joints", []), (count, 2))
    seen = _array(row.get("joints_vis", []), (count,))
    if joints is None or seen is None:
        mistakes.append(f"{where}: joints should be {count} pairs of numbers, and joints_vis {count} numbers")
        return None
    labelled = seen > 0
    mistakes += [
        f"{where}: keypoint {SCHEMA.names[k]}: it is labelled, but its place {row['joints'][k]} is not two finite "
        f"numbers"
        for k in np.flatnonzero(labelled & ~np.isfinite(joints).all(1))
    ]
    centre, scale = _array(row.get("center", [-1, -1]), (2,)), _array(row.get("scale", -1), ())
    if centre is None or scale is None:
        mistakes.append(f"{where}: center should be two numbers and scale one")
    if len(mistakes) > before or centre is None or scale is None:
        return None
    return Instance(
        where=where,
        image=row["image"],
        id=label,
        keypoints=np.where(labelled[:, None], joints - FIRST_PIXEL, np.nan),
        visibility=np.where(labelled, 2, 0).astype(np.int8),
        box=person_box(centre, float(scale)),
    )


def _array(values: Any, shape: Sequence[int]) -> NDArray[np.float64] | None:
    """Numbers of that shape, or None."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.shape == tuple(shape) else None
