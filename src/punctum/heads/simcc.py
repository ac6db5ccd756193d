"""SimCC: each axis is cut into fine bins, and a coordinate is the class of its bin."""

import math
from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.registry import check_choice, check_positive

Decoder = Literal["local", "argmax", "mean"]

# Width of the score's closeness, in feature cells: that of head dsnt, so that the two are of one kind.
_CLOSE = 2.0

# The linear layers' inputs are multiplied by this over the root of their number: one learning rate then suits 8 x 8
# cells and 64 x 48. Without it, a step moves every bin by an amount that grows with the map.
_GAIN = 5.0


@final
class SimCC(Head):
    """Coordinates by classification: on each axis a distribution over bins that are finer than pixels.

        p_a = softmax(beta (W_a flatten(z_k) + b_a)),     loss = sum_a KL(G_a || p_a)

    z_k is one map per keypoint from a 1 x 1 convolution, of mean zero and variance one over its cells; W_a a linear
    layer from all of them to the bins of axis a, shared by the keypoints; G_a a Gaussian around the truth,
    normalized over the bins. The loss is the
    cross-entropy less the label's own entropy, so zero is reached. It is tied to one feature size.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features, the only one it takes.
        bins_per_cell: bins per feature cell on each axis. The paper's splitting factor is bins per input pixel, so
            this is stride x factor: 16 at stride 8 is its 2; a feature map of stride 4 wants 8 for the same.
        sigma: standard deviation of the labels, in bins.
        beta: inverse temperature of the softmax.
        decoder: how the coordinate is read off: the bin of the highest probability (argmax, the paper's), the mean
            of all bins, or the mean of those around the highest (local), which is between bins.
    Raises:
        ValueError: an option's value is none of its choices, or out of range.
    Source:
        Li et al. 2022, arXiv:2107.03332, with the Gaussian labels of its SimCC*.
    Example:
        >>> head = SimCC(8, 3, (7, 7))
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "simcc"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        bins_per_cell: int = 16,
        sigma: float = 6.0,
        beta: float = 1.0,
        decoder: Decoder = "local",
    ) -> None:
        super().__init__()
        check_choice("decoder", decoder, get_args(Decoder))
        check_positive("sigma", sigma)
        check_positive("beta", beta)
        if not isinstance(bins_per_cell, int) or bins_per_cell < 1:
            raise ValueError(f"bins_per_cell must be an integer of at least 1, got {bins_per_cell!r}")
        self.size, self.bins_per_cell = tuple(size), bins_per_cell
        self.sigma, self.beta, self.decoder = sigma, beta, decoder
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=True)
        # In the order of coordinates: x first.
        axes = [nn.Linear(math.prod(size), n * bins_per_cell) for n in reversed(self.size)]
        for axis in axes:
            nn.init.normal_(axis.weight, std=0.5 / _GAIN)
        self.axes = nn.ModuleList(axes)
        self.gain = _GAIN / math.sqrt(math.prod(self.size))

    def forward(self, features: Tensor) -> list[Tensor]:
        """The bins' logits, (B, K, bins) per axis, x first; at least float32.

        Raises:
            ValueError: the features have another size than the one it was built for.
        """
        if tuple(features.shape[2:]) != self.size:
            raise ValueError(
                f"head 'simcc' was built for features of size {self.size}, got "
                f"{tuple(features.shape[2:])}: give images of the training size, or use a convolutional head"
            )
        maps = ops.as_float(self.conv(features)).flatten(2)
        # In bfloat16 the logits of neighbouring bins are often equal, and the first of them would be the highest.
        with torch.autocast(features.device.type, enabled=False):
            maps = self.gain * nn.functional.layer_norm(maps, maps.shape[-1:])
            return [ops.as_float(axis(maps.to(self.conv.weight.dtype))) for axis in self.axes]

    def losses(self, output: list[Tensor], target: Target) -> dict[str, Tensor]:
        """The divergence from the Gaussian labels, in nats, summed over axes: "kl"."""
        terms = []
        for axis, logits in enumerate(output):
            truth = target.coords[..., axis : axis + 1]
            log_g = ops.log_gaussian(truth, self.sigma, ops.spatial_size(logits))
            log_p = (self.beta * ops.as_float(logits)).log_softmax(-1)
            terms.append((log_g.exp() * (log_g - log_p)).sum(-1))
        return {"kl": torch.stack(terms).sum(0)}

    def decode(self, output: list[Tensor]) -> Prediction:
        """The coordinate of each axis; the variances of the bins; and the closeness of the bins to the coordinate.

            score = prod_a sum_i p_ai exp(-(i - x_a)^2 / (2 * 2^2)),     i and x_a in feature cells

        One where all mass is at the coordinate, small for flat and two-peaked distributions: head dsnt's score,
        for an x and a y that are independent. The covariance is diagonal for the same reason. The heatmap is their
        product, summed over the bins of each cell.
        """
        marginals = [ops.normalize(ops.as_float(logits), "softmax", self.beta) for logits in output]
        coords = torch.cat([self._coords(logits) for logits in output], dim=-1)
        variances = [ops.covariance(p, ops.dsnt(p))[..., 0] for p in marginals]
        score = torch.ones_like(coords[..., 0])
        for axis, p in enumerate(marginals):
            width = _CLOSE * self.bins_per_cell
            close = ops.render_gaussian(coords[..., axis : axis + 1], width, (p.shape[-1],), normalize=False)
            score = score * (p * close).sum(-1)
        covariance = torch.diag_embed(torch.cat(variances, dim=-1))
        return Prediction(coords, score.clamp(0, 1), covariance, self._heatmap(marginals))

    def _coords(self, logits: Tensor) -> Tensor:
        """One axis, (B, K, 1)."""
        if self.decoder == "argmax":
            return ops.argmax(logits)
        if self.decoder == "mean":
            return ops.soft_argmax(logits, self.beta)
        return ops.local_soft_argmax(self.beta * ops.as_float(logits), math.ceil(2.5 * self.sigma), sigma=self.sigma)

    def _heatmap(self, marginals: list[Tensor]) -> Tensor:
        """The product of the axes' distributions over cells, (B, K, *S)."""
        product: Tensor | None = None
        for p in marginals:
            cells = p.unflatten(-1, (-1, self.bins_per_cell)).sum(-1)
            # x comes first and lies on the last axis; each further one is put before it.
            shape = [*cells.shape, *([1] * (0 if product is None else product.ndim - 2))]
            product = cells if product is None else cells.reshape(shape) * product.unsqueeze(2)
        return marginals[0] if product is None else product
