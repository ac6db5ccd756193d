"""The options of `punctum predict` with an exported model; parsed by the standard library, without jsonargparse."""

from argparse import ArgumentParser
from collections.abc import Sequence

from rich.console import Console

from punctum.cli_words import underscored

# What takes the model itself: its heatmaps, or several passes.
OF_RUNS = ("decode", "draw", "ellipses", "places", "spacing", "flip_test", "compile")


def run_predict_onnx(args: Sequence[str], console: Console) -> None:
    """Parse and predict.

    Raises:
        ValueError: an option that is for run folders.
    """
    words = underscored(args)
    refused = [word for word in (f"--{name}" for name in OF_RUNS) if any(w.split("=")[0] == word for w in words)]
    if refused:
        raise ValueError(
            f"{', '.join(refused)}: not for exported models, which say what their graph says; give the run folder"
        )
    given = build_parser().parse_args(words)
    from punctum.deploy.predict_onnx import predict_onnx

    predict_onnx(
        given.model,
        given.images,
        given.out,
        batch_size=given.batch_size,
        level=given.level,
        device=given.device,
        console=console,
    )


def build_parser() -> ArgumentParser:
    """The parser of `punctum predict model.onnx`."""
    parser = ArgumentParser(
        prog="punctum predict",
        description="Find the keypoints in pictures with an exported model; torch is not needed.",
    )
    parser.add_argument("model", help="what `punctum export --out model.onnx` wrote")
    parser.add_argument(
        "images", nargs="+", help="pictures, folders of them, or annotation files, whose pictures and boxes are taken"
    )
    parser.add_argument("--out", required=True, help="file for the coordinates: .csv or .json")
    parser.add_argument("--level", type=float, help="of the regions in a csv (default: 0.95, or the next below)")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at a time (default: %(default)s)")
    parser.add_argument(
        "--device", help="cpu, cuda, or a provider of ONNX Runtime by its name (default: cuda where it is there)"
    )
    return parser
