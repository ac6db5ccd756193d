"""One door to every annotation format: the file's content says which one it is."""

from collections.abc import Callable
from pathlib import Path

from punctum.data.annotations import Annotations
from punctum.data.coco import read_coco
from punctum.data.deeplabcut import read_deeplabcut
from punctum.data.errors import DataError
from punctum.data.landmarks import is_volumes_csv, read_volumes_csv, read_volumes_json

Reader = Callable[[Path, Path | None], Annotations]

FORMATS = "COCO keypoints JSON, DeepLabCut csv, landmarks of volumes in JSON or csv"


def read(path: str | Path, images: str | Path | None = None) -> Annotations:
    """Annotations from any readable file.

    Args:
        path: the annotation file, or a folder that holds exactly one.
        images: the folder that the file's image names are relative to; without it, looked for near the file.
    Raises:
        DataError: there is no readable file, or its data have mistakes: all of them are listed.
    """
    source = Path(path)
    if source.is_dir():
        source = _only_file(source)
    reader = _reader(source)
    if reader is None:
        raise DataError([f"{source}: this is no annotation file that can be read; formats: {FORMATS}"])
    return reader(source, None if images is None else Path(images))


def _reader(source: Path) -> Reader | None:
    try:
        with source.open("rb") as file:
            start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    if start[:1] in (b"{", b"["):
        return read_volumes_json if _lists_volumes(source) else read_coco
    if start[:7].lower() == b"scorer,":
        return read_deeplabcut
    if is_volumes_csv(start.partition(b"\n")[0].decode(errors="replace")):
        return read_volumes_csv
    return None


def _lists_volumes(source: Path) -> bool:
    content = source.read_bytes()
    return b'"volumes"' in content and b'"annotations"' not in content


def _only_file(folder: Path) -> Path:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in (".json", ".csv") and f.is_file())
    found = [f for f in files if not f.name.startswith(".") and _holds_annotations(f)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError([f"{folder}: this folder holds no annotation file; formats: {FORMATS}"])
    raise DataError(
        [f"{folder}: this folder holds several annotation files, name one: {', '.join(f.name for f in found)}"]
    )


def _holds_annotations(file: Path) -> bool:
    """Whether a file beside others is meant: a folder may hold settings and results in JSON too."""
    reader = _reader(file)
    return reader is not None and (reader is not read_coco or b'"annotations"' in file.read_bytes())
