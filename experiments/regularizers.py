"""Does a regularizer help DSNT, which, and how sharp and how strong? (Nibali et al. 2018, Table 3 and Figure 6)

python experiments/regularizers.py --data ../shared/data --out runs/experiments
"""

from common import MEDIAN, NME, TRUST, Experiment, Options, parser, run


def dsnt(regularizer: str, **options: float) -> Options:
    """DSNT with this regularizer and these options of it."""
    return {"head": "dsnt", "head.regularizer": regularizer, **{f"head.{k}": v for k, v in options.items()}}


TABLE_3 = {
    "none": dsnt("none"),
    "variance, sigma 1": dsnt("variance", sigma=1),
    "KL, sigma 1": dsnt("kl", sigma=1),
    "JS, sigma 1": dsnt("js", sigma=1),
    "JS, sigma 2": dsnt("js", sigma=2),
}
FULL_TABLE = {
    **TABLE_3,
    "variance, sigma 2": dsnt("variance", sigma=2),
    "KL, sigma 2": dsnt("kl", sigma=2),
}
FIGURE_6 = {
    **{f"JS, sigma {sigma:g}": dsnt("js", sigma=sigma) for sigma in (0.5, 1, 2, 4)},
    **{f"JS, lambda {weight:g}": dsnt("js", sigma=1, reg_weight=weight) for weight in (0.2, 5, 10)},
}


def main() -> None:
    """Table 3, or Figure 6."""
    options = parser(__doc__)
    options.add_argument("--sweep", action="store_true", help="Figure 6: sigma and lambda of JS")
    given = options.parse_args()
    table = FULL_TABLE if given.full else TABLE_3
    run(
        Experiment(
            name="regularizer_sweep" if given.sweep else "regularizers",
            claim="JS > none > KL and variance",
            data="helen",
            variants=FIGURE_6 if given.sweep else table,
            figures=[NME, MEDIAN, TRUST],
            pairs=[] if given.sweep else [(name, "none") for name in table if name != "none"],
        ),
        given,
    )


if __name__ == "__main__":
    main()
