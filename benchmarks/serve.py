"""What a server costs beside the bare network, and whether it stands when a thousand ask at once.

    python benchmarks/serve.py
    python benchmarks/serve.py --run runs/helen --images data/helen/images --case helen

Starts `punctum serve model.onnx`, and asks it from this process. Adds a case to benchmarks/results/serve.json:

- crowd: 1,000 requests at the same time on as many connections, 10 % of them malformed in ten ways, in several
  rounds. Every good answer is held against what PyTorch says of the same file offline, every bad one must be the 4xx
  that it deserves; the server's memory is read after each round.
- throughput: pairs of turns, the server and then a bare loop over the same JPEG files, and the median of their
  ratios. The bare loop is one Python thread that does the same work with the same functions: decode, crop, stack 32,
  session.run; ONNX Runtime has as many threads as in the server. `run_only` is session.run on crops that are ready.
  The client runs on the same cores as the server and takes its part of them: its processor time is told.
- latency: 1, 8 and 64 at a time, on connections that stay.

Without --run a network with random weights is made: it costs the same.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from punctum.data.crop import crop_image, crop_matrix, to_image_matrix
from punctum.data.images import decode_image
from punctum.deploy import OnnxPredictor
from results import environment
from serve_client import Reply, latencies, request, send_all

OUT = Path(__file__).parent / "results" / "serve.json"
CROWD, BATCH, MOST_PX = 1000, 32, 0.01


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run folder (default: random weights)")
    parser.add_argument("--images", type=Path, help="JPEG files (default: made-up scenes)")
    parser.add_argument("--case", default="random", help="name in the results")
    parser.add_argument("--size", type=int, default=256, help="of the random network's input, px")
    parser.add_argument("--width", type=float, default=1.0, help="of the random network")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime, in the server and in the bare loop")
    parser.add_argument("--rounds", type=int, default=4, help="of the crowd")
    parser.add_argument("--pairs", type=int, default=7, help="of turns for throughput")
    parser.add_argument("--pictures", type=int, default=512, help="of a turn")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run = given.run or random_run(work / "run", given.size, given.width)
        model = exported(run, work / "model.onnx", given.images)
        files = sorted(given.images.glob("*.jpg")) if given.images else scenes(work, given.pictures)
        found = measure(run, model, files[: given.pictures], given)
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}
    results["environment"] = environment()
    results.setdefault("cases", {})[given.case] = found
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def measure(run: Path, model: Path, files: list[Path], given: argparse.Namespace) -> dict[str, Any]:
    """All of it for one model."""
    predictor = OnnxPredictor(model, ["CPUExecutionProvider"], BATCH, threads=given.threads)
    data = [path.read_bytes() for path in files]
    words = ["--threads", str(given.threads), "--max-mib", "1", "--timeout", "120"]
    with serving(model, words) as (address, process):
        found: dict[str, Any] = {
            "points": len(predictor.schema.names),
            "input_size": list(predictor.crop.input_size),
            "threads": given.threads,
            "crowd": crowd(address, process, run, files, data, given.rounds),
            "throughput": throughput(address, process, predictor, data, given.pairs),
            "latency": {},
        }
        for at_once in (1, 8, 64):
            replies, _ = send_all(address, [request(address, one) for one in data[:256]], at_once)
            found["latency"][str(at_once)] = latencies(replies)
    return found


# --- a crowd ---


def malformed(address: str, good: bytes) -> list[tuple[bytes, int]]:
    """Requests that are wrong in different ways, and the status that each deserves."""
    png = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    bomb = png[:16] + (60_000).to_bytes(4, "big") * 2 + png[24:]
    part = b"--x\r\ncontent-disposition: form-data; "
    form = part + b'name="images"; filename="a.jpg"\r\n\r\n' + good + b"\r\n"
    boxes = form + part + b'name="boxes"\r\n\r\n[[1, 2]]\r\n--x--\r\n'
    multipart = "multipart/form-data; boundary=x"
    return [
        (request(address, good[: len(good) // 2]), 422),
        (request(address, b""), 422),
        (request(address, bytes(2000)), 415),
        (request(address, good, kind="text/plain"), 415),
        (request(address, bomb, kind="image/png"), 413),
        (request(address, bytes(1_200_000)), 413),
        (request(address, good, path="/predict?box=1,2,0,0"), 422),
        (request(address, good, path="/predict?places=99"), 422),
        (request(address, boxes, kind=multipart), 422),
        (request(address, good, host="evil.example"), 421),
    ]


def crowd(
    address: str, process: "subprocess.Popen[str]", run: Path, files: list[Path], data: list[bytes], rounds: int
) -> dict[str, Any]:
    """A thousand at once, several times."""
    wanted = offline(run, files)
    bad = malformed(address, data[0])
    memory, seconds, worst, wrong = [resident(process.pid)], [], 0.0, 0
    counts: dict[str, int] = {}
    for turn in range(rounds):
        order = np.random.default_rng(turn).permutation(CROWD)
        is_bad = order < CROWD // 10
        requests = [
            bad[n % len(bad)][0] if wrong_one else request(address, data[n % len(data)])
            for n, wrong_one in zip(order, is_bad, strict=True)
        ]
        replies, took = send_all(address, requests, CROWD)
        for n, wrong_one, reply in zip(order, is_bad, replies, strict=True):
            counts[str(reply.status)] = counts.get(str(reply.status), 0) + 1
            if wrong_one:
                wrong += reply.status != bad[n % len(bad)][1] or "error" not in json.loads(reply.body)
            elif reply.status == 200:
                worst = max(worst, float(np.abs(points_of(reply) - wanted[n % len(data)]).max()))
            else:
                wrong += 1
        seconds.append(took)
        memory.append(resident(process.pid))
    print(f"crowd: {counts}, {wrong} wrong, worst {worst:.2g} px, memory {memory} MiB")
    if wrong or worst > MOST_PX:
        raise SystemExit(f"{wrong} wrong answers, good ones off by up to {worst:.3g} px")
    return {
        "requests": CROWD * rounds,
        "malformed": CROWD // 10 * rounds,
        "by_status": counts,
        "wrong": wrong,
        "largest_difference_px": worst,
        "memory_mib_before_and_after_each_round": memory,
        "seconds": [round(one, 2) for one in seconds],
        **latencies(replies),
    }


def points_of(reply: Reply) -> np.ndarray:
    """(K, 2) of an answer's only instance."""
    return np.array([[p["x"], p["y"]] for p in json.loads(reply.body)["images"][0]["instances"][0]["keypoints"]])


