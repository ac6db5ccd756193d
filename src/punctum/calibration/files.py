"""calibration.json: a calibration as plain JSON beside the model, checked when it is read."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from punctum.calibration.calibration import Calibration, check_levels
from punctum.calibration.density import Density
from punctum.calibration.isotonic import IsotonicMap
from punctum.calibration.regions import KINDS
from punctum.calibration.spread import Spread
from punctum.files import write_text

NAME = "calibration.json"
FORMAT_VERSION = 1
NORMALIZERS = ("bbox", "image", "pixels")


def save(calibration: Calibration, folder: str | Path) -> Path:
    """Write `folder`/calibration.json, whole or not at all."""
    return write_text(Path(folder) / NAME, json.dumps(to_dict(calibration), indent=1) + "\n")


def load(folder: str | Path, names: Sequence[str]) -> Calibration | None:
    """What `save` wrote, for a model of these keypoints; None where there is none.

    Raises:
        ValueError: the file is broken, of a newer format, or of other keypoints; it names the entry.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}; `punctum calibrate` writes it again") from error
    try:
        calibration = from_dict(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; `punctum calibrate` writes it again") from error
    if calibration.names != tuple(names):
        raise ValueError(
            f"{path} is of other keypoints than the model beside it; `punctum calibrate` writes it again"
        )
    return calibration


def to_dict(calibration: Calibration) -> dict[str, Any]:
    """Plain JSON values.

    An infinite bound, of a level that no finite region keeps, becomes null.
    """
    c = calibration
    return {
        "format_version": FORMAT_VERSION,
        "names": list(c.names),
        "levels": list(c.levels),
        "within": c.within,
        "normalizer": c.normalizer,
        "decision": c.decision,
        "flip_test": c.flip_test,
        "images": {"total": c.images[0], "promises": c.images[1]},
        "density": {f.name: getattr(c.density, f.name).tolist() for f in fields(Density)},
        "spread": {f.name: getattr(c.spread, f.name).tolist() for f in fields(Spread)},
        "bounds": {kind: c.bounds[kind].tolist() for kind in KINDS},
        "joint": {kind: c.joint[kind].tolist() for kind in KINDS},
        "score": {"x": c.curve.x.tolist(), "y": c.curve.y.tolist()},
        "wide": c.wide.tolist(),
        "usual": c.usual.tolist(),
    }


def from_dict(values: Any) -> Calibration:
    """The inverse of `to_dict`, also after a trip through JSON.

    Raises:
        ValueError: an entry is missing, of the wrong shape, or holds something else than finite numbers; it is named.
    """
    if not isinstance(values, dict):
        raise ValueError("it does not describe a calibration")
    if values.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"format_version {values.get('format_version')!r} is not {FORMAT_VERSION}, the one known here"
        )
    names, levels = _strings(values, "names"), check_levels(_numbers(values, "levels", (-1,)).tolist())
    k, dims = len(names), _dims(values)
    shapes = {"shape": (k, dims, dims), "offset": (k, dims)}
    density = {f.name: _numbers(values, "density", shapes.get(f.name, (k,)), f.name) for f in fields(Density)}
    spread = {
        "scale": _numbers(values, "spread", (k,), "scale"),
        "floor": _numbers(values, "spread", shapes["shape"], "floor"),
    }
    images = _numbers(values, "images", (), "total"), _numbers(values, "images", (), "promises")
    return Calibration(
        names=names,
        levels=levels,
        within=float(_positive(_numbers(values, "within", ()), "within")),
        normalizer=_choice(values, "normalizer", NORMALIZERS),
        decision=_text(values, "decision"),
        flip_test=values.get("flip_test") is True,
        images=(int(images[0]), int(images[1])),
        density=Density(**{name: _fitting(name, value) for name, value in density.items()}),
        spread=Spread(**spread),
        bounds={kind: _numbers(values, "bounds", (len(levels), k), kind) for kind in KINDS},
        joint={kind: _numbers(values, "joint", (len(levels), k), kind) for kind in KINDS},
        curve=IsotonicMap(_numbers(values, "score", (-1,), "x"), _numbers(values, "score", (-1,), "y")),
        wide=_numbers(values, "wide", (k,)),
        usual=_numbers(values, "usual", (-1,)),
    )


def _entry(values: dict[str, Any], name: str, part: str | None = None) -> tuple[str, Any]:
    """An entry and what to call it."""
    found, where = values.get(name), f'"{name}"'
    if part is not None:
        found, where = found.get(part) if isinstance(found, dict) else None, f'"{name}" "{part}"'
    if found is None:
        raise ValueError(f"{where} is missing")
    return where, found


def _numbers(values: dict[str, Any], name: str, shape: tuple[int, ...], part: str | None = None) -> Tensor:
    """Finite numbers of a shape, in which -1 is any number but zero."""
    where, found = _entry(values, name, part)
    try:
        tensor = torch.tensor(found, dtype=torch.float64)
    except (TypeError, ValueError, RecursionError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{where} holds something else than numbers, or rows of different length") from error
    fits = tensor.ndim == len(shape) and all(
        n == s or (s == -1 and n) for n, s in zip(tensor.shape, shape, strict=True)
    )
    if not fits or not bool(tensor.isfinite().all()):
        wanted = " x ".join("n" if s == -1 else str(s) for s in shape) or "one"
        raise ValueError(f"{where} must be {wanted} finite numbers, and is {tuple(tensor.shape)}")
    return tensor


def _fitting(name: str, value: Tensor) -> Tensor:
    """Parameters that a density takes."""
    if name in ("temperature", "bandwidth", "spread_floor"):
        return _positive(value, f'"density" "{name}"')
    if name in ("centre_weight", "background", "spread_scale") and not bool((value >= 0).all()):
        raise ValueError(f'"density" "{name}" must not be negative')
    return value


def _positive(value: Tensor, where: str) -> Tensor:
    if not bool((value > 0).all()):
        raise ValueError(f"{where} must be positive")
    return value


def _dims(values: dict[str, Any]) -> int:
    """D, from the offsets: K rows of D numbers."""
    where, found = _entry(values, "density", "offset")
    if not isinstance(found, list) or not found or not isinstance(found[0], list):
        raise ValueError(f"{where} must be a row for each keypoint")
    return len(found[0])


def _strings(values: dict[str, Any], name: str) -> tuple[str, ...]:
    where, found = _entry(values, name)
    if not isinstance(found, list) or not found or not all(isinstance(word, str) for word in found):
        raise ValueError(f"{where} must be a list of names")
    return tuple(found)


def _text(values: dict[str, Any], name: str) -> str:
    where, found = _entry(values, name)
    if not isinstance(found, str):
        raise ValueError(f"{where} must be a word")
    return found


def _choice(values: dict[str, Any], name: str, choices: Sequence[str]) -> str:
    found = _text(values, name)
    if found not in choices:
        raise ValueError(f'"{name}" must be one of {", ".join(choices)}, and is {found!r}')
    return found
