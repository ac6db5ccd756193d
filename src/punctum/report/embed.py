"""Drawings and pictures as data URIs."""

import base64
import io
import re
import warnings
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Drawing
from PIL import Image, UnidentifiedImageError

from punctum.report.blocks import Figure, Picture

# Up to this width a drawing shares a row with another one.
HALF_INCHES = 5.6
CSS_PIXELS = 96  # to the inch
RASTER_DPI = 180
MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif"}
# The text stays text, in the reader's own font: every script's letters are there, and the file is small.
SVG_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "punctum"}
READERS_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial"


@dataclass(frozen=True)
class Embedded:
    """What an `img` element needs: its address, its size in CSS pixels, and whether it takes a whole row."""

    source: str
    width: int
    height: int
    wide: bool


def drawn(figure: Figure) -> Embedded:
    """A drawing as SVG, or as PNG where it has very many marks."""
    width, height = (round(side * CSS_PIXELS) for side in figure.drawing.get_size_inches())
    wide = width > HALF_INCHES * CSS_PIXELS
    if figure.raster:
        return Embedded(_uri("image/png", _saved(figure.drawing, "png")), width, height, wide)
    return Embedded(_uri("image/svg+xml", svg(figure.drawing).encode()), width, height, wide)


def shown(picture: Picture) -> Embedded:
    """An encoded picture as it is.

    Raises:
        ValueError: the content is no PNG, JPEG or GIF.
    """
    try:
        with Image.open(io.BytesIO(picture.content), formats=list(MEDIA)) as image:
            media, (width, height) = MEDIA[str(image.format)], image.size
    except UnidentifiedImageError:
        raise ValueError(f"picture {picture.caption!r}: its content is no PNG, JPEG or GIF file") from None
    return Embedded(_uri(media, picture.content), width, height, False)


def svg(drawing: Drawing) -> str:
    """A drawing as SVG: the same drawing, the same text to the last character."""
    text = _saved(drawing, "svg").decode()
    # Control characters and lone surrogates are no XML: with one of them the whole drawing would not be shown.
    text = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    return re.sub(r"(?<=style=\"font: )[^\"']*'DejaVu Sans'", lambda m: _readers_font(m[0]), text)


def _readers_font(font: str) -> str:
    return font.replace("'DejaVu Sans'", f"{READERS_FONT}, 'DejaVu Sans'")


def _saved(drawing: Drawing, form: str) -> bytes:
    file = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    with matplotlib.rc_context(SVG_STYLE), warnings.catch_warnings():
        # Letters that matplotlib's font lacks the reader's fonts have.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        drawing.savefig(file, format=form, metadata=metadata, dpi=RASTER_DPI if form == "png" else 72)
    return file.getvalue()


def _uri(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
