"""Heads as they are typed: `name:option=value:option=value`, several with commas between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from punctum import heads, registry

DEFAULT_HEADS = "heatmap:decoder=dark,dsnt,integral,density:decoder=local,simcc,rle"
"""One of each family: a drawn Gaussian and its peak, the map's mean, the mean with a Gaussian prior, a map that is a
density, a class on each axis, and plain regression with a learned density."""


@dataclass(frozen=True)
class HeadSpec:
    """A head to compare.

    Args:
        label: as it was typed; tables call it so.
        name: one of `heads.available()`.
        options: of that head, as text.
    """

    label: str
    name: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> list[str]:
        """The same as words of `punctum train`."""
        return ["--head", self.name, *(word for key, value in self.options for word in (f"--head.{key}", value))]


def parse_heads(text: str) -> list[HeadSpec]:
    """The heads of `--heads`.

    Commas between numbers are part of an option's value: `oks:sigmas=[0.1,0.2]`.

    Raises:
        ValueError: an unknown head or option (the error suggests one), an option without a value, or a head twice.
    Example:
        >>> [spec.words for spec in parse_heads("dsnt:sigma=2,rle")]
        [['--head', 'dsnt', '--head.sigma', '2'], ['--head', 'rle']]
        >>> parse_heads("dnst")
        Traceback (most recent call last):
        ValueError: --heads: unknown head 'dnst': did you mean 'dsnt'? There are: density, dsnt, ...
    """
    specs = [_parse(part) for part in _parts(text)]
    words = [spec.words for spec in specs]
    twice = sorted({spec.label for spec in specs if words.count(spec.words) > 1})
    if twice:
        raise ValueError(f"--heads: {', '.join(twice)} stands there twice")
    if not specs:
        raise ValueError("--heads: there is no head to compare")
    return specs


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    for piece in text.split(","):
        if parts and "=" in parts[-1] and _is_number(piece.strip(" []")):
            parts[-1] += "," + piece
        else:
            parts.append(piece)
    return [part.strip() for part in parts if part.strip()]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(text: str) -> HeadSpec:
    name, *pieces = (piece.strip() for piece in text.split(":"))
    pairs = [piece.partition("=") for piece in pieces]
    for key, equals, value in pairs:
        if not key or not equals or not value:
            raise ValueError(f"--heads: {text!r}: {(key or text)!r} needs a value, as in {name}:option=value")
    options = tuple((key.strip().replace("-", "_"), value.strip()) for key, _, value in pairs)
    try:
        registry.check_names("head", heads.available(), name, [key for key, _ in options])
    except ValueError as error:
        raise ValueError(f"--heads: {error}") from None
    return HeadSpec(text, name, options)


def numbers(text: str, option: str) -> list[int]:
    """Whole positive numbers with commas between them, none twice.

    Example:
        >>> numbers("32,16,8", "--output-strides")
        [32, 16, 8]
    """
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{option}: {text!r} is not a list of whole numbers such as 32,16,8") from None
    if min(found) < 1 or len(set(found)) < len(found):
        raise ValueError(f"{option}: {text!r} must be different positive numbers")
    return found


def check_values(spec: HeadSpec, options: dict[str, object]) -> None:
    """Raise a ValueError where the head refuses an option's value, before anything is trained."""
    try:
        heads.build(spec.name, 8, 2, (8, 8), **options)
    except ValueError as error:
        raise ValueError(f"--heads: {spec.label!r}: {error}") from None


def joined(words: Sequence[str]) -> str:
    """Labels in a sentence.

    Example:
        >>> joined(["dsnt", "rle", "oks"]), joined(["dsnt"])
        ('dsnt, rle and oks', 'dsnt')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
