"""The papers' own settings, one YAML file each: `punctum train --recipe nibali2018/resnet34-28px-js`.

A recipe is a file `AUTHORYEAR/NAME.yaml` in this package with some of `TrainSettings`' keys, under a comment that
says what it is (first line), where it is from, what was published, and what differs. A new file is found by itself.
"""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from punctum.settings import TrainSettings

PUBLISHED = "Published: "


@dataclass(frozen=True)
class Recipe:
    """Settings from a paper.

    Args:
        name: "nibali2018/resnet34-28px-js".
        about: the comment at the file's head, without its comment signs.
        values: the settings, nested as in `config.yaml`.
    """

    name: str
    about: str
    values: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return self.about.splitlines()[0]

    @property
    def published(self) -> str:
        """The paper's figure, or what stands in its place."""
        lines = [line for line in self.about.splitlines() if line.startswith(PUBLISHED)]
        return lines[0].removeprefix(PUBLISHED) if lines else "no figure"


@functools.cache
def _found() -> dict[str, Recipe]:
    found = {}
    for folder in resources.files(__name__).iterdir():
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name.endswith(".yaml"):
                name = f"{folder.name}/{file.name.removesuffix('.yaml')}"
                found[name] = _read(name, file.read_text(encoding="utf-8"))
    return {name: found[name] for name in sorted(found, key=_natural)}


def _read(name: str, text: str) -> Recipe:
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    about = "\n".join(line.removeprefix("#").strip() for line in lines[:end])
    return Recipe(name, about, yaml.safe_load(text))


def _natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts numbers by their value: 7px before 14px."""
    parts: list[str] = []
    for letter in name:
        if parts and parts[-1].isdigit() == letter.isdigit():
            parts[-1] += letter
        else:
            parts.append(letter)
    return tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def available() -> dict[str, Recipe]:
    """Every recipe by its name, sorted.

    Example:
        >>> available()["nibali2018/resnet34-28px-js"].values["head"]["regularizer"]
        'js'
    """
    return dict(_found())


def find(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        ValueError: there is none of that name; names that are close are told.
    Example:
        >>> find("nibali2018/resnet34-28px-jz")
        Traceback (most recent call last):
        ValueError: unknown recipe 'nibali2018/resnet34-28px-jz': did you mean nibali2018/resnet34-28px-js, ...?
        `punctum recipes` lists all
    """
    known = _found()
    if name not in known:
        inside = [other for other in known if name and name in other]
        close = inside[:5] or difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        hint = f": did you mean {', '.join(close)}?" if close else "."
        raise ValueError(f"unknown recipe {name!r}{hint} `punctum recipes` lists all")
    return known[name]


def settings(name: str, data: str, out: str, **changes: Any) -> TrainSettings:
    """A recipe's settings for one's own data, from Python.

    Args:
        name: one of `available()`.
        data: annotations to train on.
        out: the run folder.
        changes: settings that take the place of the recipe's, whole entries such as `head` or `max_epochs`.
    Raises:
        ValueError: there is no such recipe.
    Example:
        >>> found = settings("nibali2018/resnet34-28px-js", "train.json", "runs/js", max_epochs=20)
        >>> found.optimizer.name, found.crop.input_size, found.max_epochs
        ('rmsprop', (224, 224), 20)
    """
    values = {"recipe": name, **find(name).values, "data": data, "out": out, **changes}
    return TrainSettings.from_dict(values)


def print_recipes(word: str, console: Console) -> None:
    """Print one recipe whole, or a line for each whose name holds the word; all of them for an empty one.

    Raises:
        ValueError: no name holds the word.
    """
    if word in _found():
        recipe = find(word)
        console.print(f"{recipe.about}\n", markup=False, highlight=False, soft_wrap=True)
        console.print(yaml.safe_dump(dict(recipe.values), sort_keys=False), markup=False, highlight=False, end="")
        return
    chosen = [recipe for name, recipe in _found().items() if word in name]
    if not chosen:
        find(word)
    table = Table("recipe", "what it is", "published", box=None, pad_edge=False)
    for recipe in chosen:
        table.add_row(recipe.name, recipe.summary, recipe.published)
    console.print(table)
    console.print(
        f"\n{len(chosen)} recipes. `punctum recipes NAME` prints one; `punctum train --recipe NAME` uses it."
    )
