"""Batch normalization folded into the convolution in front of it: the same function with fewer passes over memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
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
        model: whose modules are changed: a normalization becomes nothing, its convolution has a bias.
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
        _fold(convolution, normalization)
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


@dataclass(eq=False)
class _Made:
    """What a convolution returned, and how often it was used since."""

    by: nn.Module
    uses: int = 0


class _CountUses(TorchFunctionMode):
    """Counts how often what a convolution returned is handed to a function that makes tensors."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # Sizes and types are no use.
        if any(True for _ in _tensors(result)):
            _count((args, kwargs))
        return result


def _count(values: Any) -> None:
    for tensor in _tensors(values):
        if (made := _made(tensor)) is not None:
            made.uses += 1


def _made(tensor: Tensor) -> _Made | None:
    # An attribute of the tensor, which goes when it goes: a list of tensors would keep all of a network's features.
    return tensor.__dict__.get("_punctum_made")


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _pairs(names: Mapping[nn.Module, str], run: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """Convolutions and the normalizations that alone use what they return."""
    calls: Counter[nn.Module] = Counter()
    found: list[tuple[_Made, nn.Module]] = []

    def after_convolution(module: nn.Module, _: Any, result: Tensor) -> None:
        calls[module] += 1
        result.__dict__["_punctum_made"] = _Made(module)

    def before_normalization(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        if (made := _made(given[0])) is not None:
            found.append((made, module))

    handles = [m.register_forward_hook(after_convolution) for m in names if type(m) in CONVOLUTIONS]
    handles += [m.register_forward_pre_hook(before_normalization) for m in names if type(m) in NORMALIZATIONS]
    try:
        with _CountUses():
            answer = run()
        _count(answer)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (made.by, normalization)
        for made, normalization in found
        if calls[made.by] == calls[normalization] == made.uses == 1
    ]


def _can_fold(convolution: Any, normalization: Any) -> bool:
    if normalization.running_mean is None:
        return False
    # A grouped transposed convolution has its outputs on two axes of the weight.
    return not (_is_transposed(convolution) and convolution.groups > 1)


def _is_transposed(convolution: Any) -> bool:
    return isinstance(convolution, nn.modules.conv._ConvTransposeNd)


def _fold(convolution: Any, normalization: Any) -> None:
    """Scale and shift in float64, on the CPU: some devices have none."""

    def wide(tensor: Tensor | None, default: float) -> Tensor:
        return torch.tensor(default, dtype=torch.float64) if tensor is None else tensor.detach().cpu().double()

    scale = wide(normalization.weight, 1.0) / (wide(normalization.running_var, 1.0) + normalization.eps).sqrt()
    mean = wide(normalization.running_mean, 0.0)
    bias = wide(normalization.bias, 0.0) + (wide(convolution.bias, 0.0) - mean) * scale
    weight = convolution.weight
    shape = [1] * weight.ndim
    shape[1 if _is_transposed(convolution) else 0] = -1
    weight.mul_(scale.reshape(shape).to(weight))
    convolution.bias = nn.Parameter(bias.to(weight))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
