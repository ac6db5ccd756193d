"""YAML of anyone's, without what could do harm."""

from pathlib import Path
from typing import Any

import yaml

from punctum.data.errors import DataError


class _Loader(yaml.SafeLoader):
    """YAML without aliases: nested ones grow without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name), which is not read: write the value itself")
        return super().compose_node(parent, index)


def read_yaml(source: Path) -> dict[str, Any]:
    """The entries of a yaml file.

    Raises:
        DataError: it cannot be read, or is no object.
    """
    try:
        content = yaml.load(source.read_bytes(), Loader=_Loader)
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError([f"{source.name}: not YAML that can be read: {' '.join(str(error).split())}"]) from None
    if not isinstance(content, dict):
        raise DataError([f"{source.name}: expected path, train, kpt_shape, names and so on"])
    return content
