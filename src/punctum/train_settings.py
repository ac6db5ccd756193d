"""A run's settings: read, written, and completed by what its data are."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from punctum import backbones, heads
from punctum.backbones import Backbone
from punctum.data import Annotations
from punctum.data.crop import CropSettings
from punctum.files import write_text
from punctum.registry import options_of
from punctum.settings import TrainSettings
from punctum.yaml_file import read_yaml

# Where data of a kind met the default backbone, and nothing else was chosen.
VOLUME_BACKBONE, LAYERS_BACKBONE = "resnet3d", "columns"
VOLUME_SIZE = (64, 64, 64)


def save_config(settings: TrainSettings, run: Path) -> Path:
    """Write the resolved settings to `config.yaml`; `--config` reads them back."""
    return write_text(run / "config.yaml", yaml.safe_dump(settings.to_dict(), sort_keys=False))


def load_config(run: Path) -> TrainSettings:
    """The settings that a run was started with."""
    path = run / "config.yaml"
    values = read_yaml(path)
    try:
        return TrainSettings.from_dict(values)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error


def resolve(settings: TrainSettings, train_data: Annotations) -> TrainSettings:
    """Settings with every default of the head and backbone written out, and what the data allow: the region, the
    input's axes, and for volumes a backbone of volumes where none was chosen.

    Raises:
        ValueError: the chosen backbone or input size is not for pictures of this kind.
    """
    head = {**_defaults(heads.available(), settings.head), **settings.head}
    backbone = {**_defaults(backbones.available(), settings.backbone), **settings.backbone}
    crop = replace(settings.crop, input_size=_input_size(settings.crop.input_size, train_data.picture_axes))
    backbone = _backbone_for(train_data, backbone)
    if np.isnan(train_data.boxes).any(1).all():
        crop = replace(crop, region="image")
    return replace(settings, head=head, backbone=backbone, crop=crop)


def _input_size(size: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """For volumes a cube instead of a square; instead of the default, one that a computer can hold."""
    if axes == 3 and size == CropSettings().input_size:
        return VOLUME_SIZE
    if axes == 3 and len(set(size)) == 1:
        return (size[0],) * 3
    if len(size) != axes:
        written = "x".join(map(str, size))
        wanted = "volumes need one side, 64, or three, 32x64x64 (D, H, W)" if axes == 3 else "images have two sides"
        raise ValueError(f"input_size {written}: {wanted}")
    return size


def _backbone_for(data: Annotations, backbone: dict[str, Any]) -> dict[str, Any]:
    """The backbone, or the default one of the data's kind where the default one of images met them, nothing else
    chosen."""
    known, axes = backbones.available(), data.picture_axes
    if data.dims == 1:
        default = TrainSettings("", "").backbone
        if backbone == {**_defaults(known, default), **default}:
            return {"name": LAYERS_BACKBONE, **_defaults(known, {"name": LAYERS_BACKBONE})}
    if backbone["name"] not in known:
        return backbone  # Refused where the model is built.
    if known[backbone["name"]].finds_layers != (data.dims == 1):
        finds, are, fitting = ("points", "layers", [LAYERS_BACKBONE])
        if data.dims > 1:
            finds, are, fitting = "layers", "points", _fitting(known, axes)
        raise ValueError(_refusal(backbone["name"], f"finds {finds}", are, fitting))
    if known[backbone["name"]].picture_axes == axes:
        return backbone
    default = TrainSettings("", "").backbone
    if axes == 3 and backbone == {**_defaults(known, default), **default}:
        return {"name": VOLUME_BACKBONE, **_defaults(known, {"name": VOLUME_BACKBONE})}
    theirs, ours = ("images", "volumes") if axes == 3 else ("volumes", "images")
    raise ValueError(_refusal(backbone["name"], f"takes {theirs}", ours, _fitting(known, axes)))


def _fitting(known: Mapping[str, type[Backbone]], axes: int) -> list[str]:
    return [name for name, found in known.items() if found.picture_axes == axes and not found.finds_layers]


def _refusal(name: str, does: str, data: str, fitting: list[str]) -> str:
    others = f", or one of {', '.join(fitting[1:])}" if fitting[1:] else ""
    return f"backbone {name!r} {does}, and the data are {data}: choose --backbone {fitting[0]}{others}"


def _defaults(classes: Mapping[str, type], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options' own defaults; an unknown name has none, and is refused where the model is built."""
    known = options_of(classes[chosen["name"]]) if chosen["name"] in classes else {}
    return {name: parameter.default for name, parameter in known.items()}
