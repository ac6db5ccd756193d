"""What is typed, made regular before it is parsed: words in, words out."""

from collections.abc import Sequence

# Short for what is typed most.
ALIASES = {
    "--head": "--head.name",
    "--backbone": "--backbone.name",
    "--lr": "--optimizer.lr",
    "--input_size": "--crop.input_size",
    "--cache": "--hardware.cache",
    "--cache_dir": "--hardware.cache_dir",
    "--warp": "--hardware.warp",
}


def underscored(args: Sequence[str]) -> list[str]:
    """Options with underscores, however they were typed: --max-epochs=5 is --max_epochs=5.

    Example:
        >>> underscored(["--max-epochs=5", "--out", "my-run"])
        ['--max_epochs=5', '--out', 'my-run']
    """
    normal = []
    for arg in args:
        name, equals, value = arg.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        normal.append(name + equals + value)
    return normal


def aliased(words: Sequence[str]) -> list[str]:
    """Short options written out.

    Example:
        >>> aliased(["--head", "dsnt", "--lr=0.1"])
        ['--head.name', 'dsnt', '--optimizer.lr=0.1']
    """
    split = [word.partition("=") for word in words]
    return [ALIASES.get(name, name) + equals + value for name, equals, value in split]


def square_size(words: Sequence[str]) -> list[str]:
    """`--crop.input_size 128` for (128, 128), `192x256` for height 192 and width 256, `32x192x256` for depth 32 too.

    One number is a square here; where the data turn out to be volumes, `train.resolve` makes it a cube.

    Example:
        >>> square_size(["--crop.input_size", "192x256"])
        ['--crop.input_size', '[192, 256]']
    """
    result = list(words)
    for i, word in enumerate(result):
        name, equals, value = word.partition("=")
        if name == "--crop.input_size":
            at = i if equals else i + 1
            text = value if equals else result[at] if at < len(result) else ""
            sides = text.lower().split("x")
            if all(side.isdigit() for side in sides) and len(sides) in (1, 2, 3):
                listed = f"[{', '.join(sides * 2 if len(sides) == 1 else sides)}]"
                result[at] = f"{name}={listed}" if equals else listed
    return result


def config_first(words: Sequence[str]) -> list[str]:
    """`--config FILE` before everything else: what stands later wins, and what is typed shall.

    Example:
        >>> config_first(["--seed", "1", "--config", "run.yaml"])
        ['--config', 'run.yaml', '--seed', '1']
    """
    first: list[str] = []
    rest: list[str] = []
    upcoming = iter(words)
    for word in upcoming:
        if word == "--config":
            first += [word, *([value] if (value := next(upcoming, None)) is not None else [])]
        else:
            (first if word.startswith("--config=") else rest).append(word)
    return [*first, *rest]


def value_of(words: Sequence[str], option: str) -> str | None:
    """The last value given for an option, without parsing the rest.

    Example:
        >>> value_of(["--out", "a", "--out=b"], "--out")
        'b'
    """
    found = values_of(words, option)
    return found[-1] if found else None


def values_of(words: Sequence[str], option: str) -> list[str]:
    """All values given for an option, in order.

    Example:
        >>> values_of(["--config", "a", "--config=b"], "--config")
        ['a', 'b']
    """
    found = []
    for i, word in enumerate(words):
        if word == option and i + 1 < len(words):
            found.append(words[i + 1])
        elif word.startswith(option + "="):
            found.append(word.partition("=")[2])
    return found
