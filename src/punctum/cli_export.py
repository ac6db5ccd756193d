"""The options of `punctum export`."""

from argparse import ArgumentParser
from collections.abc import Sequence

from rich.console import Console

from punctum.cli_words import underscored


def run_export(args: Sequence[str], console: Console) -> None:
    """Parse and export."""
    given = build_parser().parse_args(underscored(args))
    from punctum.export.run import Request, export

    precision = "fp16" if given.fp16 else "int8" if given.int8 else "fp32"
    request = Request(
        precision,  # type: ignore[arg-type]
        calibrate_on=given.calibrate_on,
        samples=given.samples,
        count=given.count,
        bound=given.bound,
        calibrated=not given.uncalibrated,
        uint8=given.uint8,
    )
    export(given.run, given.out, request, console=console)


def build_parser() -> ArgumentParser:
    """The parser of the verb."""
    parser = ArgumentParser(
        prog="punctum export",
        description="A trained model as one file: crops in, coordinates in the picture's pixels, covariances and the "
        "calibration out. It is checked against the model before it gets its name.",
    )
    parser.add_argument("run", help="the run folder that `punctum train` made")
    parser.add_argument("--out", required=True, help="model.onnx, or model.pt2 for torch.export")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--fp16", action="store_true", help="the backbone in float16; head and decoding in float32")
    kind.add_argument("--int8", action="store_true", help="the backbone in 8-bit integers, for CPUs")
    parser.add_argument(
        "--calibrate_on",
        help="with --int8: pictures or annotations that ranges are taken from (default: the samples)",
    )
    parser.add_argument(
        "--samples",
        help="annotations, a picture or a folder to check the file on (default: the images that the run kept back)",
    )
    parser.add_argument("--uncalibrated", action="store_true", help="leave the run's calibration out of the file")
    parser.add_argument("--uint8", action="store_true", help="crops are bytes, not numbers in [0, 1]")
    parser.add_argument("--count", type=int, default=200, help="of samples, at most (default: %(default)s)")
    parser.add_argument(
        "--bound",
        type=float,
        help="largest difference from the model, px of the input (default: 0.01; fp16: 0.1; int8: only stated)",
    )
    return parser
