"""The options of `punctum predict` with an exported model; parsed by the standard library, without jsonargparse."""

from argparse import ArgumentParser
from collections.abc import Sequence

from rich.console import Console

from punctum.cli_predict import add_shared_options, shared_options
from punctum.cli_words import underscored

# What takes the model itself: its heatmaps, or several passes; and volumes, which are not exported.
OF_RUNS = ("decode", "places", "spacing", "flip_test", "compile")


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
        **shared_options(given),
        device=given.device,
        keep=False,
        console=console,
    )


def build_parser() -> ArgumentParser:
    """The parser of `punctum predict model.onnx`."""
    parser = ArgumentParser(
        prog="punctum predict",
        description="Find the keypoints in pictures and videos with an exported model; torch is not needed. "
        "Interrupted, the same command goes on where it was.",
    )
    parser.add_argument("model", help="what `punctum export --out model.onnx` wrote")
    add_shared_options(parser)
    parser.add_argument(
        "--device", help="cpu, cuda, or a provider of ONNX Runtime by its name (default: cuda where it is there)"
    )
    return parser
