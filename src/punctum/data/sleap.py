"""SLEAP's .slp files, by sleap-io: `pip install 'punctum[sleap]'`."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.apart import apart
from punctum.data.assemble import NO_BOX, Instance, assemble
from punctum.data.errors import DataError, counted
from punctum.files import write_through
from punctum.one_line import told
from punctum.schema import Schema

SLEAP = ("the SLEAP file", "sleap-io")


def read_sleap(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a SLEAP file: what people have labelled, not what models have predicted.

    SLEAP's (0, 0) is the centre of the first pixel (files older than 1.1 are moved by sleap-io). Its skeleton, and
    its symmetries as flip pairs, are kept; boxes it does not have. A node that is marked as not visible is not
    labelled: SLEAP leaves its place anywhere. Where the frames are in a video, or in the file itself, they must lie
    in a folder as VIDEO/FRAME.png: `punctum convert FILE OUT --copy-images` writes them.

    Args:
        path: the .slp file.
        images: the folder of the pictures; without it, looked for beside the file.
        labels_only: read without images; see `assemble`.
    Raises:
        ImportError: sleap-io is not there.
        DataError: the file cannot be read, or has mistakes.
    """
    return _read(Path(path), None if images is None else Path(images), labels_only=labels_only)


@apart(*SLEAP)
def _read(source: Path, images: Path | None, *, labels_only: bool) -> Annotations:
    labels = load_labels(source)
    mistakes: list[str] = []
    schema = _schema(source, labels, mistakes)
    pictures = _pictures(labels, source, images)
    notes: list[str] = []
    instances = [] if schema is None else _instances(source, labels, schema, pictures, notes)
    if (
        not labels_only
        and pictures.of_videos
        and not any((f / n).is_file() for f in pictures.folders for n in pictures.of_videos)
    ):
        mistakes.append(
            f"{source.name}: its frames are in {pictures.where}, and punctum reads pictures: write them out by "
            f"`punctum convert {source.name} train.json --copy-images`, or name their folder by --images"
        )
    return assemble(
        schema,
        instances if not mistakes else [],
        source=source,
        folders=pictures.folders,
        mistakes=mistakes,
        notes=notes,
        labels_only=labels_only,
    )


def load_labels(source: Path, *, open_videos: bool = False) -> Any:
    """sleap-io's `Labels`.

    Raises:
        ImportError: sleap-io is not there; the message says how to get it.
        DataError: the file cannot be read.
    """
    try:
        from sleap_io.io.slp import read_labels
    except ImportError:
        raise ImportError(
            f"{source.name} is a SLEAP file, which sleap-io reads: pip install 'punctum[sleap]'"
        ) from None
    try:
        return read_labels(str(source), open_videos=open_videos)
    except Exception as error:
        # Whatever a reader that is not ours trips over in a damaged file.
        raise DataError([f"{source.name}: sleap-io cannot read it: {told(error)}"]) from None


def _schema(source: Path, labels: Any, mistakes: list[str]) -> Schema | None:
    if len(labels.skeletons) != 1:
        mistakes.append(
            f"{source.name}: expected one skeleton, got {len(labels.skeletons)}: keep one of them in SLEAP"
        )
        return None
    skeleton = labels.skeletons[0]
    try:
        return Schema(
            tuple(skeleton.node_names),
            skeleton=tuple((int(i), int(j)) for i, j in skeleton.edge_inds),
            flip_pairs=tuple(dict.fromkeys((int(i), int(j)) for i, j in skeleton.symmetry_inds)),
        )
    except (ValueError, TypeError, KeyError, IndexError) as error:
        mistakes.append(f"{source.name}: skeleton: {error}")
        return None


@dataclass
class Pictures:
    """What the frames of a SLEAP file are called as pictures, and where those may be.

    Args:
        names: by position of the video, the name of each frame's picture; None: `VIDEO/FRAME.png`.
        stems: by position, what its frames' folder is called.
        of_videos: names of labelled frames that are no picture files yet.
        folders: where to look.
        where: what they are in instead.
    """

    names: list[list[str] | None]
    stems: list[str]
    of_videos: list[str]
    folders: list[Path]
    where: str

    def name(self, video: int, frame: int) -> str:
        listed = self.names[video]
        if listed is None:
            return f"{self.stems[video]}/{frame:06d}.png"
        return listed[frame] if 0 <= frame < len(listed) else ""


