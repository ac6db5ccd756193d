"""A prediction killed by SIGKILL again and again, and gone on with: is the result that of an uninterrupted one?

    python benchmarks/interrupt.py --run runs/mouse --video test_vid.mp4 --out benchmarks/results/interrupt.json

Predicts the video once without interruption, then again with kills at random moments, and compares the bytes of the
coordinates and of the drawn video. Then the video, repeated until it is long, says whether memory stays bounded.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import torch

import punctum


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="what `punctum train` made")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("interrupt.json"))
    parser.add_argument("--kills", type=int, default=5, help="the last one while the video is drawn")
    parser.add_argument("--repeats", type=int, default=4, help="of the video, where memory is measured")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        whole = timed(words(given.run, given.video, work / "whole.csv", work / "whole.mp4"))
        kills = killed(given, work)
        same = {name: digest(work / f"whole.{name}") == digest(work / f"killed.{name}") for name in ("csv", "mp4")}
        long = repeated(given.video, work / "long.mp4", given.repeats)
        memory = [
            {"frames": frames(video), **timed(words(given.run, video, work / "memory.csv"))}
            for video in (given.video, long)
        ]
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores shared with other work, {platform.machine()}, one thread",
        "versions": {"punctum": punctum.__version__, "torch": torch.__version__, "av": av.__version__},
        "identical": same,
        "kills": kills,
        "uninterrupted": whole,
        "memory": memory,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def words(run: Path, video: Path, out: Path, draw: Path | None = None) -> list[str]:
    """The command."""
    drawn = [] if draw is None else ["--draw", str(draw)]
    call = [sys.executable, "-m", "punctum.cli", "predict", str(run), str(video), "--out", str(out)]
    return [*call, "--batch-size", "16", "--device", "cpu", *drawn]


def killed(given: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Kill the command, and let it end at last; where each kill met it."""
    rng, told = random.Random(given.seed), []
    out, draw = work / "killed.csv", work / "killed.mp4"
    parts, drawing = work / "killed.csv.parts", work / ".killed.part.mp4"
    for kill in range(given.kills):
        before = len(list(parts.glob("[0-9]*.npz")))
        process = subprocess.Popen(words(given.run, given.video, out, draw), stdout=subprocess.DEVNULL)
        last = kill == given.kills - 1
        while process.poll() is None:
            if drawing.exists() if last else len(list(parts.glob("[0-9]*.npz"))) > before:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        pieces = len(list(parts.glob("[0-9]*.npz")))
        told.append({"killed": code == -signal.SIGKILL, "pieces": pieces, "drawing": drawing.exists()})
    subprocess.run(words(given.run, given.video, out, draw), check=True, stdout=subprocess.DEVNULL)
    if parts.exists() or drawing.exists():
        raise SystemExit("something was left behind")
    return told


def timed(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def repeated(video: Path, path: Path, times: int) -> Path:
    """The video, so many times in a row; its packets are copied."""
    with av.open(str(path), "w") as out:
        stream, shift = None, 0
        for _ in range(times):
            with av.open(str(video)) as source:
                original = source.streams.video[0]
                stream = stream or out.add_stream_from_template(original)
                for packet in source.demux(original):
                    if packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        out.mux(packet)
                shift += original.duration
    return path


def frames(video: Path) -> int:
    """How many frames it says to have."""
    with av.open(str(video)) as file:
        return int(file.streams.video[0].frames)


def digest(path: Path) -> str:
    """Of a file's contents."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
