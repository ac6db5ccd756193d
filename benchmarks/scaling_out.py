"""What predicting a picture costs: in this process, and on a Ray cluster of this machine.

    python benchmarks/scaling_out.py FOLDER_OF_PICTURES

Writes benchmarks/results/scaling-out.json; docs/scaling.md tells what follows for a million pictures. Two networks
with 68 points and random weights (they cost the same): a small one at 96 px, and ResNet-18 at 224 px.

Seconds of a core are the process's own, so that what else the machine does slows it but does not count; seconds on
the wall do count it, and stand beside the load that the machine had. Pictures are read from their files, decoded and
cropped, predicted, and written as Parquet. Loading the model and a first batch are left out here, and are in the
wall's seconds of Ray, whose workers are processes that start first.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path
from typing import Any

# As the command line does it: threads that wait do not spin. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from punctum.model import KeypointModel, ModelConfig
from punctum.predict_files import predict_files
from punctum.scale.predict_on_ray import predict_on_ray
from punctum.schema import Schema
from results import environment, markdown, write_result

RESULTS = Path(__file__).parent / "results" / "scaling-out.json"
NETWORKS = {"resnet18, an eighth wide, 96 px": (0.125, 96), "resnet18, 224 px": (1.0, 224)}
POINTS = 68
WARM_UP = 8


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures: .jpg or .png")
    parser.add_argument("--number", type=int, default=256, help="of pictures (default: %(default)s)")
    parser.add_argument("--engines", default="here:1,here:2,ray:1,ray:2", help="ENGINE:THREADS or ENGINE:WORKERS")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    pictures = sorted(path for path in given.folder.iterdir() if path.suffix in (".jpg", ".png"))[: given.number]
    settings = {"pictures": len(pictures), "points": POINTS, "batch size": 32, "mean bytes": _mean_size(pictures)}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, size) in NETWORKS.items():
            run = _saved(Path(folder) / f"run-{size}", width, size)
            for engine, number in (words.split(":") for words in given.engines.split(",")):
                measure = _on_ray if engine == "ray" else _here
                out = Path(folder) / f"{size}-{engine}-{number}.parquet"
                found = measure(run, pictures, out, int(number))
                told = {"network": name, "engine": engine, "number": int(number), "load": os.getloadavg()[0]}
                rows.append(told | found)
                write_result(
                    given.out, {"benchmark": "scaling_out", **environment(), "settings": settings, "results": rows}
                )
    header = ["network", "engine", "threads or workers", "core-ms/picture", "pictures/s on the wall", "load"]
    print(markdown(header, [_told(row) for row in rows]))


def _saved(run: Path, width: float, size: int) -> Path:
    torch.manual_seed(0)
    schema = Schema(tuple(f"point {k}" for k in range(POINTS)))
    config = ModelConfig(
        schema, (size, size), {"name": "resnet18", "width": width}, {"name": "dsnt"}, {"region": "image"}
    )
    KeypointModel(config).save(run / "model")
    return run


def _here(run: Path, pictures: list[Path], out: Path, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    predict_files(run, pictures[:WARM_UP], out, keep=False)
    wall, cpu = time.perf_counter(), time.process_time()
    predict_files(run, pictures, out, keep=False)
    return _figures(time.perf_counter() - wall, time.process_time() - cpu, len(pictures), out.stat().st_size)


def _on_ray(run: Path, pictures: list[Path], out: Path, workers: int) -> dict[str, float]:
    """As the engine itself reports it; shards small enough that both workers have some."""
    said = StringIO()
    predict_on_ray(
        run, pictures, out, workers=workers, shard=32, address="local", console=Console(file=said, width=200)
    )
    line = re.search(r"in ([\d.]+) s: [\d.]+ images/s, ([\d.]+) ms", said.getvalue())
    if line is None:
        raise RuntimeError(f"no figures in: {said.getvalue()}")
    size = sum(path.stat().st_size for path in out.glob("part-*"))
    return _figures(float(line[1]), float(line[2]) * len(pictures) / 1000, len(pictures), size)


def _figures(wall: float, cpu: float, pictures: int, size: int) -> dict[str, float]:
    return {
        "core ms": 1000 * cpu / pictures,
        "pictures a second": pictures / wall,
        "bytes a point": size / (pictures * POINTS),
    }


def _mean_size(pictures: list[Path]) -> float:
    return sum(path.stat().st_size for path in pictures) / len(pictures)


def _told(row: dict[str, Any]) -> list[str]:
    figures = f"{row['core ms']:.1f}", f"{row['pictures a second']:.1f}", f"{row['load']:.1f}"
    return [row["network"], row["engine"], str(row["number"]), *figures]


if __name__ == "__main__":
    main()
