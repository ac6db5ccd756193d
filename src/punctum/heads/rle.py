"""RLE: coordinates and their scales by regression, trained by a likelihood whose shape is learned too."""

import math
from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.heads.flows import Base, RealNVP, base_log_prob, base_nodes
from punctum.registry import check_choice

Pooling = Literal["softmax", "average"]

# Nodes over which expectations are taken, and the smallest scale, in normalized units: 0.01 px at 224.
_NODES, _SMALLEST = 512, 1e-4

# Width of the score's closeness, in feature cells: that of head dsnt.
_CLOSE = 2.0


@final
class RLE(Head):
    """Regression by residual log-likelihood: where, how sure, and one learned shape of the errors for all.

        -log P = log sigma - log Q(e) - log G(e) + log Z,     e = (t - mu) / sigma,     Z = E_Q[G]

    Q is a fixed density, the Laplace's; G, a small real NVP shared by all points, learns what is left. Both are
    densities, their product is none: Z makes it one. It is an average over fixed quasi-random nodes; the paper
    leaves it out, and then sigma is a weight and not a scale.

        mu_k = sum_i p_ki x_i + A_k f_k,     sigma_k = sigmoid(B_k f_k),     f_k = normed(sum_i p_ki features_i)

    p_k is a softmax map (pooling "softmax"), which finds the point, and A f an offset in cells; or p = 1 / cells
    ("average"): then mu = A f, as published. An average forgets where things are, so a backbone must have written
    it into its channels, as pretrained ones at stride 32 do; from scratch at stride 8 take softmax.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        pooling: how features are averaged over places: under a softmax map per keypoint, or evenly.
        residual: True is the formula above; False lets the flow alone be the density, over the base.
        base: Q, or the flow's base where there is no residual.
        layers: coupling layers of the flow.
        width: hidden width of the flow.
    Raises:
        ValueError: an option's value is none of its choices, or out of range.
    Source:
        Li et al. 2021, arXiv:2107.11291.
    Example:
        >>> head = RLE(8, 3, (7, 7))
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).covariance.shape
        torch.Size([2, 3, 2, 2])
    """

    name = "rle"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        pooling: Pooling = "softmax",
        residual: bool = True,
        base: Base = "laplace",
        layers: int = 6,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_choice("pooling", pooling, get_args(Pooling))
        check_choice("base", base, get_args(Base))
        for option, value in (("layers", layers), ("width", width)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{option} must be an integer of at least 1, got {value!r}")
        self.size, self.num_keypoints, self.pooling = tuple(size), num_keypoints, pooling
        self.residual, self.base = residual, base
        dims = len(self.size)
        self.conv = conv1x1(in_channels, num_keypoints, dims, bias=False) if pooling == "softmax" else None
        self.weight = nn.Parameter(torch.randn(num_keypoints, 2 * dims, in_channels))
        self.bias = nn.Parameter(torch.zeros(num_keypoints, 2 * dims))
        self.flow = RealNVP(dims, layers=layers, width=width)
        self.nodes: Tensor
        self.register_buffer("nodes", base_nodes(_NODES, dims, base), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """mu and sigma, each (B, K, D), normalized; at least float32."""
        values = ops.as_float(features)
        with torch.autocast(features.device.type, enabled=False):
            if self.conv is None:
                pooled = values.flatten(2).mean(-1)[:, None].expand(-1, self.num_keypoints, -1)
                start, unit = torch.zeros_like(pooled[..., :1]), torch.ones_like(_cell(self.size, values))
            else:
                heatmaps = ops.normalize(self.conv(values.to(self.conv.weight.dtype)))
                pooled = heatmaps.flatten(2).to(values.dtype) @ values.flatten(2).mT
                start, unit = ops.dsnt(heatmaps), _cell(ops.spatial_size(values), values)
            pooled = nn.functional.layer_norm(pooled, pooled.shape[-1:]).to(self.weight.dtype)
            both = (self.weight * pooled[:, :, None]).mean(-1) + self.bias
            offset, scale = ops.as_float(both).chunk(2, dim=-1)
            return start + unit * offset, _SMALLEST + (1 - _SMALLEST) * scale.sigmoid()

    def losses(self, output: tuple[Tensor, Tensor], target: Target) -> dict[str, Tensor]:
        """The negative log-likelihood in nats, "nll"; below zero where the density is above one."""
        mean, scale = (ops.as_float(value) for value in output)
        # The flow in bfloat16 would be no density.
        with torch.autocast(mean.device.type, enabled=False):
            log_prob = self.log_prob((target.coords.to(mean.dtype) - mean) / scale)
        return {"nll": scale.log().sum(-1) - log_prob}

    def log_prob(self, errors: Tensor) -> Tensor:
        """Log-density of errors in units of sigma, (..., D) to (...)."""
        if not self.residual:
            return self.flow.log_prob(errors, self.base)
        # E_Q[G] as a mean over nodes that are spread as Q is.
        log_z = self.flow.log_prob(self.nodes).logsumexp(0) - math.log(_NODES)
        return base_log_prob(errors, self.base) + self.flow.log_prob(errors) - log_z

    def decode(self, output: tuple[Tensor, Tensor]) -> Prediction:
        """Mean and covariance of the learned density, and the closeness that a Gaussian of these variances has.

            score = prod_a (1 + v_a / 2^2)^(-1/2) = E exp(-|e|^2 / (2 * 2^2)),     e_a ~ N(0, v_a), in feature cells

        One for no spread at all. It falls with sigma, as the paper's 1 - mean sigma does, but not only at its end.
        """
        mean, scale = (ops.as_float(value) for value in output)
        with torch.autocast(mean.device.type, enabled=False):
            first, second = self.moments()
        coords = mean + scale * first
        covariance = scale[..., :, None] * scale[..., None, :] * second
        # Of the diagonal alone: a flow's correlation of the axes is no reason for more trust.
        variance = covariance.diagonal(dim1=-2, dim2=-1) / _cell(self.size, scale) ** 2
        return Prediction(coords, (1 + variance / _CLOSE**2).rsqrt().prod(-1), covariance)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of the learned errors, in units of sigma."""
        if self.residual:
            points, weights = self.nodes, self.flow.log_prob(self.nodes).softmax(0)
        else:
            points, weights = self.flow.inverse(self.nodes), torch.full_like(self.nodes[:, 0], 1 / _NODES)
        mean = (weights[:, None] * points).sum(0)
        centred = points - mean
        return mean, (weights[:, None, None] * centred[:, :, None] * centred[:, None, :]).sum(0)


def _cell(size: Sequence[int], like: Tensor) -> Tensor:
    """Width of a feature cell along each axis, (D,), normalized."""
    return 2 / torch.tensor(size[::-1], dtype=like.dtype, device=like.device)
