"""A backbone with a head on each of its stages, and how that is saved and found again."""

import copy
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

import punctum
from punctum import backbones, heads
from punctum.backbones.weights import load_state, read_safetensors
from punctum.data.limits import LARGEST_INPUT
from punctum.files import write_text, write_through
from punctum.fuse import fold_batch_norms
from punctum.heads import Prediction, Target
from punctum.json_file import read_json
from punctum.one_line import told
from punctum.schema import Schema

FORMAT_VERSION = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"

# Of ImageNet's training images, which every pretrained backbone expects.
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a model again, as plain JSON values.

    Args:
        schema: the keypoints.
        input_size: (H, W) of the images it is trained on; (D, H, W) of volumes.
        backbone: {"name": one of `backbones.available()`, and its options}.
        head: {"name": one of `heads.available()`, and its options}.
        preprocessing: how a picture becomes an input; kept for those who prepare images, opaque to the model.
        mean_coords: (K, D) mean training place of each keypoint, normalized: the constant predictor. None if
            not known.
    Raises:
        ValueError: a name is missing; a value is no plain JSON; sizes do not fit.
    Example:
        >>> config = ModelConfig(Schema(("nose",)), (64, 64), {"name": "resnet18"}, {"name": "dsnt"})
        >>> ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        True
    """

    schema: Schema
    input_size: tuple[int, ...]
    backbone: dict[str, Any]
    head: dict[str, Any]
    preprocessing: dict[str, Any] = field(default_factory=dict)
    mean_coords: list[list[float]] | None = None

    def __post_init__(self) -> None:
        for name in ("backbone", "head", "preprocessing", "mean_coords"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        object.__setattr__(self, "input_size", tuple(self.input_size))
        if not self.input_size or not all(isinstance(n, int) and n > 0 for n in self.input_size):
            raise ValueError(f"input_size must be positive integers (H, W), got {self.input_size}")
        if math.prod(self.input_size) > LARGEST_INPUT:
            raise ValueError(f"input_size {self.input_size} is more than {LARGEST_INPUT:,} pixels")
        for what, part in (("backbone", self.backbone), ("head", self.head)):
            if not isinstance(part, dict) or not isinstance(part.get("name"), str):
                raise ValueError(f'{what} must be {{"name": ..., options}}, got {part!r}')
        k, places = len(self.schema.names), self.mean_coords
        # Of 1, 2 or 3 numbers: a network may look at a picture and find depths, one number per point.
        if places is not None and (len(places) != k or len({len(p) for p in places}) != 1):
            found = f"{len(places)} of {sorted({len(p) for p in places})}"
            raise ValueError(f"mean_coords must be {k} places of as many numbers each, got {found}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rest = {name: getattr(self, name) for name in ("backbone", "head", "preprocessing", "mean_coords")}
        return {"schema": self.schema.to_dict(), "input_size": list(self.input_size), **_plain("config", rest)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """The inverse of `to_dict`, also after a trip through JSON.

        Raises:
            ValueError: an entry is missing, unknown or of the wrong kind.
        """
        known = {"schema", "input_size", "backbone", "head", "preprocessing", "mean_coords"}
        required = known - {"preprocessing", "mean_coords"}
        if required - values.keys() or values.keys() - known:
            raise ValueError(f"a model's config has the entries {sorted(known)}, got {sorted(values)}")
        try:
            return cls(**{**values, "schema": Schema.from_dict(values["schema"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"a model's config is malformed: {told(error)}") from error


def _plain(what: str, value: Any) -> Any:
    """A copy of the value as JSON would give it back: found out now, not after a night's training."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be plain JSON with finite numbers: {error}") from error


