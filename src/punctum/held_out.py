"""Which images a run has learned from, and which it kept back."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from punctum.data import Annotations, read, split
from punctum.data.splitting import draw_images
from punctum.settings import TrainSettings
from punctum.train_settings import load_config


def parts_of(settings: TrainSettings) -> tuple[Annotations, Annotations]:
    """The annotations that a run learns from, and those that it keeps back for validation.

    Raises:
        OSError: a file is missing.
        ValueError: they cannot be read, or the two name other keypoints.
    """
    data = read(settings.data, settings.images)
    if settings.val is None:
        train_data, val_data = split(data, settings.val_fraction, settings.seed)
    else:
        train_data, val_data = data, read(settings.val, settings.val_images)
        if val_data.schema.names != train_data.schema.names:
            raise ValueError(
                f"{settings.val} names other keypoints than {settings.data}: "
                f"{', '.join(val_data.schema.names)} against {', '.join(train_data.schema.names)}"
            )
    return draw_images(train_data, settings.max_images, settings.seed), val_data


def refuse_trained_on(run: Path, annotations: Annotations) -> str | None:
    """Refuse to judge a model's trust by images that it learned from: its errors there are too small.

    Returns:
        None, or a note on why nothing can be said: the training annotations are not where they were.
    Raises:
        ValueError: some of the images are among the training images; the first of them is named.
    """
    try:
        train_data, _ = parts_of(load_config(run))
    except (OSError, ValueError) as error:
        return f"whether the model learned from these images cannot be told: {error}"
    known = {path.resolve() for path in train_data.images}
    shared = [path for path in dict.fromkeys(annotations.images) if path.resolve() in known]
    if shared:
        raise ValueError(
            f"{annotations.source}: the model learned from {len(shared)} of its {len(set(annotations.images))} "
            f"images ({shared[0]}, ...), where its errors are smaller than elsewhere: give images that it has not "
            "seen, or leave the data out to take those that the run kept back for validation"
        )
    return None


def fingerprints(pictures: Sequence[Path]) -> tuple[str, ...]:
    """What tells each different picture from others wherever it lies: of its size and its first 64 KiB.

    Raises:
        OSError: one cannot be read.
    """
    found = []
    for path in dict.fromkeys(pictures):
        with path.open("rb") as file:
            start = file.read(2**16)
        found.append(hashlib.blake2b(start, digest_size=8, salt=path.stat().st_size.to_bytes(8)).hexdigest())
    return tuple(found)


def calibrated_on(known: Sequence[str], annotations: Annotations) -> str | None:
    """A note where promises are judged by pictures that they rest on, which they keep too easily."""
    if not known:
        return None
    pictures = fingerprints(annotations.images)
    shared = len(set(pictures) & set(known))
    if not shared:
        return None
    return (
        f"the model was calibrated on {shared} of these {len(pictures)} pictures: what is said of its regions and "
        "scores is too kind; judge them by others"
    )
