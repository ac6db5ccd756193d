"""How the API pages read docstrings: sections follow one another without blank lines, and `Example:` is doctests."""

import re
from typing import Any

import griffe

SECTION = re.compile(r"^( *)(Args|Returns|Raises|Source|Example):$", flags=re.MULTILINE)


class Docstrings(griffe.Extension):
    """Writes sections the way Griffe wants them, before it parses them."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = SECTION.sub(r"\n\1\2:", obj.docstring.value)
            obj.docstring.value = text.replace("Example:\n", "Examples:\n")
