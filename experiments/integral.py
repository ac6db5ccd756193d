"""Integral regression against detection, by difficulty, with KL priors (Gu et al. 2022, Table 1 and Figure 4b)

    python experiments/integral.py --data ../shared/data --out runs/experiments

Difficulty is an instance's mean error under the same trainings of the other seeds: the easiest, the middle and the
hardest third. The paper's own measure, the number of labelled joints, tells nothing here: nearly everybody in lspet
has 12 to 14 of 14, and the fewer are no harder. A(2) is the share of a map within two cells of the truth. The last
columns tell how fast each learns: the median error on validation images after the first epochs.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from common import PCKH, PCKH_FINE, TRUST, Experiment, Options, parser, run
from punctum.data import read
from punctum.diagnostics.activation import activation_sum
from punctum.diagnostics.measured import as_distribution
from punctum.diagnostics.places import true_places
from punctum.evaluation import Evaluation
from punctum.predict import load

DETECTION: Options = {"head": "heatmap", "head.decoder": "quarter"}
INTEGRAL: Options = {"head": "integral", "head.prior": "none"}
# On the small scale's 12 x 12 maps 0.5 is what the paper's best sigma, 2, is on 64 x 48.
SIGMAS, FULL_SIGMAS = (0.5, 2), (0.5, 1, 2, 3, 4)


LEVELS = ("easy", "medium", "hard")


def levels(folder: Path) -> dict[str, np.ndarray]:
    """The test instances of each level: thirds by their error under this data set's trainings of other seeds."""
    files = folder.parent.parent.glob("*/seed*/test/evaluation.npz")
    seen = [Evaluation.load(path.parent) for path in sorted(files) if path.parent.parent.name != folder.name]
    if not seen:
        raise ValueError("an instance's difficulty is its error under other seeds: --seeds must be 2 or more")
    relative = np.stack([e.errors / e.lengths[:, None] for e in seen])
    known = np.flatnonzero(np.isfinite(relative).any((0, 2)))
    order = np.argsort(np.nanmean(relative[:, known], axis=(0, 2)), kind="stable")
    thirds = np.array_split(known[order], 3)
    return dict(zip(LEVELS, thirds, strict=True))


def by_level(folder: Path) -> dict[str, float]:
    """PCKh@0.5 in %, of the instances of each level."""
    seen = Evaluation.load(folder / "test")
    relative = seen.errors / seen.lengths[:, None]
    return {f"{level} PCKh@0.5 %": 100 * share_within(relative[rows], 0.5) for level, rows in levels(folder).items()}


def share_within(errors: np.ndarray, threshold: float) -> float:
    """Of the errors that there are, the share up to the threshold."""
    known = errors[np.isfinite(errors)]
    return float((known <= threshold).mean())


def by_epoch(folder: Path) -> dict[str, float]:
    """The validation images' median error in px after the first, the second and the last epoch."""
    with (folder / "run" / "logs" / "metrics.csv").open(newline="") as file:
        errors = [float(row["val_epe_px_median"]) for row in csv.DictReader(file)]
    return {"px, epoch 1": errors[0], "px, epoch 2": errors[min(1, len(errors) - 1)], "px, last epoch": errors[-1]}


def activation_sums(folder: Path) -> dict[str, float]:
    """A(2) of the test images' heatmaps, over the points of each level; maps are made to sum to one."""
    cell = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    predictor, test = load(folder / "run"), read(cell["test"])
    sums, start = [], 0
    for _, prediction, to_image in predictor.heatmaps(test):
        rows = slice(start, start + len(to_image))
        start = rows.stop
        coords, countable = true_places(test, rows, to_image, predictor.crop.input_size)
        values = activation_sum(as_distribution(prediction.heatmap)[0], coords, s=2)
        sums.append(torch.where(countable, values, torch.nan).nanmean(1))
    found = torch.cat(sums).numpy()
    return {f"A(2), {level}": float(np.nanmean(found[rows])) for level, rows in levels(folder).items()}


def inside(folder: Path) -> Mapping[str, float]:
    """What metrics.json does not hold."""
    return {**by_level(folder), **activation_sums(folder), **by_epoch(folder)}


def main() -> None:
    """Table 1."""
    given = parser(__doc__).parse_args()
    priors = {
        f"integral + KL, sigma {sigma:g}": {**INTEGRAL, "head.prior": "kl", "head.sigma": sigma}
        for sigma in (FULL_SIGMAS if given.full else SIGMAS)
    }
    run(
        Experiment(
            name="integral",
            claim="integral regression is better on hard, detection on easy instances; a KL prior mends both",
            data="lspet",
            variants={"detection": DETECTION, "integral": INTEGRAL, **priors},
            figures=[PCKH, PCKH_FINE, TRUST],
            extra=inside,
            pairs=[("integral", "detection"), *((name, "integral") for name in priors)],
        ),
        given,
    )


if __name__ == "__main__":
    main()
