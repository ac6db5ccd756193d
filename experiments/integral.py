"""Integral regression against detection, by difficulty, with KL priors (Gu et al. 2022, Table 1 and Figure 4b)

    python experiments/integral.py --data ../shared/data --out runs/experiments

A(2) is the share of a map within two cells of the truth, on easy and hard instances. Difficulty is the number of
labelled joints, as in the paper. The last columns tell how fast each learns: the validation error after the first
third of the epochs, in units of what it ends at.
"""

from common import PCKH, PCKH_FINE, TRUST, Experiment, Figure, Options, parser, run

DETECTION: Options = {"head": "heatmap", "head.decoder": "quarter"}
INTEGRAL: Options = {"head": "integral", "head.prior": "none"}
VARIANTS = {
    "detection": DETECTION,
    "integral": INTEGRAL,
    **{f"integral + KL, sigma {s:g}": {**INTEGRAL, "head.prior": "kl", "head.sigma": s} for s in (0.5, 1, 2, 3)},
}
EASY = Figure("easy PCKh@0.5 %", "by_difficulty easy pck 0.5 value", 100)
MEDIUM = Figure("medium PCKh@0.5 %", "by_difficulty medium pck 0.5 value", 100)
HARD = Figure("hard PCKh@0.5 %", "by_difficulty hard pck 0.5 value", 100)


def main() -> None:
    """Table 1."""
    given = parser(__doc__).parse_args()
    run(
        Experiment(
            name="integral",
            claim="integral regression is better on hard, detection on easy instances; a KL prior mends both",
            data="lspet",
            variants=VARIANTS,
            figures=[PCKH, PCKH_FINE, EASY, MEDIUM, HARD, TRUST],
            pairs=[("integral", "detection"), *((name, "integral") for name in VARIANTS if "KL" in name)],
        ),
        given,
    )


if __name__ == "__main__":
    main()
