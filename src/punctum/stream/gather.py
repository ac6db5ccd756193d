"""What is named on the command line: pictures, videos, folders, patterns, lists, annotation files."""

import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from punctum.data import Annotations, read
from punctum.data.named import ANNOTATION_ENDINGS, PICTURE_ENDINGS
from punctum.data.volumes import VOLUME_ENDINGS
from punctum.stream.video import VIDEO_ENDINGS, Video, is_video

STILL_ENDINGS = (*PICTURE_ENDINGS, *VOLUME_ENDINGS)
STDIN = "-"

# What belongs together: pictures that follow each other, the instances of an annotation file, a video.
Gathered = list[Path] | Annotations | Video


def gather(given: Sequence[str | Path]) -> list[Gathered]:
    """What is behind the given words, in their order.

    Args:
        given: pictures (or volumes), videos, annotation files, folders of pictures and videos, patterns such as
            `'day1/**/*.png'`, and `-` for a list of any of these on standard input, one a line.
    Raises:
        FileNotFoundError: files are missing: all of them are named.
        ValueError: a folder, a pattern or the list holds nothing.
    """
    found: list[Gathered] = []
    for path in _files(given):
        if is_video(path):
            found.append(Video(path))
        elif path.suffix.lower() in ANNOTATION_ENDINGS:
            found.append(read(path))
        elif found and isinstance(found[-1], list):
            found[-1].append(path)
        else:
            found.append([path])
    return found


def _files(given: Iterable[str | Path]) -> list[Path]:
    """Every file by itself; folders, patterns and lists opened up."""
    words = list(_listed(given))
    missing = [word for word in words if not Path(word).exists() and not _is_pattern(word)]
    if missing:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing[:10])}")
    files: list[Path] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            files += _folder(path)
        elif path.exists():
            files.append(path)
        else:
            matching = [path for path in map(Path, sorted(glob.glob(word, recursive=True))) if path.is_file()]
            if not matching:
                raise ValueError(f"no file matches {word}")
            files += matching
    return files


def _folder(folder: Path) -> list[Path]:
    endings = (*STILL_ENDINGS, *VIDEO_ENDINGS)
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings and path.is_file())
    if not found:
        raise ValueError(
            f"{folder} holds no pictures ({', '.join(STILL_ENDINGS)}) and no videos; a pattern such as "
            f"'{folder}/**/*.png' looks into folders within"
        )
    return found


def _listed(given: Iterable[str | Path]) -> Iterator[str]:
    for word in map(str, given):
        if word != STDIN:
            yield word
            continue
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        named = [line for line in lines if line.strip()]
        if not named:
            raise ValueError("-: the list on standard input is empty: one file a line is expected")
        yield from named


def _is_pattern(word: str) -> bool:
    return glob.has_magic(word)


def gather_stills(given: Sequence[str | Path]) -> tuple[list[Path], list[Annotations]]:
    """The same where only pictures will do: all of them, and the annotations.

    Raises:
        ValueError: as `gather`; a video is among them.
    """
    found = gather(given)
    videos = [source.name for source in found if isinstance(source, Video)]
    if videos:
        raise ValueError(f"{', '.join(videos[:5])}: a video; only pictures can be taken here")
    pictures = [path for source in found if isinstance(source, list) for path in source]
    return pictures, [source for source in found if isinstance(source, Annotations)]
