"""ResNet without its classifier, at a stride of one's choice."""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, final, get_args

from torch import Tensor, nn

from punctum.backbones.base import Backbone, check_width, scaled
from punctum.backbones.deconv import DeconvNeck
from punctum.backbones.lift import Lift
from punctum.backbones.weights import load_weights
from punctum.registry import check_choice

OutputStride = Literal[32, 16, 8, 4]
Neck = Literal["none", "deconv"]


class Block(nn.Module, abc.ABC):
    """A residual block: relu(residual(x) + shortcut(x)).

    Args:
        in_channels: of x.
        planes: the block's width; it returns planes * expansion channels.
        stride: of the block.
        before: dilation on the input side of the stride.
        after: dilation behind it; differs from `before` where a stride was traded for dilation.
    """

    expansion: ClassVar[int]

    def __init__(self, in_channels: int, planes: int, stride: int, before: int, after: int) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.make_layers(in_channels, planes, stride, before, after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    @abc.abstractmethod
    def make_layers(self, in_channels: int, planes: int, stride: int, before: int, after: int) -> None:
        """Set the convolutions of `residual`."""

    @abc.abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """The branch that is added."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, planes * expansion, ceil(H / stride), ceil(W / stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + shortcut)


def _conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, out_channels, kernel_size=3, stride=stride, padding=dilation, dilation=dilation, bias=False
    )


@final
class BasicBlock(Block):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def make_layers(self, in_channels: int, planes: int, stride: int, before: int, after: int) -> None:
        """The first convolution has the stride."""
        self.conv1 = _conv3x3(in_channels, planes, stride, before)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, 1, after)
        self.bn2 = nn.BatchNorm2d(planes)

    def residual(self, x: Tensor) -> Tensor:
        """bn(conv(relu(bn(conv(x)))))."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


@final
class Bottleneck(Block):
    """A 1 x 1, a 3 x 3 and a 1 x 1 convolution."""

    expansion = 4

    def make_layers(self, in_channels: int, planes: int, stride: int, before: int, after: int) -> None:
        """The 3 x 3 convolution has the stride, as in torchvision's weights."""
        self.conv1 = nn.Conv2d(in_channels, planes, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, stride, before)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)

    def residual(self, x: Tensor) -> Tensor:
        """Narrow, look around, widen."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResNet(Backbone):
    """Residual network up to its last features, of a stride of one's choice.

    For a stride below 32, the last stages trade their stride for dilation (2, 4, 8) in all convolutions behind
    it: the same weights compute the same function, at more places. Images whose sides are multiples of
    `output_stride` suit it: on others the last cells look past the edge, so cells and places differ in scale.

    Args:
        output_stride: input pixels per feature cell, before the neck: 32, 16, 8 or 4. None: 8, which gives 28 cells
            at 224 px, the paper's best trade-off; 32 where a neck follows.
        width: multiplier of all channels; 1 is the published network.
        weights: pretrained weights: a local .safetensors file, or a Hugging Face hub id, "user/repo" or
            "user/repo/file.safetensors", in torchvision's names; None starts at random.
        neck: "deconv" puts SimpleBaseline's three transposed convolutions behind, for features 8 times finer.
        depth: layers of a volume that a last convolution makes of the features, so that a head finds (x, y, z)
            in a picture, with as many channels as there are keypoints; None: no third axis.
    Raises:
        ValueError: an option's value is none of its choices or out of range; the weights do not fit.
        OSError: the weights cannot be read or fetched.
    Source:
        He et al. 2016, arXiv:1512.03385; Yu and Koltun 2016, arXiv:1511.07122, for the dilation; Nibali et al.
        2018, Section 6.1, for its use here.
    """

    num_stages = 1

    def __init__(
        self,
        *,
        output_stride: OutputStride | None = None,
        width: float = 1.0,
        weights: str | None = None,
        neck: Neck = "none",
        depth: int | None = None,
    ) -> None:
        super().__init__()
        if depth is not None and (not isinstance(depth, int) or depth < 1):
            raise ValueError(f"depth must be a positive whole number or None, got {depth!r}")
        if output_stride is None:
            output_stride = 8 if neck == "none" else 32
        check_choice("output_stride", output_stride, get_args(OutputStride))
        check_choice("neck", neck, get_args(Neck))
        check_width(width)
        self.output_stride = output_stride
        self.channels = scaled(64, width)
        self.conv1 = nn.Conv2d(3, self.channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = self._make_stages(width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if weights is not None:
            load_weights(self, weights)
        self.neck: DeconvNeck | None = None
        if neck == "deconv":
            self.neck = DeconvNeck(self.channels, scaled(256, width))
            self.channels = scaled(256, width)
        self.depth = depth
        self.lift: Lift | None = None

    @property
    @abc.abstractmethod
    def plan(self) -> tuple[type[Block], tuple[int, int, int, int]]:
        """The kind of block, and how many of them each stage has."""

    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """ceil(n / output_stride) per axis, times 8 with the deconvolution neck; `depth` comes first.

        Raises:
            ValueError: the size is not two positive integers.
        Example:
            >>> ResNet18(output_stride=32, width=0.125).feature_size((224, 225))
            (7, 8)
        """
        if len(input_size) != 2 or min(input_size) < 1:
            raise ValueError(f"a ResNet takes images of size (H, W), got {tuple(input_size)}")
        # Every layer of stride 2 turns n into ceil(n / 2), and such ceilings nest.
        scale = 1 if self.neck is None else self.neck.scale
        size = tuple(-(-n // self.output_stride) * scale for n in input_size)
        return size if self.depth is None else (self.depth, *size)

    def connect(self, num_keypoints: int) -> None:
        """Make the convolution that lifts features to a volume per keypoint, where there is a `depth`."""
        if self.depth is not None:
            self.lift = Lift(self.channels, num_keypoints, self.depth)
            self.channels = num_keypoints

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """One feature map (B, channels, *feature_size).

        Raises:
            ValueError: there is a `depth`, and `connect` was not called.
        """
        if self.depth is not None and self.lift is None:
            raise ValueError("a ResNet with depth has a volume per keypoint: call connect(num_keypoints) once")
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        if self.neck is not None:
            x = self.neck(x)
        return [x if self.lift is None else self.lift(x)]

    def _make_stages(self, width: float) -> list[nn.Sequential]:
        block, depths = self.plan
        stages, reached, dilation = [], 4, 1
        for i, depth in enumerate(depths):
            stride, before = 1, dilation
            if i > 0 and reached < self.output_stride:
                stride, reached = 2, reached * 2
            elif i > 0:
                dilation *= 2
            planes = scaled(64 * 2**i, width)
            blocks = []
            for _ in range(depth):
                blocks.append(block(self.channels, planes, stride, before, dilation))
                self.channels, stride, before = planes * block.expansion, 1, dilation
            stages.append(nn.Sequential(*blocks))
        return stages


@final
class ResNet18(ResNet):
    """ResNet-18; its options are those of `ResNet`."""

    name = "resnet18"
    plan = BasicBlock, (2, 2, 2, 2)


@final
class ResNet34(ResNet):
    """ResNet-34; its options are those of `ResNet`."""

    name = "resnet34"
    plan = BasicBlock, (3, 4, 6, 3)


@final
class ResNet50(ResNet):
    """ResNet-50; its options are those of `ResNet`."""

    name = "resnet50"
    plan = Bottleneck, (3, 4, 6, 3)


@final
class ResNet101(ResNet):
    """ResNet-101; its options are those of `ResNet`."""

    name = "resnet101"
    plan = Bottleneck, (3, 4, 23, 3)
