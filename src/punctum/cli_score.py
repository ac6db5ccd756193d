"""`punctum score`: its options."""

from rich.console import Console

from punctum.cli_options import numbers, parser_of
from punctum.cli_words import underscored


def score(args: list[str], console: Console) -> None:
    """Run the verb."""
    parser = parser_of("score", "Measure anyone's predictions by annotations: files against files, no model needed.")
    parser.add_argument(
        "predictions",
        help="punctum's csv, JSON or COCO file, COCO results JSON, or MPII preds (.h5, .mat), row by row",
    )
    parser.add_argument("data", help="annotations to judge by, in any readable format; images are not needed")
    parser.add_argument(
        "--metric", required=True, help="pckh, pck, nme, epe or oks (with AP, where the files are COCO's)"
    )
    parser.add_argument(
        "--normalizer",
        help="of pck and nme: bbox, pixels, head or keypoints:NAME,NAME (default: head where it is known, else bbox)",
    )
    parser.add_argument("--thresholds", help="of pckh (default: 0.5,0.1) and pck (default: 0.05,0.1,0.2,0.5)")
    parser.add_argument(
        "--allow_missing", action="store_true", help="labelled points without a prediction are misses, not mistakes"
    )
    parser.add_argument("--sigmas", help="of oks: S,S,... or what `punctum sigmas` wrote (default: the annotations')")
    parser.add_argument("--by", help="joints, occlusion or size: score easy, medium and hard instances apart too")
    parser.add_argument("--out", help="JSON file for the figures")
    given = parser.parse_args(underscored(args))
    from punctum import score as scoring

    scoring.score(
        given.predictions,
        given.data,
        metric=given.metric,
        normalizer=given.normalizer,
        thresholds=None if given.thresholds is None else numbers(given.thresholds, "--thresholds"),
        allow_missing=given.allow_missing,
        sigmas=given.sigmas,
        by=given.by,
        out=given.out,
        console=console,
    )
