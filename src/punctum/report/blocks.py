"""What a page is made of: plain values, which know nothing of HTML; `page.py` turns them into it.

Every text in them is text: what looks like markup in it is shown, not obeyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure as Drawing

Cell = str | float | int | None
Tone = Literal["plain", "good", "warning"]


@dataclass(frozen=True)
class Fact:
    """One of the numbers that a reader came for.

    Args:
        label: what it is, with its unit.
        value: as it shall be read.
        note: its interval, or what it stands beside.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Large numbers, side by side."""

    facts: Sequence[Fact]


@dataclass(frozen=True)
class Text:
    """A paragraph; a warning or a piece of good news stands out."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Code:
    """Text whose lines stay as they are: settings, commands, messages."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A table's column.

    Args:
        title: its heading, with the unit.
        form: how numbers are written, as in `format`: ".2f"; None is a dash.
        best: which number is emphasized: the lowest, the highest, or none.
    """

    title: str
    form: str = ""
    best: Literal["", "low", "high"] = ""


@dataclass(frozen=True)
class Table:
    """Rows that a reader can sort by any column, and filter where there are many.

    Args:
        columns: C of them.
        rows: of C cells each; numbers sort as numbers, None comes last.
        caption: what it shows.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing, which becomes an inline SVG (or a picture, with `raster`).

    Args:
        drawing: of matplotlib, made without pyplot, so that nothing stays open.
        caption: what it shows, and what to look for.
        alt: the same for those who cannot see it: what it shows, and the numbers that matter.
        raster: a picture of pixels, for drawings with very many marks.
    """

    drawing: Drawing
    caption: str
    alt: str
    raster: bool = False


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Args:
        content: of a PNG, JPEG or GIF file.
        caption: what it shows.
        alt: for those who cannot see it.
    """

    content: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as there is room for."""

    pictures: Sequence[Picture]
    caption: str = ""


Block = Facts | Text | Code | Table | Figure | Picture | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; `folded` shows the heading alone until it is opened (never in print)."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        title: at its head.
        lead: what it is about: data, model, date.
        sections: in order; the numbers first.
    """

    title: str
    lead: str
    sections: Sequence[Section]
