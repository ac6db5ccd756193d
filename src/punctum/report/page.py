"""A page of blocks as one HTML file that needs nothing beside it: no network, no folder of pictures.

Whatever comes from a file is text. The template escapes all of it, drawings and pictures stand in `img` elements,
where no script runs, and the page's policy allows its own style and its own script by their hashes, and nothing else:
were something forgotten here, a browser would still not run it.
"""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from punctum import __version__
from punctum.files import write_text
from punctum.report.blocks import Figure, Page, Picture, Section
from punctum.report.embed import drawn, shown
from punctum.report.grid import grid

POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "base-uri 'none'; form-action 'none'"
)


def write_page(path: str | Path, page: Page) -> Path:
    """Write a page as one self-contained HTML file, whole or not at all.

    Args:
        path: of the file; its folder is made.
        page: what it shows; every text in it is text, whatever it looks like.
    Returns:
        The path.
    Raises:
        ValueError: a table's row has another number of cells than there are columns, or a picture is no PNG, JPEG
            or GIF.
        OSError: the file cannot be written.
    Example:
        >>> import tempfile
        >>> from punctum.report.blocks import Text
        >>> page = Page("Two & three", "a < b", [Section("Numbers", [Text("<b>five</b>")])])
        >>> path = write_page(Path(tempfile.mkdtemp()) / "report.html", page)
        >>> "&lt;b&gt;five&lt;/b&gt;" in path.read_text(encoding="utf-8")
        True
    """
    return write_text(path, render(page))


def render(page: Page) -> str:
    """The page as HTML; see `write_page`."""
    style, script = _asset("style.css"), _asset("script.js")
    html = (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            sections=list(zip(anchors(page.sections), page.sections, strict=True)),
            version=__version__,
            # Markup: our own files, as they are; a hash is of every character.
            style=Markup(style),
            script=Markup(script),
            policy=POLICY.format(style=_hash(style), script=_hash(script)),
        )
    )
    # A file's name may hold bytes that are no text; UTF-8 has no place for them.
    return html.encode("utf-8", errors="replace").decode("utf-8")


def anchors(sections: Sequence[Section]) -> list[str]:
    """A name for each section that a link can carry, each another one.

    Example:
        >>> anchors([Section("Error, px", []), Section("<Error> px", []), Section("誤差", [])])
        ['error-px', 'error-px-2', 'section']
    """
    names: list[str] = []
    for section in sections:
        plain = unicodedata.normalize("NFKD", section.title).encode("ascii", "ignore").decode().lower()
        name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "section"
        taken = sum(re.fullmatch(rf"{name}(-\d+)?", other) is not None for other in names)
        names.append(f"{name}-{taken + 1}" if taken else name)
    return names


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("punctum.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"grid": grid, "image": _image}
    environment.tests["block"] = lambda block, kind: type(block).__name__ == kind
    return environment


def _image(block: Figure | Picture) -> Any:
    return drawn(block) if isinstance(block, Figure) else shown(block)


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """SHA-256 as a policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
