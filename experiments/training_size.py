"""How few pictures are enough, without augmentation? (Nibali et al. 2018, Figure 11)

    python experiments/training_size.py --data ../shared/data --out runs/experiments

Every size trains for the same number of steps: what is asked is what few pictures teach, not what few steps do.
"""

from common import MEDIAN, NME, STILL, Experiment, parser, run
from resolution import HEADS


def main() -> None:
    """Figure 11."""
    options = parser(__doc__)
    options.add_argument("--sizes", default="128,1024", help="numbers of training images")
    given = options.parse_args()
    sizes = [int(word) for word in given.sizes.split(",")]
    run(
        Experiment(
            name="training_size",
            claim="fully connected output collapses on few samples; DSNT and heatmap matching do not",
            data="helen",
            variants={
                f"{head}, {size} images": {**words, **STILL, "max_images": size}
                for size in sizes
                for head, words in HEADS.items()
            },
            figures=[NME, MEDIAN],
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
