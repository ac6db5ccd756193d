"""Files that are given for exported models: each is a good one with one thing wrong."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from corpus.make import Trap


def broken_export(good: Path, folder: Path, name: str) -> Path:
    """A file made of a good export, broken as `CHANGES[name]` does it."""
    path = folder / f"{name}.onnx"
    path.write_bytes(CHANGES[name](good))
    return path


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], bytes]:
    return lambda good: change(good.read_bytes())


def _proto(change: Callable[[Any], object]) -> Callable[[Path], bytes]:
    def make(good: Path) -> bytes:
        import onnx

        proto = onnx.load(str(good))
        change(proto)
        return bytes(proto.SerializeToString())

    return make


def _text(new: Callable[[str], str]) -> Callable[[Path], bytes]:
    """Another description."""

    def change(proto: Any) -> None:
        entry = next(entry for entry in proto.metadata_props if entry.key == "punctum")
        entry.value = new(entry.value)

    return _proto(change)


def _entry(*keys: str, value: Any) -> Callable[[Path], bytes]:
    """Another value in the description."""

    def new(text: str) -> str:
        content = place = json.loads(text)
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return json.dumps(content)

    return _text(new)


def _elsewhere(proto: Any) -> None:
    """Weights that stand in another file."""
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in {"location": "../../../../../../../etc/passwd", "offset": "0", "length": "16"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _spoil(proto: Any) -> None:
    for tensor in proto.graph.initializer:
        if tensor.data_type == 1:
            tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()


CHANGES: dict[str, Callable[[Path], bytes]] = {
    "empty": _bytes(lambda content: b""),
    "text": _bytes(lambda content: b"no model"),
    "pickle": _bytes(lambda content: pickle.dumps(Trap())),
    "truncated": _bytes(lambda content: content[: len(content) // 2]),
    "elsewhere": _proto(_elsewhere),
    "nan_weights": _proto(_spoil),
    "undescribed": _proto(lambda proto: proto.ClearField("metadata_props")),
    "not_json": _text(lambda text: text[:50]),
    "deep_json": _text(lambda text: "[" * 100_000),
    "newer": _entry("format_version", value=99),
    "huge_input": _entry("input_size", value=[1_000_000, 1_000_000]),
    "input_of_words": _entry("input_size", value=["a", "b"]),
    "odd_crop": _entry("preprocessing", "region", value=["image"]),
    "other_outputs": _entry("outputs", value=["keypoints", "nothing"]),
    "many_keypoints": _entry("schema", "names", value=[f"k{n}" for n in range(1000)]),
    "nan_levels": _entry("promise", "levels", value=[0.5, float("nan")]),
    "few_levels": _entry("promise", "levels", value=[0.5]),
    "odd_normalizer": _entry("promise", "normalizer", value="../../etc"),
    "no_promise": _entry("promise", value=None),
}
