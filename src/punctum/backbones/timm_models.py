"""Any network of timm's, as an extra: hundreds of them, with their pretrained weights."""

import copy
import difflib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, final, get_args

import torch
from torch import Tensor, nn

from punctum.backbones.base import Backbone
from punctum.backbones.deconv import DeconvNeck
from punctum.backbones.resnet import Neck
from punctum.backbones.weights import find_weights
from punctum.registry import check_choice

OWN_WEIGHTS = "timm"


@final
class TimmModel(Backbone):
    """A network of the package timm up to one of its feature maps: `pip install 'punctum[timm]'`.

    Networks that compute at one image size alone, as many transformers do, take that size only.

    Args:
        model: timm's name of it, with or without the tag of its weights: "convnext_tiny", "resnet50.a1_in1k".
        output_stride: input pixels per feature cell, traded for dilation where timm can; None: the network's own.
        stage: which of its feature maps, 0 the finest, -1 the last.
        weights: None starts at random; "timm" takes the network's own pretrained weights, which timm fetches; else
            a local .safetensors file, or a Hugging Face hub id, with the parameter names of timm's classifier.
        neck: "deconv" puts SimpleBaseline's three transposed convolutions behind, for features 8 times finer.
    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such network, or the network has no such stage, stride or weights.
        OSError: the weights cannot be read or fetched.
    Source:
        Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
    """

    name = "timm"
    num_stages = 1

    def __init__(
        self,
        *,
        model: str = "convnext_tiny",
        output_stride: int | None = None,
        stage: int = -1,
        weights: str | None = None,
        neck: Neck = "none",
    ) -> None:
        super().__init__()
        check_choice("neck", neck, get_args(Neck))
        self.model = model
        self.net = _create(_timm(), model, output_stride, stage, weights)
        (self.channels,) = self.net.feature_info.channels()
        self.neck: DeconvNeck | None = None
        if neck == "deconv":
            self.neck = DeconvNeck(self.channels)
            self.channels = 256

    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """What the network makes of this size: it runs on the meta device, without computing.

        Raises:
            ValueError: the size is not two positive integers, or the network does not take it.
        """
        if len(input_size) != 2 or min(input_size) < 1:
            raise ValueError(f"timm's networks take images of size (H, W), got {tuple(input_size)}")
        shapes = copy.deepcopy(self).to("meta").eval()
        try:
            (features,) = shapes(torch.zeros(1, self.in_channels, *input_size, device="meta"))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"{self.model} does not take images of {tuple(input_size)}: {error}") from error
        return tuple(features.shape[2:])

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """One feature map (B, channels, *feature_size)."""
        (x,) = self.net(images)
        if getattr(self.net, "output_fmt", None) == "NHWC":
            x = x.permute(0, 3, 1, 2)
        return [x if self.neck is None else self.neck(x)]


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"backbone 'timm' needs the package timm: pip install 'punctum[timm]' ({error})") from error
    return timm


def _create(timm: ModuleType, model: str, output_stride: int | None, stage: int, weights: str | None) -> Any:
    """The network, with errors in our words."""
    if not timm.is_model(model):
        close = difflib.get_close_matches(model.split(".")[0], timm.list_models(), n=3)
        hint = f": did you mean {', '.join(close)}?" if close else "; timm.list_models() lists them"
        raise ValueError(f"timm has no network {model!r}{hint}")
    options: dict[str, Any] = {} if output_stride is None else {"output_stride": output_stride}
    if weights is not None:
        options["pretrained"] = True
        if weights != OWN_WEIGHTS:
            options["pretrained_cfg_overlay"] = {"file": str(find_weights(weights))}
    try:
        net: nn.Module = timm.create_model(model, features_only=True, out_indices=(stage,), **options)
    except (AssertionError, AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"timm cannot make {model} with output_stride {output_stride}, stage {stage}, weights {weights}: {error}"
        ) from error
    return net
