"""How coarse may a heatmap be? Heatmap matching, fully connected, DSNT, DSNT + JS (Nibali et al. 2018, Figure 7).

python experiments/resolution.py --data ../shared/data --out runs/experiments
"""

from common import MEDIAN, NME, Experiment, parser, run

HEADS = {
    "heatmap": {"head": "heatmap", "head.decoder": "quarter"},
    "fully_connected": {"head": "fully_connected"},
    "dsnt": {"head": "dsnt", "head.regularizer": "none"},
    "dsnt + JS": {"head": "dsnt", "head.regularizer": "js", "head.sigma": 1},
}


def main() -> None:
    """Figure 7."""
    options = parser(__doc__)
    options.add_argument("--strides", default="32,16,8", help="32,16,8,4 is the paper's 7 to 56 px (at 224)")
    given = options.parse_args()
    side = 224 if given.full else 96
    strides = [int(word) for word in given.strides.split(",")]
    variants = {
        f"{head}, {side // stride} px": {**words, "backbone.output_stride": stride}
        for stride in strides
        for head, words in HEADS.items()
    }
    sizes = [side // stride for stride in strides]
    run(
        Experiment(
            name="resolution",
            claim="heatmap matching collapses on coarse maps, DSNT does not; JS helps except on the coarsest",
            data="helen",
            variants=variants,
            figures=[NME, MEDIAN],
            pairs=[
                (f"{a}, {size} px", f"{b}, {size} px")
                for size in sizes
                for a, b in (("heatmap", "dsnt"), ("dsnt + JS", "dsnt"), ("fully_connected", "dsnt"))
            ],
        ),
        given,
    )


if __name__ == "__main__":
    main()
