"""How exactly do people label each keypoint? OKS sigmas from several annotation files of the same images."""

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table

from punctum.data import Annotations, read
from punctum.data.errors import counted
from punctum.files import write_text
from punctum.metrics import SigmaEstimate, estimate_sigmas, instance_areas
from punctum.terminal import print_notes

# Labels beyond the first, under which a sigma is uncertain by more than 10 % (1 / sqrt(4 n) for normal errors).
FEW = 25


def estimate(
    data: Sequence[str | Path],
    *,
    out: str | Path = "sigmas.json",
    console: Console | None = None,
) -> SigmaEstimate:
    """Estimate the sigmas from one annotation file per person, print them, and write them.

    The same instance is found by its image's name; where an image has several instances in one of the files, by
    its id as well. Its area is the mean of the areas that the files give it, or of 0.53 of their boxes.

    Args:
        data: two or more annotation files of the same images, which are not needed themselves.
        out: .json with `keypoints`, `sigmas` (None where nobody labelled twice) and `n`.
        console: where to report; None is silent.
    Returns:
        As `estimate_sigmas`.
    Raises:
        ValueError: fewer than two files; they name other keypoints, or have no instance in common that has a size.
        OSError: a file cannot be read or written.
    """
    console = console or Console(quiet=True)
    if len(data) < 2:
        raise ValueError("sigmas need two or more annotation files of the same images, one for each person")
    files = [labelled_part(read(path, labels_only=True)) for path in data]
    names = files[0].schema.names
    for other in files[1:]:
        if other.schema.names != names:
            raise ValueError(f"{other.source} names other keypoints than {files[0].source}")
    keypoints, visible, areas = align(files)
    unsized = int(areas.isnan().sum())
    if unsized == len(areas):
        listed = ", ".join(str(file.source) for file in files)
        raise ValueError(
            f"no instance stands in two of the files and has an area or a box: {listed}; instances are matched by "
            f"the image's name and, where it has several, by their id"
        )
    result = estimate_sigmas(keypoints, visible, areas)
    values = [None if np.isnan(s) else round(s, 5) for s in result.sigmas.tolist()]
    _print_table(names, values, result, console)
    notes = [f"{counted(unsized, 'instance')} without an area or a box left out"] if unsized else []
    few = sum(d < FEW for d in result.degrees.tolist())
    if few:
        notes.append(f"{counted(few, 'keypoint')} with fewer than {FEW} repeated labels: uncertain by over 10 %")
    print_notes(notes, console)
    content = {"keypoints": list(names), "sigmas": values, "n": result.degrees.tolist()}
    path = write_text(out, json.dumps(content, indent=1) + "\n")
    console.print(f"sigmas: {path}")
    return result


def labelled_part(annotations: Annotations) -> Annotations:
    """The instances with a labelled point."""
    return annotations.subset(np.flatnonzero(annotations.labelled.any(1)))


def align(files: Sequence[Annotations]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Instances that stand in two of the files or more, brought into one order.

    Returns:
        Keypoints (R, N, K, 2), labelled (R, N, K), and mean areas (N,), NaN where no file gives a size.
    """
    crowded = {image for file in files for image, n in Counter(file.image_names).items() if n > 1}

    def key(file: Annotations, i: int) -> Hashable:
        image = file.image_names[i]
        return (image, file.ids[i] if image in crowded else "")

    rows = [{key(file, i): i for i in range(len(file))} for file in files]
    counts = Counter(k for found in rows for k in found)
    shared = [k for k, n in counts.items() if n > 1]
    k = len(files[0].schema.names)
    keypoints = np.full((len(files), len(shared), k, 2), np.nan)
    areas = np.full((len(files), len(shared)), np.nan)
    for r, (file, found) in enumerate(zip(files, rows, strict=True)):
        here = [n for n, name in enumerate(shared) if name in found]
        there = [found[shared[n]] for n in here]
        keypoints[r, here], areas[r, here] = file.keypoints[there], instance_areas(file).numpy()[there]
    labelled = torch.from_numpy(~np.isnan(keypoints[..., 0]))
    return torch.from_numpy(keypoints), labelled, torch.from_numpy(areas).nanmean(0)


def _print_table(
    names: Sequence[str], values: Sequence[float | None], result: SigmaEstimate, console: Console
) -> None:
    table = Table(Column("keypoint", no_wrap=True), "sigma", "repeated labels")
    for name, value, degrees in zip(names, values, result.degrees.tolist(), strict=True):
        table.add_row(name, "-" if value is None else f"{value:.4f}", str(degrees))
    console.print(table)
