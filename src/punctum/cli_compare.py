"""The options of `punctum compare`: its own, and every one of `punctum train`."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from punctum.cli_train import parse_train
from punctum.cli_words import aliased, underscored, value_of
from punctum.compare.request import BUDGET, Request
from punctum.compare.specs import DEFAULT_HEADS, HeadSpec, check_values, numbers, parse_heads
from punctum.judging import Protocol
from punctum.settings import TrainSettings

# What train would take, but what the grid decides here.
REFUSED = {
    "--head.name": "heads are named by --heads NAME:option=value,...",
    "--resume": "called again, the same command goes on by itself",
    "--max_images": "numbers of training images are --train-sizes N,N",
    "--backbone.output_stride": "output strides are --output-strides N,N",
}


def build_parser() -> argparse.ArgumentParser:
    """The options that `punctum train` does not have, or that mean something else here."""
    parser = argparse.ArgumentParser(
        prog="punctum compare",
        usage="punctum compare DATA --out DIR [options] [options of `punctum train`]",
        description="Train several heads on the same images, each at its own learning rate, and say which one to use "
        "and how sure that is. Interrupted, the same command goes on.",
        epilog="Every option of `punctum train` may follow, for all heads. Dashes and underscores are the same.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        help="annotations; images for the test are held out of them, unless --test names others",
    )
    add("--out", required=True, help="folder for everything, made here")
    add("--heads", default=DEFAULT_HEADS, help="NAME:option=value:..., with commas between (default: %(default)s)")
    add("--test", help="annotations to judge by")
    add("--test_images", help="folder of their images, where it cannot be told")
    add("--test_fraction", type=float, default=0.2, help="part of the images to judge by (default: %(default)s)")
    add("--test_seed", type=int, default=0, help="of the choice of these (default: %(default)s)")
    add("--seeds", type=int, default=3, help="trainings of each head (default: %(default)s)")
    add("--output_strides", help="compare these: 32,16,8 (default: the backbone's own)")
    add("--train_sizes", help="compare these numbers of training images: 128,512,2048 (default: all)")
    add("--budget", type=float, help=f"minutes for everything (default: {BUDGET:g}), unless --max-epochs is given")
    add("--max_epochs", type=int, help="passes over the largest training set, instead of a budget")
    add("--jobs", type=int, default=0, help="trainings at a time (default: one for each core or GPU)")
    add("--metric", default="nme", help="nme, epe or pck@THRESHOLD (default: %(default)s)")
    add("--normalizer", help="as for `punctum evaluate`")
    add("--thresholds", help="of PCK, as for `punctum evaluate`")
    add("--min_length", type=float, default=0.0, help="as for `punctum evaluate`")
    add("--no_tune", action="store_true", help="train all heads at the settings' learning rate and schedule")
    return parser


def parse_compare(args: Sequence[str]) -> tuple[Request, Path, int]:
    """The request, the folder and the number of jobs, from the command line.

    Raises:
        ValueError: a head, an option or a value is wrong.
    """
    words = aliased(underscored(args))
    given, rest = build_parser().parse_known_args(words)
    _check_words(given.data, rest)
    heads = {spec.label: _settings(spec, given.data, rest) for spec in parse_heads(given.heads)}
    budget = BUDGET if given.budget is None and given.max_epochs is None else given.budget
    protocol = Protocol(normalizer=given.normalizer, min_length=given.min_length)
    if given.thresholds is not None:
        protocol = replace(protocol, thresholds=_floats(given.thresholds))
    if given.jobs < 0:
        raise ValueError(f"--jobs must not be negative, got {given.jobs}")
    request = Request(
        heads=heads,
        test=_absolute(given.test),
        test_images=_absolute(given.test_images),
        test_fraction=given.test_fraction,
        test_seed=given.test_seed,
        seeds=given.seeds,
        strides=tuple(numbers(given.output_strides, "--output-strides")) if given.output_strides else (),
        sizes=tuple(numbers(given.train_sizes, "--train-sizes")) if given.train_sizes else (0,),
        budget=budget,
        max_epochs=given.max_epochs,
        tune=not given.no_tune,
        metric=given.metric,
        protocol=protocol,
    )
    return request, Path(given.out), given.jobs


def command_line(args: Sequence[str]) -> str:
    """How it was called."""
    return shlex.join(["punctum", "compare", *args])


def _check_words(data: str, rest: Sequence[str]) -> None:
    if rest and not rest[0].startswith("--"):
        raise ValueError(f"{data!r} and {rest[0]!r}: DATA stands first, punctum compare DATA --out DIR ...")
    for option, instead in REFUSED.items():
        if option in rest or value_of(rest, option) is not None:
            raise ValueError(f"{option.replace('_', '-')}: {instead}")


def _settings(spec: HeadSpec, data: str, rest: Sequence[str]) -> TrainSettings:
    """One head's settings, as `punctum train` would understand the words."""
    settings, _ = parse_train([data, "--out", "compare", *rest, *spec.words])
    check_values(spec, {key: value for key, value in settings.head.items() if key != "name"})
    return replace(
        settings,
        data=str(Path(data).resolve()),
        val=_absolute(settings.val),
        images=_absolute(settings.images),
        val_images=_absolute(settings.val_images),
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--thresholds: {text!r} is not a list of numbers such as 0.1,0.5") from None
