"""Annotations as a SLEAP project, by sleap-io."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.holds import Holds
from punctum.data.images import image_size
from punctum.files import write_through

HOLDS = Holds(skeleton=True, flip_pairs=True)


def write_sleap(annotations: Annotations, path: Path) -> None:
    """Write a .slp whose videos are lists of the pictures, one for each size of picture, by their full paths.

    Args:
        annotations: of pictures.
        path: the .slp file.
    Raises:
        ImportError: sleap-io is not there.
        OSError: the file cannot be written, or a picture's size not read.
    """
    try:
        import sleap_io as sio
    except ImportError:
        raise ImportError(f"{path.name}: sleap-io writes SLEAP files: pip install 'punctum[sleap]'") from None
    schema = annotations.schema
    skeleton = sio.Skeleton(
        nodes=list(schema.names),
        edges=[(schema.names[i], schema.names[j]) for i, j in schema.skeleton],
        symmetries=[(schema.names[i], schema.names[j]) for i, j in schema.flip_pairs],
    )
    rows: dict[Path, list[int]] = defaultdict(list)
    for n, image in enumerate(annotations.images):
        rows[image].append(n)
    videos: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for image in rows:
        videos[image_size(image)].append(image)
    frames = []
    for images in videos.values():
        video = _video(images, image_size(images[0]))
        for i, image in enumerate(images):
            found = [
                sio.Instance.from_numpy(
                    np.where(annotations.labelled[n, :, None], annotations.keypoints[n], np.nan), skeleton
                )
                for n in rows[image]
            ]
            frames.append(sio.LabeledFrame(video=video, frame_idx=i, instances=found))
    labels = sio.Labels(frames, skeletons=[skeleton])
    write_through(path, lambda temporary: _save(labels, temporary))


def _video(images: list[Path], size: tuple[int, int]) -> Any:
    """A list of pictures as sleap-io's video: described, not opened, so that no picture is decoded again."""
    import sleap_io as sio

    files = [str(image.resolve()) for image in images]
    shape = (len(files), *size, 3)
    sides = {"height_": size[0], "width_": size[1], "channels_": 3}
    described = {"type": "ImageVideo", "filename": files[0], "filenames": files, "shape": shape, **sides}
    return sio.Video(filename=files, backend_metadata={**described, "grayscale": False}, open_backend=False)


def _save(labels: Any, path: Path) -> None:
    path.unlink()
    labels.save(str(path), embed=False, verbose=False)