def _pictures(labels: Any, source: Path, images: Path | None) -> Pictures:
    here = source.resolve().parent
    lists = [_paths(video.filename) if isinstance(video.filename, list) else None for video in labels.videos]
    absolute = [p for paths in lists if paths for p in paths if _is_absolute(p)]
    roots = [p.resolve().as_posix() for p in (images, here) if p is not None]
    common = _common([p.split("/")[:-1] for p in absolute])
    names = [None if paths is None else [_relative(p, roots, common) for p in paths] for paths in lists]
    stems = _stems([_stem(str(video.filename)) for video in labels.videos])
    found = Pictures(names, stems, [], [], "")
    position = {id(video): i for i, video in enumerate(labels.videos)}
    frames = [(position[id(f.video)], int(f.frame_idx)) for f in labels.labeled_frames if f.instances]
    found.of_videos = [found.name(i, frame) for i, frame in frames if names[i] is None]
    embedded = all(PurePosixPath(str(labels.videos[i].filename)).suffix in (".slp", ".h5") for i, _ in frames)
    found.where = "the file itself" if embedded else "videos"
    if images is not None:
        found.folders = [images]
    else:
        found.folders = [here, here / "images", here.parent / "images", here.parent]
        found.folders += [here / PurePosixPath(common).name] if common else []
    return found


def _common(folders: Sequence[Sequence[str]]) -> str:
    """The folder that all share, of either kind of path."""
    parts = zip(*folders, strict=False)
    return "/".join(same[0] for same in itertools.takewhile(lambda same: len(set(same)) == 1, parts))


def _paths(names: Sequence[str]) -> list[str]:
    return [str(name).replace("\\", "/") for name in names]


def _is_absolute(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or bool(PureWindowsPath(path).drive)


def _relative(path: str, roots: Sequence[str], common: str) -> str:
    """A picture's name below one of our folders, else below the folder that all of the file's pictures share."""
    if not _is_absolute(path):
        return path
    for root in roots:
        if path.startswith(f"{root}/"):
            return path.removeprefix(f"{root}/")
    return path.removeprefix(common).lstrip("/") or path


def _stem(name: str) -> str:
    """A folder's name for a video: nothing in it leads anywhere else."""
    return re.sub(r"[^\w.-]", "_", PurePosixPath(name.replace("\\", "/")).stem).lstrip(".") or "video"


def _stems(stems: Sequence[str]) -> list[str]:
    """Two videos of one name in two folders get two folders of frames."""
    return [stem if stem not in stems[:i] else f"{stem}-{i}" for i, stem in enumerate(stems)]


def _instances(source: Path, labels: Any, schema: Schema, pictures: Pictures, notes: list[str]) -> list[Instance]:
    position = {id(video): i for i, video in enumerate(labels.videos)}
    found, predicted, invisible = [], 0, 0
    for frame in labels.labeled_frames:
        video, index = position[id(frame.video)], int(frame.frame_idx)
        image = pictures.name(video, index)
        predicted += len(frame.predicted_instances)
        for n, instance in enumerate(frame.user_instances, 1):
            points = np.asarray(instance.points["xy"], dtype=np.float64)
            placed = np.isfinite(points).all(1)
            seen = placed & np.asarray(instance.points["visible"], dtype=bool)
            invisible += int((placed & ~seen).sum())
            label = f"{image}:{instance.track.name if instance.track is not None else n}"
            where = f"{source.name}: video {pictures.stems[video]}, frame {index}, instance {n}"
            points = np.where(seen[:, None], points, np.nan)
            found.append(Instance(where, image, label, points, np.where(seen, 2, 0).astype(np.int8), NO_BOX))
    if predicted:
        notes.append(f"{counted(predicted, 'predicted instance')} left out: only what people labelled counts")
    if invisible:
        notes.append(f"{counted(invisible, 'node')} marked as not visible: not labelled, as in SLEAP's own training")
    return found


@apart(*SLEAP, limited=False)
def write_frames(source: Path, folder: Path) -> int:
    """The labelled frames of videos as pictures `VIDEO/FRAME.png`, for `read_sleap`; returns how many.

    Raises:
        ImportError: sleap-io is not there.
        DataError: a video cannot be opened or read.
    """
    labels = load_labels(source, open_videos=True)
    pictures = _pictures(labels, source, folder)
    position = {id(video): i for i, video in enumerate(labels.videos)}
    written = 0
    for frame in labels.labeled_frames:
        video = position[id(frame.video)]
        if pictures.names[video] is not None or not frame.user_instances:
            continue
        try:
            image = np.asarray(frame.video[int(frame.frame_idx)])
        except Exception as error:
            # As above: decoders have errors of their own.
            raise DataError(
                [f"{source.name}: frame {frame.frame_idx} of {frame.video.filename} cannot be read: {error}"]
            ) from None
        png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        write_through(folder / pictures.name(video, int(frame.frame_idx)), partial(_write_bytes, content=png))
        written += 1
    return written


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@apart(*SLEAP)
def stores_frames(source: Path) -> bool:
    """Whether labelled frames of a SLEAP file are in videos or in the file itself."""
    return bool(_pictures(load_labels(source), source, None).of_videos)
