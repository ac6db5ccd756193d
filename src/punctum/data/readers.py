"""One door to every annotation format: the file's content says which one it is."""

from pathlib import Path
from typing import Protocol

from punctum.data.annotations import Annotations
from punctum.data.coco import read_coco
from punctum.data.deeplabcut import read_deeplabcut
from punctum.data.errors import DataError
from punctum.data.landmarks import is_volumes_csv, read_volumes_csv, read_volumes_json
from punctum.data.layers import lists_layers, read_layers
from punctum.data.matrices import is_hdf5, is_matlab
from punctum.data.mpii import read_mpii_h5, read_mpii_json
from punctum.data.mpii_mat import read_mpii_mat
from punctum.data.parts import is_part, part_content, take


class Reader(Protocol):
    """What every reader is."""

    def __call__(self, path: Path, images: Path | None, *, labels_only: bool) -> Annotations: ...


FORMATS = (
    "COCO keypoints JSON, DeepLabCut csv, MPII (.h5, .mat, JSON), landmarks of volumes in JSON or csv, "
    "layers of scans in JSON"
)
ENDINGS = (".json", ".csv", ".h5", ".mat")
# What a file beside others must hold to be meant: a folder may hold settings and results in these formats too.
TELLING = {read_coco: b'"annotations"', read_mpii_h5: b"imgname"}


def read(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from any readable file.

    Args:
        path: the annotation file, or a folder that holds exactly one.
        images: the folder that the file's image names are relative to; without it, looked for near the file.
        labels_only: read without images, and keep instances without a labelled point: to compare labels with
            predictions.
    Raises:
        DataError: there is no readable file, or its data have mistakes: all of them are listed.
    """
    source = Path(path)
    if source.is_dir():
        source = _only_file(source)
    reader = _reader(source)
    if reader is None:
        raise DataError([f"{source}: this is no annotation file that can be read; formats: {FORMATS}"])
    return reader(source, None if images is None else Path(images), labels_only=labels_only)


def _reader(source: Path) -> Reader | None:
    try:
        with source.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    if is_hdf5(start):
        return read_mpii_h5
    if is_matlab(start):
        return read_mpii_mat
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if is_part(start):
        return _read_part
    if start[:1] == b"[" and b'"joints_vis"' in start:
        return read_mpii_json
    if start[:1] in (b"{", b"["):
        return read_layers if lists_layers(source) else read_volumes_json if _lists_volumes(source) else read_coco
    if start[:7].lower() == b"scorer,":
        return read_deeplabcut
    if is_volumes_csv(start.partition(b"\n")[0].decode(errors="replace")):
        return read_volumes_csv
    return None


def _read_part(path: Path, images: Path | None, *, labels_only: bool) -> Annotations:
    content = part_content(path)
    if Path(content["part_of"]).resolve() == path.resolve():
        raise DataError([f"{path}: it is a part of itself"])
    try:
        whole = read(content["part_of"], images or content["images"], labels_only=labels_only)
    except DataError as error:
        raise DataError([f"{path.name}: of what it is a part: {mistake}" for mistake in error.mistakes]) from None
    except OSError as error:
        raise DataError([f"{path.name}: of what it is a part: {error}"]) from None
    except RecursionError:
        raise DataError([f"{path}: it is a part of itself"]) from None
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
    return reader is not None and (reader not in TELLING or TELLING[reader] in file.read_bytes())
