"""Every public operation with inputs that suit it, for the tests that ask the same of all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from punctum import ops

SIZES = {1: (5,), 2: (3, 4), 3: (2, 3, 4)}
BASES = ("uniform", "triangular", "gaussian")


@dataclass(frozen=True)
class Case:
    """An operation of tensors only, and which kinds of input it takes, in order."""

    name: str
    function: Callable[..., Any]
    kinds: tuple[str, ...]
    dims: int
    differentiable: bool = True

    def inputs(self, batch: int = 2, keypoints: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        generator = torch.Generator().manual_seed(7)
        return [_draw(kind, batch, keypoints, SIZES[self.dims], generator).to(dtype) for kind in self.kinds]

    def __str__(self) -> str:
        return f"{self.name}-{self.dims}d"


def _draw(kind: str, batch: int, keypoints: int, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    dims = len(size)
    if kind == "logits":
        values = normal(batch, keypoints, *size)
        return values + 0.1 * values.sign()  # away from zero, where |z| and relu have a kink
    if kind == "heatmaps":
        return normal(batch, keypoints, *size).flatten(2).softmax(-1).reshape(batch, keypoints, *size)
    if kind == "coords":
        return normal(batch, keypoints, dims) / 2
    if kind == "sigma":
        return 1 + normal(batch, keypoints).abs()
    if kind == "covariance":
        root = normal(batch, keypoints, dims, dims)
        return root @ root.mT
    if kind == "matrix":
        return torch.eye(dims + 1, dtype=torch.float64) + 0.3 * normal(batch, dims + 1, dims + 1)
    if kind == "gumbel":
        return normal(batch, keypoints, 4, *size)
    if kind == "offsets":
        return normal(batch, keypoints, 4, sum(size)) / 5
    return normal(batch, keypoints).abs()  # losses


def _cases(dims: int) -> list[Case]:
    size = SIZES[dims]

    def case(name: str, function: Callable[..., Any], *kinds: str, differentiable: bool = True) -> Case:
        return Case(name, function, kinds, dims, differentiable)

    def noise(gumbel: Tensor, offsets: Tensor) -> ops.Noise:
        return ops.Noise(gumbel, offsets.split(size[::-1], dim=-1))

    drawn, judged = ("logits", "gumbel", "offsets"), ("heatmaps", "coords")

    return [
        case("to_normalized", lambda x: ops.to_normalized(x, size), "coords"),
        case("to_pixels", lambda x: ops.to_pixels(x, size), "coords"),
        case("transform_points", ops.transform_points, "coords", "matrix"),
        case("transform_covariance", ops.transform_covariance, "covariance", "matrix"),
        case("normalize_softmax", lambda z: ops.normalize(z, "softmax", beta=1.7), "logits"),
        case("normalize_abs", lambda z: ops.normalize(z, "abs"), "logits"),
        case("normalize_relu", lambda z: ops.normalize(z, "relu"), "logits"),
        case("normalize_sigmoid", lambda z: ops.normalize(z, "sigmoid"), "logits"),
        case("dsnt", ops.dsnt, "heatmaps"),
        case("soft_argmax", lambda z: ops.soft_argmax(z, beta=1.7), "logits"),
        case("moments", lambda z: ops.moments(z, beta=1.7), "logits"),
        case("marginals", lambda p: tuple(ops.marginals(p)), "heatmaps"),
        case("covariance", ops.covariance, "heatmaps", "coords"),
        case("render_gaussian", lambda m, s: ops.render_gaussian(m, s, size), "coords", "sigma"),
        case(
            "render_gaussian_peak_one",
            lambda m, s: ops.render_gaussian(m, s, size, normalize=False),
            "coords",
            "sigma",
        ),
        case("log_gaussian", lambda m: ops.log_gaussian(m, 1.3, size), "coords"),
        case("kl_losses", lambda p, m: ops.kl_losses(p, m, 1.3), "heatmaps", "coords"),
        case("js_losses", lambda p, m: ops.js_losses(p, m, 1.3), "heatmaps", "coords"),
        case("variance_losses_normalized", lambda p: ops.variance_losses(p, 0.9), "heatmaps"),
        case("variance_losses_pixels", lambda p: ops.variance_losses(p, 0.9, units="pixels"), "heatmaps"),
        case("dsnt_losses", lambda z, t: ops.dsnt_losses(z, t, 1.3, beta=1.7), "logits", "coords"),
        *(
            case(f"dsnt_terms_{r}", lambda z, t, r=r: ops.dsnt_terms(z, t, regularizer=r), "logits", "coords")
            for r in ("variance", "kl", "js", "kl_from_gaussian")
        ),
        case("euclidean_losses", ops.euclidean_losses, "coords", "coords"),
        case("l1_losses", ops.l1_losses, "coords", "coords"),
        case("mse_losses", ops.mse_losses, "coords", "coords"),
        case("average_loss", ops.average_loss, "losses"),
        case("average_loss_masked", lambda x: ops.average_loss(x, x.detach() > 0.5), "losses"),
        case("relaxed_samples", lambda z, g, e: ops.relaxed_samples(z, noise(g, e), 0.7), *drawn),
        case(
            "relaxed_samples_reference",
            lambda z, g, e: ops.relaxed_samples(z, noise(g, e), 0.7, categorical="reference", beta=1.7),
            *drawn,
        ),
        case(
            "relaxed_samples_sign",
            lambda z, g, e: ops.relaxed_samples(z, noise(g, e), 0.7, gradient="sign"),
            *drawn,
            differentiable=False,  # not by its own derivative
        ),
        case("mixture_moments", lambda z: ops.mixture_moments(z, "triangular", beta=1.7), "logits"),
        case("grid_l1_losses", ops.grid_l1_losses, "heatmaps", "coords"),
        *(case(f"expected_l1_losses_{b}", lambda p, t, b=b: ops.expected_l1_losses(p, t, b), *judged) for b in BASES),
        *(case(f"crps_losses_{b}", lambda p, t, b=b: ops.crps_losses(p, t, b), *judged) for b in BASES),
        case("argmax", ops.argmax, "heatmaps", differentiable=False),
        case("quarter_shift", ops.quarter_shift, "heatmaps", differentiable=False),
        case("local_soft_argmax", lambda z: ops.local_soft_argmax(z, 1, beta=1.7), "logits"),
        case("local_soft_argmax_sigma", lambda z: ops.local_soft_argmax(z, 2, 1.7, sigma=1.3), "logits"),
        case("peak_covariance", lambda p: ops.peak_covariance(p, sigma=0.3), "heatmaps"),
        case("peak_covariance_coords", lambda p: ops.peak_covariance(p, 0.3, ops.argmax(p) + 0.05), "heatmaps"),
        case("dark", lambda p: ops.dark(p, sigma=1.0), "heatmaps", differentiable=False),
        case("debias", lambda z: ops.debias(z, 1.7, background=-2.5), "logits"),
        case("debias_median", lambda z: ops.debias(z, 0.7, "median"), "logits"),
        case("multilinear_weights", lambda x: ops.multilinear_weights(x, size), "coords"),
        case("multilinear_weights_smeared", lambda x: ops.multilinear_weights(x, size, smear=0.7), "coords"),
        case("expected_oks", ops.expected_oks, "heatmaps", "sigma"),
    ]


CASES = [case for dims in SIZES for case in _cases(dims)]


def flat(result: Any) -> list[Tensor]:
    """An operation's outputs as a list."""
    return list(result) if isinstance(result, tuple) else [result]
