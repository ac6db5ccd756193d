"""What an exported file says of itself: one JSON text in its metadata, so that the file is everything."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from punctum.data.crop import CropSettings
from punctum.data.limits import LARGEST_INPUT
from punctum.json_file import parse_json
from punctum.one_line import told
from punctum.promise import Promise
from punctum.schema import Schema

KEY = "punctum"
FORMAT_VERSION = 1

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Description:
    """All that is needed to use a graph.

    Args:
        schema: the K keypoints.
        input_size: (H, W) of the crops that the network learned on.
        preprocessing: how a picture becomes a crop; see `CropSettings`.
        head: the head's name.
        precision: of the network's arithmetic; decoding is always in float32.
        any_size: whether crops of other sizes are fine.
        outputs: names of the graph's outputs, in order.
        promise: of a calibrated model, else None.
        parity: what the check against the model found at the end of the export.
        punctum: version that wrote it.
    Raises:
        ValueError: the crops are malformed, or larger than any network takes.
    Example:
        >>> one = Description(Schema(("nose",)), (64, 64), {}, "dsnt", "fp32", True, ("keypoints", "score"))
        >>> Description.from_json(one.to_json()) == one
        True
    """

    schema: Schema
    input_size: tuple[int, int]
    preprocessing: dict[str, Any]
    head: str
    precision: Precision
    any_size: bool
    outputs: tuple[str, ...]
    promise: Promise | None = None
    parity: dict[str, Any] = field(default_factory=dict)
    punctum: str = ""

    def __post_init__(self) -> None:
        whole = len(self.input_size) == 2 and all(type(n) is int for n in self.input_size)
        if not whole or not 1 <= math.prod(self.crop.input_size) <= LARGEST_INPUT:
            raise ValueError(
                f"input_size must be two positive integers (H, W) of at most {LARGEST_INPUT:,} pixels, got "
                f"{list(self.input_size)}"
            )

    @property
    def crop(self) -> CropSettings:
        """How a picture becomes an input."""
        return CropSettings.of_model(self.input_size, self.preprocessing)

    def to_json(self) -> str:
        """As it stands in the file."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is none, or of another version.
        """
        try:
            return cls._from_dict(parse_json(text.encode()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the description is malformed: {told(error)}") from error

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> "Description":
        rest = {key: value for key, value in values.items() if key != "format_version"}
        if values["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {values['format_version']!r}, and this punctum reads {FORMAT_VERSION}: use "
                f"punctum {values.get('punctum')}, which wrote it"
            )
        promise = values["promise"]
        return cls(
            **{
                **rest,
                "schema": Schema.from_dict(values["schema"]),
                "input_size": tuple(values["input_size"]),
                "outputs": tuple(values["outputs"]),
                "promise": None if promise is None else Promise(**{**promise, "levels": tuple(promise["levels"])}),
            }
        )
