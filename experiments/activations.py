"""Which activation makes a heatmap out of logits? (Nibali et al. 2018, Table 2)

python experiments/activations.py --data ../shared/data --out runs/experiments
"""

from common import MEDIAN, NME, Experiment, parser, run

ACTIVATIONS = ("softmax", "abs", "relu", "sigmoid")


def main() -> None:
    """Table 2: DSNT without a regularizer, as there."""
    variants = {
        name: {
            "head": "dsnt",
            "head.regularizer": "none",
            **({} if name == "softmax" else {"head.activation": name}),
        }
        for name in ACTIVATIONS
    }
    run(
        Experiment(
            name="activations",
            claim="softmax is best; abs, relu and sigmoid follow closely",
            data="helen",
            variants=variants,
            figures=[NME, MEDIAN],
            pairs=[(name, "softmax") for name in ACTIVATIONS[1:]],
        ),
        parser(__doc__).parse_args(),
    )


if __name__ == "__main__":
    main()
