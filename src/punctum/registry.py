"""Finds the classes that live in a package and builds them by name, so that no list is kept by hand."""

import difflib
import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from punctum.one_line import one_line

T = TypeVar("T")


def find_classes(package: str, base: type[T]) -> dict[str, type[T]]:
    """Every concrete subclass of `base` in the package's own modules, by its `name`, sorted.

    Args:
        package: dotted name; each of its modules is imported.
        base: the abstract class.
    Returns:
        {name: class}.
    Raises:
        TypeError: a concrete class is not marked `typing.final` or has no `name`; two classes share a name.
    Example:
        >>> from punctum.heads.base import Head
        >>> "dsnt" in find_classes("punctum.heads", Head)
        True
    """
    found: dict[str, type[T]] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for cls in vars(module).values():
            if not (isinstance(cls, type) and issubclass(cls, base)):
                continue
            if cls.__module__ != module.__name__ or inspect.isabstract(cls):
                continue
            name = getattr(cls, "name", None)
            if not isinstance(name, str) or not cls.__dict__.get("__final__", False):
                raise TypeError(f"{cls.__module__}.{cls.__qualname__} must set `name` and be marked @typing.final")
            if name in found:
                raise TypeError(f"{found[name].__module__} and {cls.__module__} both define the name {name!r}")
            found[name] = cls
    return dict(sorted(found.items()))


def options_of(cls: type) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a class: what a user may set.

    Example:
        >>> class Disc:
        ...     def __init__(self, channels: int, *, radius: float = 2.0) -> None: ...
        >>> {name: parameter.default for name, parameter in options_of(Disc).items()}
        {'radius': 2.0}
    """
    parameters = inspect.signature(cls).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def build(kind: str, classes: Mapping[str, type[T]], name: str, *args: Any, **options: Any) -> T:
    """`classes[name](*args, **options)`, or an error that says what there is.

    Args:
        kind: what the classes are, for messages: "head".
        classes: from `find_classes`.
        name: which one.
        args: passed on.
        options: keyword-only parameters of the class.
    Raises:
        ValueError: unknown name or option, or an option's value that the class refuses.
    Example:
        >>> build("box", {"list": list, "tuple": tuple}, "tupel")
        Traceback (most recent call last):
        ValueError: unknown box 'tupel': did you mean 'tuple'? There are: list, tuple
    """
    check_names(kind, classes, name, options)
    return classes[name](*args, **options)


def check_names(kind: str, classes: Mapping[str, type], name: str, options: Iterable[str]) -> None:
    """Raise a ValueError that says what there is, unless there is such a class and it has these options.

    Example:
        >>> check_names("box", {"list": list}, "list", ["lenght"])
        Traceback (most recent call last):
        ValueError: box 'list' has no option 'lenght'. There are: none
    """
    if name not in classes:
        raise ValueError(
            f"unknown {kind} {one_line(repr(name))}{_suggest(name, classes)} There are: {', '.join(classes)}"
        )
    known = options_of(classes[name])
    for option in options:
        if option not in known:
            there_are = ", ".join(known) or "none"
            unknown = one_line(repr(option))
            raise ValueError(
                f"{kind} {name!r} has no option {unknown}{_suggest(option, known)} There are: {there_are}"
            )


def check_choice(option: str, value: object, choices: Iterable[object]) -> None:
    """Raise a ValueError unless the option's value is one of the choices.

    Example:
        >>> check_choice("loss", "l2", ("euclidean", "l1"))
        Traceback (most recent call last):
        ValueError: loss='l2' is no choice: did you mean 'l1'? There are: euclidean, l1
    """
    choices = tuple(choices)
    if value not in choices:
        names = [str(choice) for choice in choices]
        raise ValueError(
            f"{option}={one_line(repr(value))} is no choice{_suggest(value, names)} There are: {', '.join(names)}"
        )


def check_positive(option: str, value: float, *, zero: bool = False) -> None:
    """Raise a ValueError unless the option's value is a finite positive number (or zero, where allowed).

    Example:
        >>> check_positive("sigma", 0.0)
        Traceback (most recent call last):
        ValueError: sigma must be a positive number, got 0.0
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{option} must be a {'non-negative' if zero else 'positive'} number, got {value!r}")


def _suggest(word: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else "."
