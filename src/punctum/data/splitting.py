"""Which images train, and which are held out."""

from dataclasses import replace

import numpy as np

from punctum.data.annotations import Annotations


def split(annotations: Annotations, fraction: float, seed: int = 0) -> tuple[Annotations, Annotations]:
    """Training and validation parts, divided by image: no image has instances on both sides.

    Args:
        annotations: what to divide.
        fraction: of the images that go to validation, above 0 and below 1; at least one goes to each side.
        seed: of the choice.
    Returns:
        (training, validation), each in the order of `annotations`.
    Raises:
        ValueError: the fraction is out of range, or there are fewer than two images.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be above 0 and below 1, got {fraction}")
    images = list(dict.fromkeys(annotations.images))
    if len(images) < 2:
        raise ValueError(
            f"{annotations.source}: a split into training and validation needs two images or more, there is "
            f"{len(images)}; give validation data of their own"
        )
    count = min(max(round(fraction * len(images)), 1), len(images) - 1)
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    held_out = {images[i] for i in chosen}
    validation = np.array([image in held_out for image in annotations.images])
    return annotations.subset(np.flatnonzero(~validation)), annotations.subset(np.flatnonzero(validation))


def draw_images(annotations: Annotations, count: int, seed: int = 0) -> Annotations:
    """The instances of so many images, drawn by the seed; smaller draws of a seed are parts of larger ones.

    Args:
        annotations: what to draw from.
        count: of images; 0 takes all, and so does a number that is larger than there are.
        seed: of the choice.
    Returns:
        Their instances, in the order of `annotations`, with a note on how many were left out.
    """
    images = list(dict.fromkeys(annotations.images))
    if not 0 < count < len(images):
        return annotations
    drawn = {images[i] for i in np.random.default_rng([seed, 1]).permutation(len(images))[:count]}
    kept = annotations.subset([i for i, image in enumerate(annotations.images) if image in drawn])
    return replace(kept, notes=(*kept.notes, f"{count} of {len(images)} images were drawn, as max_images asks"))
