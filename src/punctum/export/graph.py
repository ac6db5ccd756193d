"""What is exported: everything from a crop's pixels to coordinates, as one module of plain operations."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from punctum.backbones.base import Backbone
from punctum.export.trust import TrustGraph
from punctum.model import KeypointModel
from punctum.ops import kernels, transform_covariance, transform_points


class Graph(nn.Module):
    """Crops to points in pixels: normalization, network, decoding, and the calibration where there is one.

    Args:
        model: as it predicts, fused.
        trust: the calibrated part, or None.
    """

    def __init__(self, model: KeypointModel, trust: TrustGraph | None = None) -> None:
        super().__init__()
        self.model, self.trust = model, trust

    def named_outputs(self, image: Tensor, to_image: Tensor, length: Tensor | None = None) -> dict[str, Tensor]:
        """What the graph says, by name.

        Args:
            image: (B, 3, H, W) RGB, in [0, 1], or uint8.
            to_image: (B, 3, 3), from normalized crop coordinates to original pixels.
            length: (B,) what the score's distance is counted in, in original pixels; NaN where it is not known. Of a
                calibrated model only.
        """
        crops = image.float() / 255 if image.dtype == torch.uint8 else image
        prediction = self.model.decode(self.model(crops))
        found = {"keypoints": transform_points(prediction.coords, to_image), "score": prediction.score}
        if prediction.covariance is not None:
            found["covariance"] = transform_covariance(prediction.covariance, to_image)
        if prediction.present is not None:
            found["present"] = prediction.present
        if self.trust is not None and length is not None:
            found |= self.trust(prediction, to_image, length)
        return {name: value if value.dtype == torch.bool else value.float() for name, value in found.items()}

    def forward(self, image: Tensor, to_image: Tensor, length: Tensor | None = None) -> tuple[Tensor, ...]:
        """`named_outputs`, in their order."""
        return tuple(self.named_outputs(image, to_image, length).values())


class InHalf(nn.Module):
    """A backbone that computes in float16, between float32 on both sides: sums over heatmaps need the digits."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.in_channels = backbone.half(), backbone.in_channels

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """The backbone's features, as float32."""
        # What stacked networks feed back comes from heads, which are float32.
        maps = [lambda features, head=head: head(features.float()).half() for head in feedback]
        return [features.float() for features in self.backbone(images.half(), maps)]


@dataclass(frozen=True, eq=False)
class Exported:
    """A graph as torch has recorded it.

    Args:
        program: what torch.export made.
        inputs, outputs: names, in order.
        any_size: whether crops may have another size than the one that the network learned on.
    """

    program: torch.export.ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    any_size: bool


def graph_of(model: KeypointModel, trust: TrustGraph | None, *, half: bool = False) -> Graph:
    """The module to export, of a model that stays as it is."""
    fused = model.fuse().eval()
    if half:
        fused = copy.copy(fused)
        fused._modules = {**fused._modules, "backbone": InHalf(fused.backbone)}
    return Graph(fused, trust).eval().requires_grad_(False)


def record(graph: Graph, input_size: tuple[int, ...], *, uint8: bool = False) -> Exported:
    """Record the graph with torch.export: the batch is free, and height and width are where the network lets them be.

    Args:
        graph: the module.
        input_size: (H, W) of the crops that the network learned on.
        uint8: crops are bytes.
    Raises:
        ValueError: torch cannot record it.
    """
    image = torch.rand(2, 3, *input_size, generator=torch.Generator().manual_seed(0))
    image = (255 * image).to(torch.uint8) if uint8 else image
    to_image = torch.eye(3).repeat(2, 1, 1)
    given = (image, to_image) if graph.trust is None else (image, to_image, torch.ones(2))
    inputs = ("image", "to_image", "length")[: len(given)]
    batch, any_size = torch.export.Dim("batch"), takes_other_sizes(graph.model, input_size)
    auto = torch.export.Dim.AUTO
    sides = {2: auto, 3: auto} if any_size else {}
    shapes = ({0: batch, **sides}, {0: batch}, *({0: batch} for _ in given[2:]))
    with kernels.use("plain"), torch.no_grad():
        outputs = tuple(graph.named_outputs(*given))
        try:
            program = torch.export.export(graph, given, dynamic_shapes=shapes)
        except Exception as error:  # torch raises errors of many classes, also its own internal ones.
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"torch.export cannot record this model: {reason}") from error
    node = next(node for node in program.graph.nodes if node.name == "image")
    free = any_size and all(not isinstance(side, int) for side in node.meta["val"].shape[2:])
    return Exported(program, inputs, outputs, free)


@torch.no_grad()
def takes_other_sizes(model: KeypointModel, input_size: tuple[int, ...]) -> bool:
    """Whether the network computes at another size than its own: it is tried.

    Heads that hold one weight for each place, and many transformers, do not.
    """
    other = tuple(2 * n for n in input_size)
    try:
        model(torch.zeros(1, 3, *other))
    except (ValueError, RuntimeError, AssertionError):
        return False
    return True
