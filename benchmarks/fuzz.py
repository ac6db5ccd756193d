"""Fuzz every reader of files: random bytes and mutated valid files; anything but one clear error is a crash.

python benchmarks/fuzz.py --minutes 10 --out fuzz.json
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from punctum.data import read, read_image
from punctum.data.formats import write
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema

EXPECTED = (ValueError, OSError, ImportError)
FILES = {
    "coco": "a.json", "deeplabcut": "CollectedData_a.csv", "deeplabcut-h5": "CollectedData_a.h5", "sleap": "a.slp",
    "label-studio": "b.json", "cvat": "a.xml", "yolo": "set/data.yaml", "csv": "a.csv", "csv-wide": "b.csv",
}  # fmt: skip
TOKENS = (
    b"null",
    b"-1",
    b"1e999",
    b"[]",
    b"{}",
    b'"',
    b"<a>",
    b"&x;",
    b"\x00",
    b"nan",
    b",",
    b"\n",
    b"9" * 400,
    b"../",
)


def seeds(folder: Path) -> dict[str, tuple[bytes, Path, Callable[[Path], Any]]]:
    """By name: a valid file, where it stands, and who reads it."""
    images = folder / "images"
    images.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(images / name), np.full((40, 60, 3), 90, np.uint8))
    rows = ["image,instance,keypoint,x,y,visible,box_x,box_y,box_width,box_height"]
    rows += [
        f"{i},{i}{n},{k},{5 + n},{6 + n},{n},1,2,30,20" for i in ("a.png", "b.png") for n in (1, 2) for k in "pqr"
    ]
    (folder / "seed.csv").write_text("\n".join(rows))
    labels = read(folder / "seed.csv", images)
    found: dict[str, tuple[bytes, Path, Callable[[Path], Any]]] = {}
    for name, file in FILES.items():
        path = folder / name / file
        write(labels, path, name)
        found[name] = (path.read_bytes(), path, lambda p, yolo=name == "yolo": read(p, None if yolo else images))
    label = folder / "yolo" / "set" / "labels" / "train" / "a.txt"
    set_yaml = folder / "yolo" / "set" / "data.yaml"
    found["yolo labels"] = (label.read_bytes(), label, lambda _: read(set_yaml))
    found["image"] = ((images / "a.png").read_bytes(), folder / "fuzzed.png", read_image)
    config = ModelConfig(Schema(("p",)), (32, 32), {"name": "resnet18", "width": 0.0625}, {"name": "dsnt"})
    KeypointModel(config).save(folder / "model")
    for file in ("model.json", "model.safetensors"):
        path = folder / "model" / file
        found[file] = (path.read_bytes(), path, lambda p: KeypointModel.load(p.parent))
    return found


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut, doubled, or replaced by awkward tokens, in a few places; now and then nothing but noise."""
    if rng.random() < 0.05:
        return rng.bytes(int(rng.integers(0, 400)))
    data = bytearray(content)
    # Files of offsets (HDF5) survive only changes that keep their length.
    kinds = 1 if rng.random() < 0.5 else 5
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(data) + 1))
        end = min(len(data), at + int(rng.geometric(0.3)))
        kind = int(rng.integers(0, kinds))
        token = TOKENS[int(rng.integers(0, len(TOKENS)))]
        data[at:end] = (rng.bytes(end - at), b"", bytes(data[at:end]) * 2, token, data[at:end] + token)[kind]
        if kinds > 1 and rng.random() < 0.02:
            del data[at:]
    return bytes(data)


def fuzz(seconds: float, seed: int = 0, most: int | None = None) -> dict[str, Any]:
    """Executions by reader, how many were read or refused, and every crash with its traceback."""
    rng = np.random.default_rng(seed)
    counts: dict[str, Counter[str]] = {}
    crashes: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = seeds(Path(name))
        counts = {key: Counter() for key in found}
        start = time.monotonic()
        while time.monotonic() - start < seconds and (most is None or min(c.total() for c in counts.values()) < most):
            for key, (content, path, reader) in found.items():
                path.write_bytes(mutate(content, rng))
                try:
                    reader(path)
                    counts[key]["read"] += 1
                except EXPECTED:
                    counts[key]["refused"] += 1
                except Exception:
                    counts[key]["crashed"] += 1
                    crashes.append({"reader": key, "traceback": traceback.format_exc()[-3000:]})
                path.write_bytes(content)
    executions = sum(c.total() for c in counts.values())
    return {"seed": seed, "executions": executions, "by_reader": counts, "crashes": crashes}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="fuzz.json")
    given = parser.parse_args()
    result = fuzz(60 * given.minutes, given.seed)
    Path(given.out).write_text(json.dumps(result, indent=1))
    print(f"{result['executions']} executions, {len(result['crashes'])} crashes: {given.out}")
    return 1 if result["crashes"] else 0


if __name__ == "__main__":
    sys.exit(main())
