"""Run folders with one thing wrong: each is a copy of a good one."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from corpus.make import Trap

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


def broken(good: Path, folder: Path, name: str) -> Path:
    """A copy of a good run, broken as `CHANGES[name]` does it."""
    run = folder / name
    shutil.copytree(good, run, ignore=shutil.ignore_patterns("logs"))
    CHANGES[name](run)
    return run


def _weights(content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / "model" / "model.safetensors").write_bytes(content)


def _state(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def write(run: Path) -> None:
        path = run / "model" / "model.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path)

    return write


def _text(path: str, content: str | bytes) -> Callable[[Path], object]:
    encoded = content.encode() if isinstance(content, str) else content
    return lambda run: (run / path).write_bytes(encoded)


def _entry(path: str, *keys: str, value: Any) -> Callable[[Path], object]:
    def write(run: Path) -> None:
        content = place = json.loads((run / path).read_text())
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        (run / path).write_text(json.dumps(content))

    return write


def _shrink(state: dict[str, torch.Tensor]) -> None:
    name = next(name for name in state if name.endswith("conv1.weight"))
    state[name] = state[name][:, :1].clone()


def _spoil(state: dict[str, torch.Tensor]) -> None:
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)


MODEL, CALIBRATION = "model/model.json", "model/calibration.json"
_HEADER = b'{"heads.0.conv.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'

CHANGES: dict[str, Callable[[Path], object]] = {
    "pickle_weights": _weights(pickle.dumps(Trap())),
    "empty_weights": _weights(b""),
    "lying_header": _weights(struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(64)),
    "other_shapes": _state(_shrink),
    "nan_weights": _state(_spoil),
    "no_description": lambda run: (run / MODEL).unlink(),
    "empty_description": _text(MODEL, ""),
    "deep_description": _text(MODEL, '{"config": ' + "[" * 100_000),
    "newer": _entry(MODEL, "format_version", value=99),
    "odd_head": _entry(MODEL, "config", "head", value={"name": "dsntt"}),
    "odd_option": _entry(MODEL, "config", "head", "depth", value=3),
    "code_in_head": _entry(MODEL, "config", "head", value={"name": "../../os; import os"}),
    "huge_input": _entry(MODEL, "config", "input_size", value=[1_000_000, 1_000_000]),
    "huge_width": _entry(MODEL, "config", "backbone", "width", value=100_000.0),
    "odd_crop": _entry(MODEL, "config", "preprocessing", "region", value=["image"]),
    "many_keypoints": _entry(MODEL, "config", "schema", "names", value=[f"k{n}" for n in range(1000)]),
    "broken_calibration": _text(CALIBRATION, '{"format_version": 1'),
    "nan_calibration": _entry(CALIBRATION, "levels", value=[0.5, float("nan")]),
    "other_calibration": _entry(CALIBRATION, "names", value=["one", "two"]),
    "python_tag": _text("config.yaml", "data: !!python/object/apply:os.putenv [PUNCTUM_TRAPPED, 'yes']\n"),
    "laughs": _text("config.yaml", LAUGHS),
    "deep_yaml": _text("config.yaml", "a: " + "[" * 20_000),
    "pickled_checkpoint": _text("checkpoints/last.ckpt", pickle.dumps(Trap())),
    "empty_checkpoint": _text("checkpoints/last.ckpt", b""),
    "metrics_of_words": _entry("metrics.json", "epe_px", value="far"),
    "pickled_evaluation": _text("evaluation.npz", pickle.dumps(Trap())),
}
