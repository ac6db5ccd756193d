"""The command line: `punctum VERB ...`. Exit codes: 0 done, 1 a mistake in what was given, 2 wrong usage."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from punctum.cli_evaluate import calibrate_verb, evaluate_verb
from punctum.cli_options import numbers, parser_of
from punctum.cli_serve import serve
from punctum.cli_words import underscored
from punctum.one_line import one_line

# A verb's function imports what it needs when it runs, so that `punctum --help` answers at once.
Command = Callable[[list[str], Console], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the process's exit code is returned, not raised."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return 0 if args else 2
    if args[0] == "--version":
        from punctum import __version__

        print(f"punctum {__version__}")
        return 0
    verb, rest = args[0], args[1:]
    if verb not in COMMANDS:
        close = difflib.get_close_matches(verb, COMMANDS, n=1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        print(f"punctum: there is no verb {verb!r}{hint}\n\n{_overview()}", file=sys.stderr)
        return 2
    return _run(COMMANDS[verb][0], rest)


def _run(command: Command, args: list[str]) -> int:
    """A mistake of the user's becomes one message; PUNCTUM_TRACEBACK=1 shows where it was found."""
    errors = Console(stderr=True, soft_wrap=True)
    # Before torch is imported: its threads shall sleep while they wait, not keep other programs off the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # Not a terminal, a log file say: rich would take 80 columns and break tables and lines.
        command(args, Console() if sys.stdout.isatty() else Console(width=120))
    except SystemExit as stop:  # The parser's: it has said what was wrong.
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        errors.print("interrupted", markup=False)
        return 130
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("PUNCTUM_TRACEBACK"):
            raise
        errors.print(f"punctum: {_said(error)}", markup=False, highlight=False)
        return 1
    except MemoryError as error:
        errors.print(f"punctum: out of memory: {_said(error) or 'nothing is left'}", markup=False, highlight=False)
        return 1
    return 0


def _said(error: BaseException) -> str:
    """The message, safe to print. That of several mistakes has a line for each, made safe one by one; others quote
    file names, which may hold anything."""
    from punctum.data.errors import DataError

    return str(error) if isinstance(error, DataError) else one_line(str(error), longest=2000)


def _overview() -> str:
    verbs = "\n".join(f"  {verb:<10}{help_line}" for verb, (_, help_line) in COMMANDS.items())
    return (
        "usage: punctum VERB ...\n\nNumeric coordinates from images, and how far to trust each one.\n\n"
        f"{verbs}\n\n`punctum VERB --help` lists a verb's options; dashes and underscores in them are the same."
    )


# --- the verbs ---------------------------------------------------------------------------------------------------


def _check(args: list[str], console: Console) -> None:
    parser = parser_of(
        "check",
        "Look at the labels before training on them: counts, missing points, odd rows, a picture. With a run before "
        "the data: the labels that its model finds implausible, the likeliest mistakes first.",
    )
    parser.add_argument(
        "data",
        nargs="+",
        metavar="[RUN] DATA",
        help="annotations of COCO, DeepLabCut, SLEAP, Label Studio, CVAT, YOLO-pose, MPII, or their folder; "
        "before them a run folder that `punctum train` made",
    )
    parser.add_argument("--images", help="folder of the images, where it cannot be told from the annotations")
    parser.add_argument("--out", default="check", help="folder for the pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample that is drawn (default: %(default)s)")
    parser.add_argument("--device", help="of the model: cpu, cuda, ... (default: the GPU where there is one)")
    given = parser.parse_args(underscored(args))
    if len(given.data) > 2:
        parser.error(f"check takes DATA, or RUN and DATA; got {len(given.data)} of them")
    if len(given.data) == 2:
        from punctum.check_labels import check_labels

        run, data = given.data
        check_labels(run, data, images=given.images, out=given.out, device=given.device, console=console)
        return
    from punctum.check import check

    check(given.data[0], images=given.images, out=given.out, seed=given.seed, console=console)


def _train(args: list[str], console: Console) -> None:
    from punctum.cli_train import parse_train

    settings, resume = parse_train(args)
    from punctum.train import train

    try:
        train(settings, resume=resume, console=console)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted: go on with `punctum train --out {settings.out} --resume`")
        raise


def _report(args: list[str], console: Console) -> None:
    parser = parser_of(
        "report", "One HTML page of an evaluation, a comparison or a diagnosis, to look at and pass on."
    )
    parser.add_argument("folder", help="what `punctum evaluate`, `compare` or `diagnose` wrote to; a run folder")
    parser.add_argument("--out", help="the file (default: report.html in the folder)")
    given = parser.parse_args(underscored(args))
    from punctum.report.folder import write_report

    console.print(f"report: {write_report(given.folder, given.out)}")


def _diagnose(args: list[str], console: Console) -> None:
    parser = parser_of("diagnose", "Look inside a model's heatmaps: how wide, how sure, how biased, and what to do.")
    parser.add_argument("run", help="the run folder that `punctum train` made")
    parser.add_argument("data", help="annotations to judge by")
    parser.add_argument("--images", help="folder of the images, where it cannot be told from the annotations")
    parser.add_argument(
        "--by", help="easy and hard by joints, occlusion or size (default: the first that tells instances apart)"
    )
    parser.add_argument("--out", help="folder for figures, pictures and report.html (default: RUN/diagnosis)")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    given = parser.parse_args(underscored(args))
    from punctum.diagnose import diagnose

    diagnose(
        given.run,
        given.data,
        images=given.images,
        out=given.out,
        by=given.by,
        console=console,
        device=given.device,
        batch_size=given.batch_size,
    )