def offline(run: Path, files: list[Path]) -> list[np.ndarray]:
    """What PyTorch says of the files, in a process that is gone afterwards: its threads shall not stay."""
    import torch

    from punctum.predict import load

    torch.set_num_threads(1)
    return [prediction.keypoints for prediction in load(run, "cpu").predict(files)]


# --- throughput ---


def throughput(
    address: str, process: "subprocess.Popen[str]", predictor: OnnxPredictor, data: list[bytes], pairs: int
) -> dict[str, Any]:
    """Turns of server and bare loop, one after the other."""
    requests = [request(address, one) for one in data]
    samples = [prepared(predictor, one) for one in data]
    rows: dict[str, list[float]] = {
        name: [] for name in ("server", "bare", "run_only", "server_cpu", "client_cpu", "bare_cpu")
    }
    send_all(address, requests, 64)
    for _ in range(pairs):
        before, own = processor_seconds(process.pid), time.process_time()
        replies, seconds = send_all(address, requests, 64)
        if any(reply.status != 200 for reply in replies):
            raise SystemExit("a good picture was refused")
        rows["server"].append(len(data) / seconds)
        rows["server_cpu"].append(1e3 * (processor_seconds(process.pid) - before) / len(data))
        rows["client_cpu"].append(1e3 * (time.process_time() - own) / len(data))
        started, own = time.perf_counter(), time.process_time()
        bare(predictor, data)
        rows["bare"].append(len(data) / (time.perf_counter() - started))
        rows["bare_cpu"].append(1e3 * (time.process_time() - own) / len(data))
        started = time.perf_counter()
        run_only(predictor, samples)
        rows["run_only"].append(len(data) / (time.perf_counter() - started))
    ratios = [server / loop for server, loop in zip(rows["server"], rows["bare"], strict=True)]
    middle = {name: round(statistics.median(values), 3) for name, values in rows.items()}
    return {
        "pictures_per_second": {name: middle[name] for name in ("server", "bare", "run_only")},
        "processor_ms_per_picture": {name: middle[f"{name}_cpu"] for name in ("server", "client", "bare")},
        "server_to_bare": round(statistics.median(ratios), 3),
        "server_to_bare_of_each_pair": [round(ratio, 3) for ratio in ratios],
    }


def prepared(predictor: OnnxPredictor, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """One picture as the graph gets it."""
    image = decode_image(data, "a")
    matrix = crop_matrix(None, image.shape[:2], predictor.crop)
    return crop_image(image, matrix, predictor.crop), to_image_matrix(matrix, predictor.crop.input_size)


def bare(predictor: OnnxPredictor, data: list[bytes]) -> None:
    """The loop that one would write."""
    for start in range(0, len(data), BATCH):
        run_only(predictor, [prepared(predictor, one) for one in data[start : start + BATCH]])


def run_only(predictor: OnnxPredictor, samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The graph alone."""
    for start in range(0, len(samples), BATCH):
        crops, matrices = zip(*samples[start : start + BATCH], strict=True)
        predictor.run(np.stack(crops), np.stack(matrices), np.full(len(crops), 100.0))


# --- what is measured on ---


def random_run(folder: Path, size: int, width: float) -> Path:
    """A run with random weights: ResNet-18 and DSNT, 17 points."""
    from punctum.model import KeypointModel, ModelConfig
    from punctum.schema import Schema

    names = Schema(tuple(f"point {k}" for k in range(17)))
    backbone = {"name": "resnet18", "width": width}
    KeypointModel(ModelConfig(names, (size, size), backbone, {"name": "dsnt"})).save(folder / "model")
    return folder


def exported(run: Path, out: Path, images: Path | None) -> Path:
    """The run as an ONNX file."""
    from punctum.export.run import Request, export

    samples = None if images is None else str(images)
    export(run, out, Request("fp32", None, samples or str(scene(out.parent / "sample.jpg")), 4, None))
    return out


def scene(path: Path, seed: int = 0) -> Path:
    """A picture of 640 x 480 px with something in it."""
    noise = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC))
    return path


def scenes(folder: Path, count: int) -> list[Path]:
    """So many of them."""
    return [scene(folder / f"{i:05d}.jpg", i) for i in range(count)]


@contextmanager
def serving(model: Path, words: list[str]) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A server in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "punctum.cli", "serve", str(model), "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield next(line for line in process.stdout or () if line.startswith("page: ")).split()[1].rstrip("/"), process
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return round(int(line.split()[1]) / 1024, 1)


def processor_seconds(pid: int) -> float:
    """User and system time of a process, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    main()
