"""`punctum evaluate` and `punctum calibrate`: their options."""

from dataclasses import replace

from rich.console import Console

from punctum.cli_options import AS_CALIBRATED, COMPILE, DECODE, FLIP_TEST, numbers, parser_of
from punctum.cli_words import underscored


def evaluate_verb(args: list[str], console: Console) -> None:
    """Run `punctum evaluate`."""
    parser = parser_of("evaluate", "Measure a trained model on annotated images, beside the constant predictor.")
    parser.add_argument("run", help="the run folder that `punctum train` made")
    parser.add_argument("data", help="annotations to judge by")
    parser.add_argument("--images", help="folder of the images, where it cannot be told from the annotations")
    parser.add_argument(
        "--normalizer",
        help="bbox, image, pixels, head or keypoints:NAME,NAME (default: bbox where there are boxes, else image)",
    )
    parser.add_argument("--thresholds", help="of PCK, in units of the normalizer (default: 0.05,0.1,0.2,0.5)")
    parser.add_argument("--min_length", type=float, default=0.0, help="leave out shorter normalizers, px")
    parser.add_argument("--spacing", type=float, help="millimetres per pixel: errors in mm too (default: the data's)")
    parser.add_argument("--by", help="joints, occlusion or size: measure easy, medium and hard instances apart too")
    parser.add_argument("--decode", help=DECODE + AS_CALIBRATED)
    parser.add_argument("--flip_test", action="store_true", help=FLIP_TEST)
    parser.add_argument("--compile", action="store_true", help=COMPILE)
    parser.add_argument("--out", help="folder for metrics.json and report.html (default: the run folder)")
    parser.add_argument("--no_report", action="store_true", help="leave out report.html, the page to look at")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    given = parser.parse_args(underscored(args))
    from punctum.decision import Decision
    from punctum.evaluate import evaluate
    from punctum.judging import Protocol

    protocol = Protocol(normalizer=given.normalizer, min_length=given.min_length, spacing=given.spacing, by=given.by)
    if given.thresholds is not None:
        protocol = replace(protocol, thresholds=numbers(given.thresholds, "--thresholds"))
    evaluate(
        given.run,
        given.data,
        images=given.images,
        protocol=protocol,
        out=given.out,
        console=console,
        device=given.device,
        flip_test=given.flip_test,
        compile=given.compile,
        decision=None if given.decode is None else Decision.parse(given.decode),
        report=not given.no_report,
    )


def calibrate_verb(args: list[str], console: Console) -> None:
    """Run `punctum calibrate`."""
    parser = parser_of("calibrate", "Find out how far to trust a model, on images that it has not learned from.")
    parser.add_argument("run", help="the run folder that `punctum train` made")
    parser.add_argument(
        "data", nargs="?", help="annotations (default: the images that the run kept back for validation)"
    )
    parser.add_argument("--images", help="folder of the images, where it cannot be told from the annotations")
    parser.add_argument(
        "--levels", default="0.5,0.8,0.9,0.95", help="what regions shall promise (default: %(default)s)"
    )
    parser.add_argument(
        "--within",
        type=float,
        default=0.05,
        help="the score is the probability of an error of at most this, in lengths (default: %(default)s)",
    )
    parser.add_argument(
        "--normalizer",
        help="what a length is: bbox, image or pixels (default: bbox where there are boxes, else image)",
    )
    parser.add_argument("--decode", default="head", help=DECODE)
    parser.add_argument("--flip_test", action="store_true", help=FLIP_TEST)
    parser.add_argument("--seed", type=int, default=0, help="of the split of the images (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    given = parser.parse_args(underscored(args))
    from punctum.calibrate import calibrate
    from punctum.decision import Decision

    calibrate(
        given.run,
        given.data,
        images=given.images,
        levels=numbers(given.levels, "--levels"),
        within=given.within,
        normalizer=given.normalizer,
        decision=Decision.parse(given.decode),
        flip_test=given.flip_test,
        seed=given.seed,
        batch_size=given.batch_size,
        device=given.device,
        console=console,
    )