class KeypointModel(nn.Module):
    """Images to coordinates: a backbone, and a head on each of its stages.

    `dims` is the number of each point's coordinates: the axes of the features, which may be others than the images'.
    `folded` names the batch normalizations that `fuse` has folded away; empty for a model as it was trained.

    Args:
        config: what to build.
        pretrained: False leaves the backbone's `weights` option unused, as when weights are about to be loaded.
    Raises:
        ValueError: unknown names or options, or weights that do not fit.
        OSError: pretrained weights cannot be read or fetched.
    Example:
        >>> backbone = {"name": "resnet18", "width": 0.125, "output_stride": 8}
        >>> config = ModelConfig(Schema(("nose", "tail")), (32, 48), backbone, {"name": "dsnt"})
        >>> model = KeypointModel(config).eval()
        >>> model.decode(model(torch.rand(1, 3, 32, 48))).coords.shape
        torch.Size([1, 2, 2])
    """

    def __init__(self, config: ModelConfig, *, pretrained: bool = True) -> None:
        super().__init__()
        self.config = config
        self.folded: tuple[str, ...] = ()
        options = config.backbone if pretrained else {k: v for k, v in config.backbone.items() if k != "weights"}
        self.backbone = backbones.build(**options)
        self.backbone.connect(len(config.schema.names))
        size, num_keypoints = self.backbone.feature_size(config.input_size), len(config.schema.names)
        self.dims = len(size)
        if config.mean_coords is not None and len(config.mean_coords[0]) != self.dims:
            found = len(config.mean_coords[0])
            raise ValueError(
                f"the points have {found} coordinates, and the features {self.dims} axes {size}: the backbone's "
                f"options must fit the data{'; choose --backbone columns for layers in scans' if found == 1 else ''}"
            )
        self.heads = nn.ModuleList(
            heads.build(in_channels=self.backbone.channels, num_keypoints=num_keypoints, size=size, **config.head)
            for _ in range(self.backbone.num_stages)
        )
        if self.backbone.num_stages > 1 and type(self._heads()[0]).logits is heads.Head.logits:
            raise ValueError(
                f"backbone {config.backbone['name']!r} feeds each stage's heatmaps back into the next, and head "
                f"{config.head['name']!r} has none: choose a head with heatmaps, or a backbone of one stage"
            )
        shape = (1, -1, *([1] * len(config.input_size)))
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", _per_channel(IMAGE_MEAN, self.backbone.in_channels).reshape(shape))
        self.register_buffer("image_std", _per_channel(IMAGE_STD, self.backbone.in_channels).reshape(shape))

    def forward(self, images: Tensor) -> list[Any]:
        """Each stage's raw output: what `losses` and `decode` take.

        Args:
            images: (B, C, *input_size), in [0, 1], floating; C is the backbone's: 3 for RGB. Another size than
                the config's is fine where the head allows it.
        Raises:
            ValueError: the images have another shape or type.
        """
        channels, dims = self.backbone.in_channels, len(self.config.input_size)
        if images.ndim != 2 + dims or images.shape[1] != channels or not images.is_floating_point():
            size = ", ".join(map(str, self.config.input_size))
            raise ValueError(
                f"images must be floating, {'RGB ' if channels == 3 else ''}in [0, 1], of shape "
                f"(B, {channels}, {size}); got {images.dtype} of shape {tuple(images.shape)}"
            )
        normalized = (images - self.image_mean) / self.image_std
        features = self.backbone(normalized, [head.logits for head in self._heads()])
        return [head(feature) for head, feature in zip(self.heads, features, strict=True)]

    def losses(self, outputs: list[Any], target: Target) -> dict[str, Tensor]:
        """Every loss term by name, each (B, K), summed over the stages."""
        totals: dict[str, Tensor] = {}
        for head, output in zip(self._heads(), outputs, strict=True):
            for term, values in head.losses(output, target).items():
                totals[term] = totals[term] + values if term in totals else values
        return totals

    def counts(self, target: Target) -> Tensor:
        """(B, K) bool: the points whose losses count."""
        return self._heads()[-1].counts(target)

    def decode(self, outputs: list[Any]) -> Prediction:
        """What the last stage says."""
        return self._heads()[-1].decode(outputs[-1])

    def set_progress(self, fraction: float) -> None:
        """Tell every head what part of training is done, in [0, 1]."""
        for head in self._heads():
            head.set_progress(fraction)

    def fuse(self) -> "KeypointModel":
        """A copy that predicts the same, faster: batch normalizations folded into the convolutions before them.

        The copy only predicts: it can be neither trained nor saved. Its `folded` names what is gone; a normalization
        that does not directly follow a convolution stays.

        Raises:
            ValueError: this model is in training mode.
        Example:
            >>> backbone = {"name": "resnet18", "width": 0.125}
            >>> model = KeypointModel(ModelConfig(Schema(("nose",)), (32, 32), backbone, {"name": "dsnt"})).eval()
            >>> len(model.fuse().folded)
            20
        """
        fused = copy.deepcopy(self)
        like = next(self.backbone.parameters())
        # One picture more would change nothing: the order of the modules is looked at, not their numbers.
        picture = torch.zeros(1, self.backbone.in_channels, *self.config.input_size, device=like.device)
        fused.folded += fold_batch_norms(fused, lambda: fused(picture.to(like.dtype)))
        return fused

    def train(self, mode: bool = True) -> "KeypointModel":
        """As `nn.Module.train`.

        Raises:
            ValueError: a fused model was to be trained.
        """
        if mode and self.folded:
            raise ValueError("a fused model has no batch normalization left to train: train the one it was made from")
        return super().train(mode)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write model.safetensors and model.json into a folder, made if need be.

        Each is written under a temporary name and then renamed, so no reader meets half a file.

        Raises:
            ValueError: the model is fused.
        """
        if self.folded:
            raise ValueError("a fused model is not saved: save the one it was made from, and fuse after loading")
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        content = {
            "format_version": FORMAT_VERSION,
            "punctum": punctum.__version__,
            "config": self.config.to_dict(),
        }
        write_through(Path(folder) / WEIGHTS, lambda path: _save_tensors(state, path))
        write_text(Path(folder) / DESCRIPTION, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> "KeypointModel":
        """The model that `save` wrote, ready to predict; nothing is unpickled, and nothing is fetched.

        Raises:
            FileNotFoundError: the folder or one of its two files is missing.
            ValueError: a file is broken, of a newer format, or does not fit the other one.
        """
        folder = Path(folder)
        config = _read_description(folder)
        tensors = read_safetensors(folder / WEIGHTS)
        try:
            model = cls(config, pretrained=False)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise ValueError(f"{folder / DESCRIPTION}: {error}") from error
        load_state(model, tensors, folder / WEIGHTS)
        return model.to(device).eval()

    def _heads(self) -> list[heads.Head]:
        return [head for head in self.heads if isinstance(head, heads.Head)]


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """The values where there are as many channels, else their mean for each: one channel is gray."""
    tensor = torch.tensor(values)
    return tensor if len(values) == channels else tensor.mean().repeat(channels)


def _save_tensors(state: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:  # A full disk, say.
        raise OSError(str(error)) from error


def _read_description(folder: Path) -> ModelConfig:
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            nested = folder / "model" / name
            hint = f"; there is one in {nested.parent}" if nested.is_file() else ""
            raise FileNotFoundError(f"no model in {folder}: {name} is missing{hint}")
    path = folder / DESCRIPTION
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise ValueError(f"{path} does not describe a model: it has no 'config'")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {version!r} (written by punctum {content.get('punctum')}); punctum "
            f"{punctum.__version__} reads {FORMAT_VERSION}: use the punctum that wrote it"
        )
    try:
        return ModelConfig.from_dict(content["config"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
