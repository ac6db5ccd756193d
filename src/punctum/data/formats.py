"""The annotation formats by name: who reads one, who writes it, and what it can hold."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from punctum.data.annotations import Annotations
from punctum.data.coco import read_coco
from punctum.data.cvat import read_cvat
from punctum.data.deeplabcut import read_deeplabcut
from punctum.data.deeplabcut_h5 import read_deeplabcut_h5
from punctum.data.holds import Holds, keep
from punctum.data.label_studio import read_label_studio
from punctum.data.mpii import read_mpii_h5, read_mpii_json
from punctum.data.mpii_mat import read_mpii_mat
from punctum.data.point_csv import read_point_csv
from punctum.data.readers import Reader
from punctum.data.sleap import read_sleap
from punctum.data.writing import coco, cvat, deeplabcut, label_studio, point_csv, sleap, yolo
from punctum.data.yolo import read_yolo

Writer = Callable[[Annotations, Path], None]


@dataclass(frozen=True)
class Format:
    """An annotation format.

    Args:
        title: what messages call it.
        read: its reader.
        write: its writer; None: it is only read.
        holds: what it can hold.
        ending: of its files.
        fit: what else must be changed before it can be written, and what that was; None: nothing.
    """

    title: str
    read: Reader
    write: Writer | None = None
    holds: Holds = Holds()  # noqa: RUF009
    ending: str = ".json"
    fit: Callable[[Annotations], tuple[Annotations, list[str]]] | None = None


FORMATS: dict[str, Format] = {
    "coco": Format("COCO", read_coco, coco.write_coco, coco.HOLDS, fit=coco.fit_coco),
    "deeplabcut": Format("DeepLabCut's csv", read_deeplabcut, deeplabcut.write_deeplabcut, deeplabcut.HOLDS, ".csv"),
    "deeplabcut-h5": Format(
        "DeepLabCut's .h5", read_deeplabcut_h5, deeplabcut.write_deeplabcut_h5, deeplabcut.HOLDS, ".h5"
    ),
    "sleap": Format("SLEAP", read_sleap, sleap.write_sleap, sleap.HOLDS, ".slp"),
    "label-studio": Format("Label Studio", read_label_studio, label_studio.write_label_studio, label_studio.HOLDS),
    "cvat": Format("CVAT", read_cvat, cvat.write_cvat, cvat.HOLDS, ".xml"),
    "yolo": Format("YOLO-pose", read_yolo, yolo.write_yolo, yolo.HOLDS, ".yaml", yolo.fit_yolo),
    "csv": Format("the csv", read_point_csv, point_csv.write_point_csv, point_csv.HOLDS, ".csv"),
    "csv-wide": Format("the csv", read_point_csv, point_csv.write_wide_csv, point_csv.HOLDS, ".csv"),
    "mpii-h5": Format("MPII's .h5", read_mpii_h5, ending=".h5"),
    "mpii-mat": Format("MPII's .mat", read_mpii_mat, ending=".mat"),
    "mpii-json": Format("MPII's JSON", read_mpii_json),
}


def format_named(name: str, *, write: bool = False) -> Format:
    """A format by its name.

    Raises:
        ValueError: there is none, or it is only read; the message lists those there are.
    """
    known = [key for key, found in FORMATS.items() if not write or found.write is not None]
    if name not in known:
        what = "written" if write and name in FORMATS else "known"
        raise ValueError(f"format {name!r} is not {what}; there are: {', '.join(known)}")
    return FORMATS[name]


def format_of_output(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        ValueError: no format has such files.
    Example:
        >>> [format_of_output(Path(name)) for name in ("a.slp", "CollectedData_me.csv", "set")]
        ['sleap', 'deeplabcut', 'yolo']
    """
    if path.name.startswith("CollectedData") and path.suffix == ".csv":
        return "deeplabcut"
    known = {".json": "coco", ".csv": "csv", ".h5": "deeplabcut-h5", ".slp": "sleap", ".xml": "cvat"}
    known |= {".yaml": "yolo", ".yml": "yolo", "": "yolo"}
    if path.suffix.lower() not in known:
        raise ValueError(f"{path}: no format has files like that; name one of {', '.join(FORMATS)} (--to)")
    return known[path.suffix.lower()]


def output_file(path: Path, name: str) -> Path:
    """The file that is written: of YOLO-pose, a folder stands for the yaml file in it."""
    return path / "data.yaml" if name == "yolo" and path.suffix.lower() not in (".yaml", ".yml") else path


def as_held(annotations: Annotations, name: str) -> tuple[Annotations, list[str]]:
    """The annotations as a format can hold them, and a sentence for each kind of thing that is lost or changed."""
    found = format_named(name, write=True)
    kept, notes = keep(annotations, found.holds, found.title)
    if found.fit is not None:
        kept, more = found.fit(kept)
        notes += more
    return kept, notes


def write(annotations: Annotations, path: str | Path, to: str | None = None) -> list[str]:
    """Write annotations to a file, in the format of its name or of `to`.

    Args:
        annotations: of pictures.
        path: the file.
        to: a name of `FORMATS`.
    Returns:
        What the format cannot hold, counted, a sentence each.
    Raises:
        ValueError: an unknown format, annotations that it cannot hold at all.
        OSError: the file cannot be written.
    """
    name = to or format_of_output(Path(path))
    path = output_file(Path(path), name)
    kept, notes = as_held(annotations, name)
    writer = format_named(name, write=True).write
    if writer is not None:
        writer(replace(kept, source=path), path)
    return notes
