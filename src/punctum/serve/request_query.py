"""What the address of a request asks for."""

from typing import Any

from starlette.datastructures import QueryParams

from punctum.serve.engine import Wanted
from punctum.serve.limits import RequestError

MOST_PLACES = 16
_WORDS = {"true": True, "1": True, "false": False, "0": False}

# For /openapi.json. Read here and not by FastAPI, which takes longer for it than for all the rest of its work.
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "heatmaps",
        "in": "query",
        "description": "send what the network saw, too, where the model can",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "places",
        "in": "query",
        "description": "so many likely places of each point, where the model can",
        "schema": {"type": "integer", "minimum": 0, "maximum": MOST_PLACES, "default": 0},
    },
    {
        "name": "box",
        "in": "query",
        "description": "x,y,width,height in pixels, of a single picture; several for several objects",
        "schema": {"type": "array", "items": {"type": "string"}},
        "explode": True,
    },
]
_NAMES = tuple(parameter["name"] for parameter in PARAMETERS)


def read_query(query: QueryParams, can: Wanted) -> tuple[Wanted, list[str]]:
    """What is wanted beside the points, and the boxes, which nobody has parsed.

    Args:
        query: of the address.
        can: what the model can give.
    Raises:
        RequestError: 422 of an unknown parameter or value.
    Example:
        >>> read_query(QueryParams("places=2&box=1,2,3,4"), Wanted(places=16))
        (Wanted(heatmaps=False, places=2), ['1,2,3,4'])
    """
    if not query:
        return Wanted(), []
    unknown = [name for name in query if name not in _NAMES]
    if unknown:
        raise RequestError(422, f"unknown parameter {unknown[0][:80]!r}: there are {', '.join(_NAMES)}")
    heatmaps, places = query.get("heatmaps", "false").lower(), query.get("places", "0")
    if heatmaps not in _WORDS:
        raise RequestError(422, f"heatmaps: {heatmaps[:80]!r} is neither true nor false")
    if not (places.isascii() and places.isdigit() and len(places) < 4 and int(places) <= MOST_PLACES):
        raise RequestError(422, f"places: {places[:80]!r} is not a number from 0 to {MOST_PLACES}")
    if int(places) > can.places:
        raise RequestError(422, f"places: this model tells at most {can.places}")
    return Wanted(_WORDS[heatmaps] and can.heatmaps, int(places)), query.getlist("box")
