"""Sampling-argmax: trained on the error of places drawn from the heatmap, decoded by its mean."""

from collections.abc import Sequence
from typing import Literal, final, get_args

from torch import Tensor

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.heads.decoding import Decoder, read_off
from punctum.heads.schedules import LinearAnneal
from punctum.heads.scores import concentration
from punctum.ops.sampling import Basis, Categorical, Gradient, basis_covariance
from punctum.registry import check_choice, check_positive

Estimator = Literal["sample", "grid", "exact", "crps"]


@final
class Sampling(Head):
    """Expected error of a place drawn from the heatmap, instead of the error of the expected place.

        loss = 1/N sum_k |Y_k - t|_1,     Y_k drawn from sum_i p_i f(y - x_i),     p = softmax(beta z)

    f is the density within a cell. The draws are Gumbel-softmax ones (`ops.sample_coords`), whose temperature tau
    falls along a line; they are drawn in training mode only. In evaluation mode the loss is what they estimate,
    in closed form: it has no noise, and does not change with tau.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        basis: density within a cell: constant, falling to zero at the neighbours' centres, or a Gaussian of
            standard deviation one cell.
        estimator: what is minimized: the error of draws; its expectation on the grid of centres (the paper's
            Eq. 4) or over the continuous mixture, exactly; or the CRPS of each axis' marginal.
        num_samples: N, draws for each heatmap.
        categorical: the paper's draws, or its authors' code's: softmax(z + g / tau).
        gradient: of a draw: its own, or the authors' code's, which sees only on which side of it a cell lies.
        tau_start: temperature of the draws at the start of training.
        tau_end: temperature after the part `tau_until`.
        tau_until: part of training over which it falls; 25 of the authors' 140 epochs.
        beta: inverse temperature of the softmax.
        decoder: the coordinate is the heatmap's "mean", or "local", the mean of the cells around its peak, which of
            two candidates takes the higher one. Training is the same.
    Raises:
        ValueError: an option's value is none of its choices, or out of range.
    Source:
        Li et al. 2021, arXiv:2110.08825.
    Example:
        >>> import torch
        >>> head = Sampling(8, 3, (7, 7), basis="uniform")
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "sampling"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        basis: Basis = "triangular",
        estimator: Estimator = "sample",
        num_samples: int = 30,
        categorical: Categorical = "paper",
        gradient: Gradient = "exact",
        tau_start: float = 2.0,
        tau_end: float = 0.5,
        tau_until: float = 0.18,
        beta: float = 1.0,
        decoder: Decoder = "mean",
    ) -> None:
        super().__init__()
        check_choice("decoder", decoder, get_args(Decoder))
        check_choice("basis", basis, get_args(Basis))
        check_choice("estimator", estimator, get_args(Estimator))
        check_choice("categorical", categorical, get_args(Categorical))
        check_choice("gradient", gradient, get_args(Gradient))
        check_positive("beta", beta)
        check_positive("tau_start", tau_start)
        check_positive("tau_end", tau_end)
        check_positive("tau_until", tau_until, zero=True)
        if not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f"num_samples must be a positive integer, got {num_samples!r}")
        if tau_until > 1:
            raise ValueError(f"tau_until is a part of training, so at most 1, got {tau_until}")
        self.basis, self.estimator, self.num_samples = basis, estimator, num_samples
        self.categorical, self.gradient, self.beta, self.decoder = categorical, gradient, beta, decoder
        self.schedule = LinearAnneal(tau_start, tau_end, tau_until)
        self.tau = self.schedule(0.0)
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.conv(features)

    def set_progress(self, fraction: float) -> None:
        """Lower the temperature."""
        self.tau = self.schedule(fraction)

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """The expected L1 distance, "l1", by draws or exactly; or "crps"."""
        if self.estimator == "sample" and self.training:
            return {"l1": self._sampled(output, target.coords)}
        heatmaps = ops.normalize(ops.as_float(output), beta=self.beta)
        if self.estimator == "crps":
            return {"crps": ops.crps_losses(heatmaps, target.coords, self.basis)}
        if self.estimator == "grid":
            return {"l1": ops.grid_l1_losses(heatmaps, target.coords)}
        return {"l1": ops.expected_l1_losses(heatmaps, target.coords, self.basis)}

    def decode(self, output: Tensor) -> Prediction:
        """Mean of the softmax (or around its peak), covariance of the mixture, and `concentration` as score."""
        heatmaps = ops.normalize(ops.as_float(output), beta=self.beta)
        coords = read_off(heatmaps, self.decoder)
        spread = ops.covariance(heatmaps, ops.dsnt(heatmaps))
        spread = spread + basis_covariance(ops.spatial_size(heatmaps), self.basis).to(spread)
        return Prediction(coords, concentration(heatmaps, coords), spread, heatmaps)

    def _sampled(self, logits: Tensor, truth: Tensor) -> Tensor:
        draws = ops.sample_coords(
            logits,
            self.num_samples,
            self.tau,
            self.basis,
            categorical=self.categorical,
            gradient=self.gradient,
            beta=self.beta,
        )
        return ops.l1_losses(draws, truth.unsqueeze(2).expand_as(draws)).mean(-1)
