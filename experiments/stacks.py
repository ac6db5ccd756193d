"""Stacked hourglasses: DSNT + JS against heatmap matching, by the number of stacks (Nibali et al. 2018, Figure 9)

python experiments/stacks.py --data ../shared/data --out runs/experiments
"""

from common import MEDIAN, NME, Experiment, parser, run

HEADS = {"heatmap": {"head": "heatmap", "head.decoder": "quarter"}, "dsnt + JS": {"head": "dsnt"}}


def main() -> None:
    """Figure 9."""
    options = parser(__doc__)
    options.add_argument("--stacks", help="numbers of stacks; 1,2 unless --full, which has 1,2,4,8")
    given = options.parse_args()
    stacks = [int(word) for word in (given.stacks or ("1,2,4,8" if given.full else "1,2")).split(",")]
    side = {"input_size": 256} if given.full else {}
    run(
        Experiment(
            name="stacks",
            claim="DSNT + JS is better than heatmap matching at every number of stacks",
            data="helen",
            variants={
                f"{head}, {n} stacks": {**words, "backbone": "hourglass", "backbone.stacks": n, **side}
                for n in stacks
                for head, words in HEADS.items()
            },
            figures=[NME, MEDIAN],
            pairs=[(f"dsnt + JS, {n} stacks", f"heatmap, {n} stacks") for n in stacks],
        ),
        given,
    )


if __name__ == "__main__":
    main()
