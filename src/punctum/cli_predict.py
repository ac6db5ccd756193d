"""`punctum predict`: its options."""

from pathlib import Path
from typing import Any

from rich.console import Console

from punctum.cli_options import AS_CALIBRATED, COMPILE, DECODE, FLIP_TEST, numbers, parser_of
from punctum.cli_predict_ray import add_ray, predict_on_ray
from punctum.cli_words import underscored


def predict(args: list[str], console: Console) -> None:
    """Run the verb."""
    given = _parser().parse_args(underscored(args))
    if given.engine == "ray":
        predict_on_ray(given, console)
        return
    only_ray = [f"--{name}" for name in ("shard", "workers", "address") if getattr(given, name) is not None]
    if only_ray:
        raise ValueError(f"{', '.join(only_ray)}: for --engine ray only")
    from punctum.decision import Decision
    from punctum.predict_files import predict_files

    predict_files(
        given.run,
        given.images,
        Path(given.out),
        **shared_options(given),
        spacing=None if given.spacing is None else numbers(given.spacing, "--spacing"),
        device=given.device,
        flip_test=given.flip_test,
        compile=given.compile,
        decision=None if given.decode is None else Decision.parse(given.decode),
        places=given.places,
        keep=False,
        console=console,
    )


def _parser() -> Any:
    parser = parser_of(
        "predict",
        "Find the keypoints in pictures and videos; coordinates are in each picture's own pixels. Interrupted, the "
        "same command goes on where it was.",
    )
    parser.add_argument("run", help="the run folder that `punctum train` made")
    add_shared_options(parser)
    parser.add_argument("--decode", help=DECODE + AS_CALIBRATED)
    parser.add_argument(
        "--places", type=int, default=0, help="write so many likely places of each point, with their probabilities"
    )
    parser.add_argument("--spacing", help="X,Y,Z: millimetres per voxel, for volumes whose files do not say it")
    parser.add_argument("--flip_test", action="store_true", help=FLIP_TEST)
    parser.add_argument("--compile", action="store_true", help=COMPILE)
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    add_ray(parser)
    return parser


def add_shared_options(parser: Any) -> None:
    """What run folders and exported models are both asked; the parser is jsonargparse's or the standard library's."""
    parser.add_argument(
        "images",
        nargs="+",
        help="pictures, videos, folders of them, patterns ('day1/**/*.png'), annotation files, whose pictures and "
        "boxes are taken, or - for a list on standard input, one a line",
    )
    parser.add_argument(
        "--out",
        required=True,
        help="the coordinates: .csv, .json, .coco.json, .h5 or .parquet; with --engine ray a folder",
    )
    parser.add_argument(
        "--format", help="csv, json, coco, deeplabcut or parquet (default: by the ending; .h5 is deeplabcut)"
    )
    parser.add_argument(
        "--boxes", help="file of boxes: csv with image, x, y, width, height, perhaps frame and instance; or JSON"
    )
    parser.add_argument(
        "--on_error",
        choices=["stop", "skip"],
        default="stop",
        help="at a picture or frame that cannot be read: stop, or skip and list it (default: %(default)s)",
    )
    parser.add_argument(
        "--draw", help="folder for pictures and videos with their points drawn in; for one video also a file: out.mp4"
    )
    parser.add_argument(
        "--ellipses", action="store_true", help="draw regions of a calibrated model; of others the heatmaps' spread"
    )
    parser.add_argument(
        "--trail", type=int, default=10, help="frames of a point's way in drawn videos (default: %(default)s)"
    )
    parser.add_argument(
        "--level", type=float, help="of the regions in a csv and in drawings (default: 0.95, or the next below)"
    )
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at a time (default: %(default)s)")


def shared_options(given: Any) -> dict[str, Any]:
    """The same as the functions behind the verb take them, but for the pictures."""
    names = ("format", "boxes", "on_error", "draw", "ellipses", "trail", "level", "batch_size")
    return {name: getattr(given, name) for name in names}
