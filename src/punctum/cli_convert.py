"""The command line of `punctum convert`."""

from rich.console import Console

from punctum.cli_words import underscored


def run_convert(args: list[str], console: Console) -> None:
    """Parse the words behind `punctum convert`, and convert."""
    from jsonargparse import ArgumentParser

    from punctum.convert import convert
    from punctum.data.formats import FORMATS

    readable = ", ".join(FORMATS)
    written = ", ".join(name for name, found in FORMATS.items() if found.write is not None)
    parser = ArgumentParser(
        prog="punctum convert",
        description="Annotations of one tool into those of another, read back and compared; what the other format "
        "cannot hold is told.",
    )
    parser.add_argument("data", metavar="IN", help="annotations in any readable format")
    parser.add_argument("out", metavar="OUT", help="file to write; a folder or .yaml: YOLO-pose")
    parser.add_argument("--images", help="folder of the images, where it cannot be told from the annotations")
    parser.add_argument("--from", dest="from_format", help=f"format of IN (default: by its content): {readable}")
    parser.add_argument("--to", dest="to_format", help=f"format of OUT (default: by its name): {written}")
    parser.add_argument("--split", default="train", help="of YOLO-pose: train, val or test (default: %(default)s)")
    parser.add_argument(
        "--copy_images",
        action="store_true",
        help="copy the images into `images` beside OUT; of SLEAP files with videos the labelled frames",
    )
    parser.add_argument("--force", action="store_true", help="write over what is there")
    given = parser.parse_args(underscored(args))
    convert(
        given.data,
        given.out,
        images=given.images,
        from_format=given.from_format,
        to_format=given.to_format,
        split=given.split,
        copy_images=given.copy_images,
        force=given.force,
        console=console,
    )
