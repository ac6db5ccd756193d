"""A model that looks at boxes, never trained: what it finds is as good as any, and the same everywhere."""

from pathlib import Path

import torch

from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema


def save_model(folder: Path, seed: int) -> Path:
    """A run folder with a model in it."""
    torch.manual_seed(seed)
    backbone = {"name": "resnet18", "width": 0.0625}
    crop = {"region": "box"}
    config = ModelConfig(Schema(("nose", "tail")), (32, 32), backbone, {"name": "dsnt"}, crop)
    KeypointModel(config).save(folder / "model")
    return folder
