"""YAML that others wrote: plain values only, and whatever is wrong with it is a ValueError."""

from pathlib import Path
from typing import Any

import yaml

from punctum.one_line import told


class _PlainLoader(yaml.SafeLoader):
    """No Python objects, and no aliases: a few lines of them can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, but for aliases."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError(
                f"line {self.peek_event().start_mark.line + 1}: an alias (*name): write the value itself"
            )
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> Any:
    """The value that a text means.

    Raises:
        ValueError: it is not YAML, or holds Python objects, aliases, or values nested too deeply.
    Example:
        >>> parse_yaml("sides: [64, 64]")
        {'sides': [64, 64]}
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from None
    except RecursionError:
        raise ValueError("not YAML: it is nested too deeply") from None
    # Of PyYAML's own making: impossible dates, integers without digits, keys that are lists.
    except (TypeError, AttributeError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"not YAML: {told(error)}") from None


def read_yaml(path: str | Path) -> Any:
    """The value of a YAML file.

    Raises:
        ValueError: as `parse_yaml`, or it is not UTF-8 text; the file is named.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        return parse_yaml(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
