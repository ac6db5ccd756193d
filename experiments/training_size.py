"""How few pictures are enough, without augmentation? (Nibali et al. 2018, Figure 11)

    python experiments/training_size.py --data ../shared/data --out runs/experiments

Every size trains for the same number of steps: what is asked is what few pictures teach, not what few steps do.
"""

from common import MEDIAN, NME, PCKH, STILL, Experiment, parser, run
from resolution import HEADS


def main() -> None:
    """Figure 11."""
    options = parser(__doc__)
    options.add_argument("--sizes", default="128,1024", help="numbers of training images")
    options.add_argument("--on", choices=["helen", "lspet"], default="helen", help="faces, or people")
    given = options.parse_args()
    sizes = [int(word) for word in given.sizes.split(",")]
    run(
        Experiment(
            name="training_size" if given.on == "helen" else f"training_size_{given.on}",
            claim="fully connected output collapses on few samples; DSNT and heatmap matching do not",
            data=given.on,
            variants={
                f"{head}, {size} images": {**words, **STILL, "max_images": size}
                for size in sizes
                for head, words in HEADS.items()
            },
            figures=[NME if given.on == "helen" else PCKH, MEDIAN],
            pairs=[
                (f"{head}, {size} images", f"dsnt, {size} images")
                for size in sizes
                for head in HEADS
                if head != "dsnt"
            ],
        ),
        given,
    )


if __name__ == "__main__":
    main()