def _compare(args: list[str], console: Console) -> None:
    from punctum.cli_compare import command_line, parse_compare

    request, out, jobs = parse_compare(args)
    from punctum.compare.run import compare

    try:
        compare(request, out, jobs=jobs, command=command_line(args), console=console)
    except KeyboardInterrupt:
        console.print("\ninterrupted: the same command goes on")
        raise


def _score(args: list[str], console: Console) -> None:
    from punctum.cli_score import score

    score(args, console)


def _predict(args: list[str], console: Console) -> None:
    if any(word.endswith(".onnx") for word in args):
        from punctum.cli_predict_onnx import run_predict_onnx

        run_predict_onnx(args, console)
        return
    from punctum.cli_predict import predict

    predict(args, console)


def _export(args: list[str], console: Console) -> None:
    from punctum.cli_export import run_export

    run_export(args, console)


def _suggest(args: list[str], console: Console) -> None:
    parser = parser_of(
        "suggest", "Choose the pictures to label next: what the model is unsure of, and of each kind one."
    )
    parser.add_argument("run", help="the run folder of a model trained on what is labelled by now")
    parser.add_argument(
        "images",
        nargs="+",
        help="pictures, folders of them, or annotation files, whose pictures and boxes are taken",
    )
    parser.add_argument("-n", "--number", type=int, default=50, help="how many to choose (default: %(default)s)")
    parser.add_argument(
        "--labelled", help="annotations of pictures that are labelled already: left out, as their like"
    )
    parser.add_argument(
        "--out", default="suggest.csv", help="file for the list; a .png beside (default: %(default)s)"
    )
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    given = parser.parse_args(underscored(args))
    from punctum.suggest import suggest

    suggest(
        given.run,
        given.images,
        given.number,
        labelled=given.labelled,
        out=given.out,
        console=console,
        device=given.device,
        batch_size=given.batch_size,
    )


def _sigmas(args: list[str], console: Console) -> None:
    parser = parser_of(
        "sigmas", "Estimate each keypoint's OKS sigma from labellings of the same images by several people."
    )
    parser.add_argument("data", nargs="+", help="annotations, one file for each person")
    parser.add_argument("--out", default="sigmas.json", help="file to write (default: %(default)s)")
    given = parser.parse_args(underscored(args))
    from punctum.sigmas import estimate

    estimate(given.data, out=given.out, console=console)


def _demo(args: list[str], console: Console) -> None:
    parser = parser_of("demo", "Make scenes, train on them, evaluate, predict, draw: the whole way in three minutes.")
    parser.add_argument("--out", default="demo", help="folder for everything (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and training (default: %(default)s)")
    given = parser.parse_args(underscored(args))
    from punctum.demo import demo

    demo(given.out, seed=given.seed, console=console)


def _info(args: list[str], console: Console) -> None:
    parser = parser_of("info", "Versions, devices, heads and backbones.")
    parser.add_argument(
        "--kernels", action="store_true", help="which kernels run on this machine, and why others do not"
    )
    parser.add_argument("--benchmark", metavar="RUN", help="time and memory of a trained model's predictions instead")
    parser.add_argument("--batch_size", default="1,32", help="of the benchmark, with commas (default: %(default)s)")
    parser.add_argument("--device", help="of the benchmark: cpu, cuda, ... (default: the GPU where there is one)")
    parser.add_argument("--compile", action="store_true", help="of the benchmark: measure the compiled network too")
    parser.add_argument("--json", help="of the benchmark: a file for its figures")
    given = parser.parse_args(underscored(args))
    if given.benchmark is not None:
        from punctum.benchmark_run import benchmark

        sizes = [int(n) for n in numbers(given.batch_size, "--batch_size")]
        benchmark(given.benchmark, sizes, device=given.device, compile=given.compile, out=given.json, console=console)
        return
    from punctum.info import print_info

    print_info(console, given.kernels)


def _recipes(args: list[str], console: Console) -> None:
    parser = parser_of("recipes", "The papers' settings, for `punctum train --recipe NAME`.")
    parser.add_argument(
        "name", nargs="?", default="", help="print this one, or list those whose name holds this word"
    )
    given = parser.parse_args(underscored(args))
    from punctum.recipes import print_recipes

    print_recipes(given.name, console)


def _convert(args: list[str], console: Console) -> None:
    from punctum.cli_convert import run_convert

    run_convert(args, console)


COMMANDS: dict[str, tuple[Command, str]] = {
    "check": (_check, "look at the labels before training on them, and again with a model"),
    "train": (_train, "train a model on annotated images"),
    "evaluate": (evaluate_verb, "measure a model on annotated images"),
    "calibrate": (calibrate_verb, "how far to trust a model's points: regions and scores that keep a promise"),
    "compare": (_compare, "which head suits these images, and how sure that is"),
    "diagnose": (_diagnose, "look inside a model's heatmaps, and what to do about them"),
    "report": (_report, "a page of what was measured, to look at and pass on"),
    "score": (_score, "measure anyone's predictions, from a file"),
    "predict": (_predict, "find keypoints in new images"),
    "serve": (serve, "a model behind HTTP on this machine, with a page to drop pictures on"),
    "export": (_export, "a model as one file for other programs: ONNX or torch.export"),
    "suggest": (_suggest, "which images to label next"),
    "convert": (_convert, "annotations of one tool into those of another"),
    "sigmas": (_sigmas, "how exactly people label: OKS sigmas from repeated labels"),
    "recipes": (_recipes, "the papers' settings, to train with"),
    "demo": (_demo, "the whole way on made-up scenes, in three minutes"),
    "info": (_info, "versions, devices, heads and backbones; what a model costs here"),
}


if __name__ == "__main__":
    sys.exit(main())
