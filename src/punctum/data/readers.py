"""One door to every annotation format: the file's content says which one it is."""

from pathlib import Path
from typing import Protocol

from punctum.data.annotations import Annotations
from punctum.data.coco import read_coco
from punctum.data.cvat import read_cvat
from punctum.data.deeplabcut import read_deeplabcut
from punctum.data.deeplabcut_h5 import read_deeplabcut_h5
from punctum.data.errors import DataError
from punctum.data.label_studio import read_label_studio
from punctum.data.landmarks import is_volumes_csv, read_volumes_csv, read_volumes_json
from punctum.data.layers import lists_layers, read_layers
from punctum.data.matrices import is_hdf5, is_matlab, names_in_hdf5
from punctum.data.mpii import read_mpii_h5, read_mpii_json
from punctum.data.mpii_mat import read_mpii_mat
from punctum.data.parts import is_part, part_content, take
from punctum.data.point_csv import is_point_csv, read_point_csv
from punctum.data.sleap import read_sleap
from punctum.data.yolo import read_yolo, yaml_above, yolo_yaml


class Reader(Protocol):
    """What every reader is."""

    def __call__(self, path: Path, images: Path | None, *, labels_only: bool) -> Annotations: ...


FORMATS = (
    "COCO keypoints JSON, DeepLabCut (csv, .h5), SLEAP .slp, Label Studio JSON, CVAT XML, YOLO-pose (data.yaml), "
    "csv of points, MPII (.h5, .mat, JSON), landmarks of volumes in JSON or csv, layers of scans in JSON"
)
ENDINGS = (".json", ".csv", ".h5", ".mat", ".slp", ".xml")
# What a file beside others must hold to be meant: a folder may hold settings and results in these formats too.
TELLING = {read_coco: b'"annotations"', read_mpii_h5: b"imgname"}


def read(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from any readable file.

    Args:
        path: the annotation file, or a folder that holds exactly one, or a YOLO-pose data set, or one split of it.
        images: the folder that the file's image names are relative to; without it, looked for near the file.
        labels_only: read without images, and keep instances without a labelled point: to compare labels with
            predictions.
    Raises:
        DataError: there is no readable file, or its data have mistakes: all of them are listed.
    """
    source = Path(path)
    if source.is_dir():
        source = source if yolo_yaml(source) or yaml_above(source) else _only_file(source)
    reader = _reader(source)
    if reader is None:
        raise DataError([f"{source}: this is no annotation file that can be read; formats: {FORMATS}"])
    return reader(source, None if images is None else Path(images), labels_only=labels_only)


def _reader(source: Path) -> Reader | None:
    if source.is_dir():
        return read_yolo
    try:
        with source.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    if is_hdf5(start):
        return _hdf5_reader(source)
    if is_matlab(start):
        return read_mpii_mat
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if is_part(start):
        return _read_part
    if start[:1] == b"[" and b'"joints_vis"' in start:
        return read_mpii_json
    if start[:1] in (b"{", b"["):
        return _json_reader(source, start)
    if start[:1] == b"<":
        return read_cvat if b"<annotations" in start else None
    if source.suffix.lower() in (".yaml", ".yml"):
        return read_yolo
    if start[:7].lower() == b"scorer,":
        return read_deeplabcut
    first_line = _first_line(source, start)
    if is_volumes_csv(first_line):
        return read_volumes_csv
    return read_point_csv if is_point_csv(first_line) else None


def _hdf5_reader(source: Path) -> Reader:
    names = names_in_hdf5(source)
    if {"metadata", "instances", "points"} <= names:
        return read_sleap
    # A table of pandas, of whatever form: the reader says what it cannot read.
    if any(name.endswith(("/axis0", "/axis0_level0", "/table")) for name in names):
        return read_deeplabcut_h5
    return read_mpii_h5


def _json_reader(source: Path, start: bytes) -> Reader:
    if start[:1] == b"[" and b'"result"' in source.read_bytes():
        return read_label_studio
    return read_layers if lists_layers(source) else read_volumes_json if _lists_volumes(source) else read_coco


def _first_line(source: Path, start: bytes) -> str:
    """The header of a csv: of many keypoints it is long."""
    if b"\n" not in start:
        with source.open("rb") as file:
            start = file.readline(1 << 20)
    return start.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode(errors="replace").rstrip("\r")


def _read_part(path: Path, images: Path | None, *, labels_only: bool) -> Annotations:
    content = part_content(path)
    whole = read(content["part_of"], images or content["images"], labels_only=labels_only)
    return take(whole, content["names"], path)


def _lists_volumes(source: Path) -> bool:
    content = source.read_bytes()
    return b'"volumes"' in content and b'"annotations"' not in content


def _only_file(folder: Path) -> Path:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in ENDINGS and f.is_file())
    found = [f for f in files if not f.name.startswith(".") and _holds_annotations(f)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError([f"{folder}: this folder holds no annotation file; formats: {FORMATS}"])
    raise DataError(
        [f"{folder}: this folder holds several annotation files, name one: {', '.join(f.name for f in found)}"]
    )


def _holds_annotations(file: Path) -> bool:
    reader = _reader(file)
    if reader is read_point_csv:
        # What `punctum predict` has written there is no annotation.
        return "score" not in _first_line(file, b"").split(",")
    return reader is not None and (reader not in TELLING or TELLING[reader] in file.read_bytes())
