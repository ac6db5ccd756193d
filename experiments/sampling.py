"""Sampling-argmax against soft-argmax: error, and does the peak know? (Li et al. 2021, Tables 1 and 2)

    python experiments/sampling.py --data ../shared/data --out runs/experiments

Soft-argmax is DSNT with the L1 loss; the two ways of shaping its map that the paper compares are the variance
regularizer and a Gaussian, here KL to one at the truth. `--sweep` varies the number of samples and the temperature.
"""

from common import MEDIAN, NME, TRUST, Experiment, Options, parser, run

SOFT: Options = {"head": "dsnt", "head.loss": "l1", "head.regularizer": "none"}
SAMPLING: Options = {"head": "sampling", "head.num_samples": 10}
TABLE = {
    "soft-argmax": SOFT,
    "soft-argmax + variance": {**SOFT, "head.regularizer": "variance"},
    "soft-argmax + Gaussian": {**SOFT, "head.regularizer": "kl"},
    "sampling, uniform": {**SAMPLING, "head.basis": "uniform"},
    "sampling, triangular": {**SAMPLING, "head.basis": "triangular"},
    "sampling, Gaussian": {**SAMPLING, "head.basis": "gaussian"},
}
FULL_TABLE = {
    **TABLE,
    "CRPS": {"head": "sampling", "head.estimator": "crps"},
    "expected error (Eq. 4)": {"head": "sampling", "head.estimator": "grid"},
    "expected error, exact": {"head": "sampling", "head.estimator": "exact"},
}
SWEEP = {
    **{f"{n} samples": {"head": "sampling", "head.num_samples": n} for n in (1, 10, 30)},
    **{f"tau {tau:g}": {**SAMPLING, "head.tau_start": tau, "head.tau_end": tau} for tau in (2, 0.5, 0.1)},
}


def main() -> None:
    """The main table, or the sweep."""
    options = parser(__doc__)
    options.add_argument("--sweep", action="store_true", help="number of samples, and a fixed temperature")
    given = options.parse_args()
    table = FULL_TABLE if given.full else TABLE
    run(
        Experiment(
            name="sampling_sweep" if given.sweep else "sampling",
            claim="sampling-argmax has smaller errors than soft-argmax, and its peaks rank them better",
            data="helen",
            variants=SWEEP if given.sweep else table,
            figures=[NME, MEDIAN, TRUST],
            pairs=[] if given.sweep else [(name, "soft-argmax") for name in table if name != "soft-argmax"],
        ),
        given,
    )


if __name__ == "__main__":
    main()
