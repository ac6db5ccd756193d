"""What finds points in a run's pictures, and how: made in one place, and told apart from what would find others."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from punctum import __version__
from punctum.decision import Decision
from punctum.predict import Predictor, load_model, model_folder
from punctum.predict_layers import LayerPredictor
from punctum.predict_network import say_compiling
from punctum.reading import reading_of
from punctum.terminal import print_notes


@dataclass(frozen=True)
class Finding:
    """How points are found: all that they depend on beside the model and the pictures.

    Args:
        batch_size: pictures at a time.
        device: where to compute.
        flip_test: average each prediction with that of the mirrored picture.
        compile: predict through `torch.compile`.
        decision: which place of the density is said; None: that of the calibration, else the head's own.
        places: how many likely places of each point to tell.
    Raises:
        ValueError: a number is out of its range.
    """

    batch_size: int = 32
    device: str | torch.device | None = None
    flip_test: bool = False
    compile: bool = False
    decision: Decision | None = None
    places: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.places <= 16:
            raise ValueError(f"places must be 0 to 16, got {self.places}")


def finder_of(run: str | Path, finding: Finding, console: Console) -> Predictor | LayerPredictor:
    """The model of a run, ready to predict; a note says where its calibration does not hold.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: it is broken, or cannot be asked for this.
    """
    model = load_model(run)
    reading, doubt = reading_of(
        model, model_folder(run), finding.decision, flip_test=finding.flip_test, places=finding.places
    )
    if doubt is not None:
        print_notes([doubt], console)
    say_compiling(console, finding.compile)
    if model.dims == 1:
        if reading.needs_heatmaps:
            raise ValueError("decode and places: layers in scans are what the head reads off; they are for points")
        return LayerPredictor(model, finding.device, flip_test=finding.flip_test, compile=finding.compile)
    return Predictor(
        model,
        finding.device,
        finding.batch_size,
        flip_test=finding.flip_test,
        compile=finding.compile,
        reading=reading,
    )


def made_with(run: str | Path, finding: Finding, device: torch.device) -> dict[str, Any]:
    """What predictions depend on, by name, as far as it is not the pictures."""
    found = hashlib.sha256()
    folder = model_folder(run)
    for path in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        if path.is_file():
            found.update(path.name.encode() + path.read_bytes())
    return {
        "model": found.hexdigest()[:16],
        "punctum": __version__,
        "torch": torch.__version__,
        "device": device.type,
        "batch size": finding.batch_size,
        "flip test": finding.flip_test,
        "compile": finding.compile,
        "decode": None if finding.decision is None else str(finding.decision),
        "places": finding.places,
    }
