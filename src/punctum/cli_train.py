"""The options of `punctum train`: made from the settings' classes and from the chosen head and backbone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from punctum import backbones, heads, recipes
from punctum.cli_words import ALIASES, aliased, config_first, square_size, underscored, value_of, values_of
from punctum.settings import TrainSettings


def parse_train(args: Sequence[str]) -> tuple[TrainSettings, bool]:
    """Settings, and whether to resume, from the command line.

    What is typed wins over `--config`, that over `--recipe`, and later words over earlier ones; `--resume` starts
    from the run's own config.yaml and accepts no other settings than those it was started with, hardware excepted.
    """
    words = config_first(square_size(aliased(underscored(args))))
    resume = "--resume" in words
    if resume and (out := value_of(words, "--out")) and (Path(out) / "config.yaml").is_file():
        words = ["--config", str(Path(out) / "config.yaml"), *words]
    configs = [_read_config(path) for path in values_of(words, "--config")]
    recipe = _recipe(words, configs)
    head, backbone = (_chosen(words, configs, recipe, part) for part in ("head", "backbone"))
    parser = build_parser(head, backbone)
    parser.set_defaults(_defaults(recipe, head=head, backbone=backbone))
    given = parser.parse_args(words)
    # What is typed wins over --config, wherever it stands; what is not typed must not hide the config's.
    given.data = given.annotations or given.data
    if given.data is None or given.out is None:
        missing = " and ".join(name for name in ("data", "out") if given[name] is None)
        parser.error(f"{missing} must be given: punctum train DATA --out RUN")
    settings = TrainSettings.from_dict(_plain(given))
    if resume:
        _check_unchanged(settings)
    return settings, resume


def build_parser(head: str, backbone: str) -> ArgumentParser:
    """The parser with the options of this head and this backbone."""
    parser = ArgumentParser(
        prog="punctum train",
        usage="punctum train DATA --out RUN [options]; `punctum train --help` lists them",
        description="Train a model on annotated images; the run folder holds the model and its accuracy.",
        epilog=f"Heads: {', '.join(heads.available())}. Backbones: {', '.join(backbones.available())}. The options "
        "under head and backbone are those of the chosen ones. Dashes and underscores are the same. "
        "`punctum recipes` lists what --recipe can name. "
        f"Short: {', '.join(f'{short} for {option}' for short, option in ALIASES.items())}.",
    )
    parser.add_argument(
        "annotations",
        nargs="?",
        metavar="data",
        help="annotations of COCO, DeepLabCut, SLEAP, Label Studio, CVAT, YOLO-pose, MPII or a csv, or their folder",
    )
    parser.add_argument("--data", help="the same, as a setting that --config may hold")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out after its last epoch")
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    parser.add_class_arguments(TrainSettings, skip={"data", "out", "head", "backbone"})
    parser.add_argument("--out", help="the run folder, made here")
    for part, name, package in (("head", head, heads), ("backbone", backbone, backbones)):
        known = package.available()
        if name not in known:
            raise ValueError(f"unknown {part} {name!r}; there are: {', '.join(known)}")
        parser.add_argument(f"--{part}.name", default=name, help=f"the {part}: {', '.join(known)}")
        parser.add_class_arguments(known[name], part, skip={"in_channels", "num_keypoints", "size"})
    return parser


def _read_config(path: str) -> dict[str, Any]:
    """The settings in a file; nothing where there is no such file, which the parser says better."""
    if not Path(path).is_file():
        return {}
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    return values if isinstance(values, dict) else {}


def _recipe(words: Sequence[str], configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The recipe's settings, its name among them; nothing without one."""
    typed = value_of(words, "--recipe")
    names = [config.get("recipe") for config in configs]
    name = typed or next((name for name in reversed(names) if name), None)
    return {} if name is None else {**recipes.find(name).values, "recipe": name}


def _chosen(words: Sequence[str], configs: Sequence[dict[str, Any]], recipe: dict[str, Any], part: str) -> str:
    """The head's or backbone's name: what is typed, else the last config's, else the recipe's, else the default."""
    if typed := value_of(words, f"--{part}.name"):
        return typed
    default = getattr(TrainSettings(data="", out=""), part)
    for values in (*reversed(configs), recipe, {part: default}):
        named = values.get(part)
        if isinstance(named, dict) and named.get("name"):
            return str(named["name"])
    return str(default["name"])


def _defaults(recipe: dict[str, Any], **chosen: str) -> dict[str, Any]:
    """The recipe's settings by their dotted names; of another head or backbone than the chosen one, none."""
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        if key in chosen and value["name"] != chosen[key]:
            continue
        found |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return found


def _check_unchanged(settings: TrainSettings) -> None:
    path = Path(settings.out) / "config.yaml"
    if not path.is_file():
        return  # `train` says what is missing.
    # Parsed as well: a run that was started from Python may have left out options that have defaults.
    saved, wanted = parse_train(["--config", str(path)])[0].to_dict(), settings.to_dict()
    changed = [
        f"{key} was {before}, now {wanted[key]}"
        for key, before in saved.items()
        if key not in ("hardware", "out") and before != wanted[key]
    ]
    if changed:
        raise ValueError(f"a resumed run keeps the settings in {path}: {'; '.join(changed)}")


def _plain(given: Namespace) -> dict[str, Any]:
    values = given.as_dict()
    for name in ("config", "resume", "annotations"):
        values.pop(name, None)
    return values
