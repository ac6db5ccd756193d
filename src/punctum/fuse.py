"""Batch normalization folded into the convolution in front of it: the same function with fewer passes over memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Exactly these: a subclass may do more than normalize, as timm's, which has the activation in it.
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def fold_batch_norms(model: nn.Module, run: Callable[[], Any]) -> tuple[str, ...]:
    """Fold every batch normalization that can be into its convolution, in place; in evaluation mode.

        gamma (w * x + b - m) / s + beta  =  (gamma w / s) * x + (gamma (b - m) / s + beta),     s = sqrt(v + eps)

    Which convolution stands in front of which normalization is seen in one run, not read from names: a pair is folded
    where the normalization's input is what the convolution returned, each of them was called once, and nobody else
    used what lies between.

    Args:
        model: whose modules are replaced: a normalization by nothing, its convolution by one with a bias.
        run: calls the model once.
    Returns:
        The names of the normalizations that are gone.
    Raises:
        ValueError: the model is in training mode, where the statistics are those of the batch.
    Source:
        Jacob et al. 2018, arXiv:1712.05877, Section 3.2, Eq. 14.
    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> fold_batch_norms(model, lambda: model(torch.zeros(1, 3, 2, 2)))
        ('1',)
    """
    if any(module.training for module in model.modules()):
        raise ValueError("fuse: the model is in training mode, where batch statistics change: call eval() first")
    names = {module: name for name, module in model.named_modules()}
    folded = []
    for convolution, normalization in _pairs(names, run):
        if not _can_fold(convolution, normalization):
            continue
        _replace(model, names[convolution], _fused(convolution, normalization))
        _replace(model, names[normalization], nn.Identity())
        folded.append(names[normalization])
    return tuple(folded)


def batch_norms(model: nn.Module) -> int:
    """How many batch normalizations there are, of any kind.

    Example:
        >>> batch_norms(nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))
        1
    """
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


class _Uses(TorchFunctionMode):
    """Counts how often each tensor is handed to a function that makes tensors; attributes are no use."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: Counter[int] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(result)):
            self.add((args, kwargs))
        return result

    def add(self, values: Any) -> None:
        """Count every tensor in there."""
        self.uses.update(id(tensor) for tensor in _tensors(values))


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _pairs(names: Mapping[nn.Module, str], run: Callable[[], Any]) -> list[tuple[nn.Module, nn.Module]]:
    """Convolutions and the normalizations that alone use what they return."""
    counted = _Uses()
    calls: Counter[nn.Module] = Counter()
    # The tensors are kept until the end, so that no later one gets their id; an earlier one may have had it.
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    found: list[tuple[nn.Module, nn.Module, int]] = []

    def after_convolution(module: nn.Module, _: Any, result: Tensor) -> None:
        calls[module] += 1
        made[id(result)] = module, result
        counted.uses[id(result)] = 0

    def before_normalization(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        if id(given[0]) in made:
            found.append((made[id(given[0])][0], module, id(given[0])))

    handles = [m.register_forward_hook(after_convolution) for m in names if type(m) in CONVOLUTIONS]
    handles += [m.register_forward_pre_hook(before_normalization) for m in names if type(m) in NORMALIZATIONS]
    try:
        with counted:
            answer = run()
        counted.add(answer)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, normalization)
        for convolution, normalization, between in found
        if calls[convolution] == calls[normalization] == counted.uses[between] == 1
    ]


def _can_fold(convolution: nn.Module, normalization: nn.Module) -> bool:
    if not isinstance(normalization, nn.modules.batchnorm._BatchNorm) or normalization.running_mean is None:
        return False
    # A grouped transposed convolution has its outputs on two axes of the weight.
    return not (isinstance(convolution, nn.modules.conv._ConvTransposeNd) and convolution.groups > 1)


def _fused(convolution: Any, normalization: Any) -> nn.Module:
    """In float64, so that what is rounded is the product alone."""
    dtype = convolution.weight.dtype
    transposed = isinstance(convolution, nn.modules.conv._ConvTransposeNd)
    return fuse_conv_bn_eval(convolution.double(), normalization.double(), transpose=transposed).to(dtype)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
