"""A part of the images of an annotation file, as a file of its own: any format's, since it only names them.

{"part_of": "/data/train.json", "images": null, "names": ["a.jpg", "b.jpg"]}
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from punctum.data.annotations import Annotations
from punctum.data.errors import DataError
from punctum.files import write_text
from punctum.json_file import parse_json
from punctum.one_line import told

KEY = b'"part_of"'


def is_part(start: bytes) -> bool:
    """Whether a file that starts so was written by `write_part`.

    Example:
        >>> is_part(b'{"part_of": "train.json", "images"')
        True
    """
    return start.startswith(b"{" + KEY)


def write_part(path: str | Path, part: Annotations, source: str | Path, images: str | Path | None = None) -> Path:
    """Write which images of `source` a part of its annotations is on; `read` reads it like any other file.

    Args:
        path: the file, a `.json`.
        part: the instances; all those on their images belong to it.
        source: what was read, and where from its images came, as for `read`.
        images: likewise.
    """
    content = {
        "part_of": str(Path(source).resolve()),
        "images": None if images is None else str(Path(images).resolve()),
        "names": list(dict.fromkeys(part.image_names)),
    }
    return write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def part_content(path: Path) -> dict[str, Any]:
    """What `write_part` wrote.

    Raises:
        DataError: the file lacks something.
    """
    try:
        content = parse_json(path.read_bytes())
        source, images, names = content["part_of"], content["images"], content["names"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError([f"{path}: this is no part of annotations: {told(error)}"]) from None
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    paths = isinstance(source, str) and isinstance(images, str | None) and "\0" not in f"{source}{images}"
    if not listed or not paths:
        raise DataError([f"{path}: a part of annotations has the paths part_of and images, and a list of names"])
    return {"part_of": source, "images": images, "names": set(names)}


def take(whole: Annotations, names: set[str], path: Path) -> Annotations:
    """The instances on the named images.

    Raises:
        DataError: an image is no longer there.
    """
    missing = names - set(whole.image_names)
    if missing:
        raise DataError([f"{path}: {whole.source} has no image {name!r} any more" for name in sorted(missing)[:5]])
    chosen = [i for i, name in enumerate(whole.image_names) if name in names]
    return replace(whole.subset(chosen), source=path)
