"""Is a deeper network better, at each resolution? (Nibali et al. 2018, Figure 8)

python experiments/depth.py --data ../shared/data --out runs/experiments
"""

from common import MEDIAN, NME, Experiment, parser, run

DEPTHS = ("resnet18", "resnet34", "resnet50")


def main() -> None:
    """Figure 8, with DSNT + JS."""
    options = parser(__doc__)
    options.add_argument("--strides", default="16,8")
    given = options.parse_args()
    strides = [int(word) for word in given.strides.split(",")]
    depths = (*DEPTHS, "resnet101") if given.full else DEPTHS
    side = 224 if given.full else 96
    run(
        Experiment(
            name="depth",
            claim="accuracy rises with depth up to ResNet-50, and with resolution at every depth",
            data="helen",
            variants={
                f"{depth}, {side // stride} px": {"head": "dsnt", "backbone": depth, "backbone.output_stride": stride}
                for depth in depths
                for stride in strides
            },
            figures=[NME, MEDIAN],
            pairs=[
                *(
                    (f"{deep}, {side // stride} px", f"{depths[0]}, {side // stride} px")
                    for stride in strides
                    for deep in depths[1:]
                ),
                *((f"{depth}, {side // strides[1]} px", f"{depth}, {side // strides[0]} px") for depth in depths),
            ],
        ),
        given,
    )


if __name__ == "__main__":
    main()
