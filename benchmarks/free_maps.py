"""What a loss makes of a map that is free to be anything, where the truth scatters: error in cells, and arrival.

    python benchmarks/free_maps.py

Each of 64 maps of 32 x 32 cells has a truth of its own; at every step it sees 16 fresh draws about it. "wrong peak"
starts with a sharp peak in a corner instead of a flat map. No network, no image: what is left over is the head's.
"""

from typing import Any

import torch
from torch import Tensor

from punctum import heads, ops
from punctum.heads import Head, Target

HEADS: dict[str, dict[str, Any]] = {
    "oks, log": {"name": "oks", "loss": "log"},
    "oks, expected": {"name": "oks", "loss": "expected"},
    "density": {"name": "density", "absent": False},
}
SIZE, MAPS, DRAWS, STEPS = (32, 32), 64, 16, 600


def fit(head: Head, start: Tensor, scatter: float) -> Tensor:
    """Error of each map in cells, after `STEPS` steps of Adam on the logits themselves."""
    torch.manual_seed(0)
    truth = ops.to_normalized(8 + 16 * torch.rand(1, MAPS, 2), SIZE)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    visible = torch.ones(DRAWS, MAPS, dtype=torch.bool)
    single = isinstance(head(torch.zeros(1, 1, *SIZE)), Tensor)

    def output(batch: Tensor) -> Any:
        return batch if single else (batch,)

    for _ in range(STEPS):
        draws = truth + 2 / SIZE[0] * scatter * torch.randn(DRAWS, MAPS, 2)
        losses = head.losses(output(logits.expand(DRAWS, -1, -1, -1)), Target(draws, visible))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum(0).mean().backward()
        optimizer.step()
    coords = head.decode(output(logits.detach())).coords
    return (ops.to_pixels(coords, SIZE) - ops.to_pixels(truth, SIZE)).norm(dim=-1)[0]


def main() -> None:
    flat = torch.zeros(1, MAPS, *SIZE)
    corner = torch.full((1, MAPS, 2), -0.9)
    peak = 20 * ops.render_gaussian(corner, 1.0, SIZE, normalize=False)
    cases = [("flat", flat, 0.0), ("flat", flat, 0.5), ("flat", flat, 2.0), ("wrong peak", peak, 0.5)]
    print(f"{'start':>10}  {'scatter':>7}  {'head':>13}  {'median':>6}  {'largest':>7}  off by > 2 cells")
    for start, logits, scatter in cases:
        for label, options in HEADS.items():
            error = fit(heads.build(in_channels=1, num_keypoints=MAPS, size=SIZE, **options), logits, scatter)
            away = f"{(error > 2).sum()} of {MAPS}"
            print(f"{start:>10}  {scatter:7}  {label:>13}  {error.median():6.2f}  {error.max():7.2f}  {away}")


if __name__ == "__main__":
    main()
