"""Least losses: the one optimizer of everything that is fitted here."""

from collections.abc import Callable

import torch
from torch import Tensor

SCATTER = 0.3
"""How far the parameters of single keypoints lie from those of all, as a standard deviation of their logarithms (or
logits). A keypoint's own points outweigh it from about ten on."""


def minimize(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int = 100) -> Tensor:
    """Where a smooth loss is least, near a start; the same input gives the same numbers.

    Args:
        loss: from parameters to one number.
        start: of any shape, float64.
        steps: at most, each with a line search.
    Returns:
        The start's shape.
    Source:
        L-BFGS: Liu and Nocedal 1989, Mathematical Programming 45.
    Example:
        >>> minimize(lambda x: (x - 3).square().sum(), torch.zeros(2, dtype=torch.float64))
        tensor([3., 3.], dtype=torch.float64)
    """
    parameters = start.detach().clone().contiguous().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [parameters],
        max_iter=steps,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(parameters)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    return parameters.detach()


def pooled_then_own(losses: Callable[[Tensor], Tensor], start: Tensor, keypoints: int) -> Tensor:
    """Parameters of each keypoint, drawn towards those that serve all of them: where points are few, the latter.

        t_0 = argmin mean_i loss_i(t_0) + r |t_0 - start|^2,     r small, for what no data tell
        t_k = argmin sum_(i of k) loss_i(t_k) + |t_k - t_0|^2 / (2 SCATTER^2)

    Args:
        losses: from parameters (K, P) to the losses of all points (n,), in nats.
        start: (P,) float64.
        keypoints: K.
    Returns:
        (K, P).
    """

    def pooled(t: Tensor) -> Tensor:
        return losses(t.expand(keypoints, -1)).mean() + 1e-3 * (t - start).square().sum()

    common = minimize(pooled, start)

    def own(t: Tensor) -> Tensor:
        values = losses(t)
        # Over their number: steps are of the same size for any amount of data.
        return (values.sum() + (t - common).square().sum() / (2 * SCATTER**2)) / len(values)

    return minimize(own, common.expand(keypoints, -1))
