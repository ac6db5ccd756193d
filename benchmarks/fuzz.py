"""Damage files of every kind, read them, and count what comes of it: nothing but a message may.

    python benchmarks/fuzz.py --minutes 10 --seed 0 --out benchmarks/results/fuzz.json

A case is a valid sample of one kind (tests/fuzzing/targets.py) with seeded damage (tests/fuzzing/mutate.py), read in
a process of its own that is started anew when it dies or hangs for --seconds, and gets no more than --memory. Allowed
are success, and ValueError, OSError or ImportError with a message that names the file; all else is a crash, listed
with the seed that repeats it (`--only TARGET:SEED`).
"""

import argparse
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fuzzing.judge import Outcome, damaged, try_case  # noqa: E402
from fuzzing.targets import Target, make_run, targets, write_samples  # noqa: E402
from punctum.environment import environment  # noqa: E402

GIB = 2**30
KEPT = 50


def main() -> int:
    """Run for some minutes, print a table, write JSON; 1 where there was a crash."""
    given = _parser().parse_args()
    folder = Path(given.samples or tempfile.mkdtemp(prefix="fuzz-"))
    if not (folder / "made" / "points").is_dir():
        write_samples(folder / "made", make_run(folder / "run"))
    chosen = [t for t in targets() if given.targets is None or t.name in given.targets.split(",")]
    if given.only is not None:
        return repeat(folder / "made", given.only)
    tally = Tally()
    with Worker(folder / "made", given.memory, given.seconds) as worker:
        end, round_ = time.monotonic() + 60 * given.minutes, 0
        while time.monotonic() < end:
            seed = given.seed * 10**9 + round_
            for target in (t for t in chosen if round_ % t.every == 0):
                tally.add(target, seed, worker.run(target, seed))
            round_ += 1
    report = tally.report(given, worker.deaths)
    print(tally.table())
    if given.out is not None:
        given.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"figures: {given.out}")
    return 1 if report["crashes"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="a case that takes longer hangs")
    parser.add_argument("--memory", type=float, default=2.0, help="GiB that a case may ask for beyond what is there")
    parser.add_argument("--targets", help="names, with commas (default: all)")
    parser.add_argument("--samples", help="folder of samples, made where it is empty (default: a temporary one)")
    parser.add_argument("--only", metavar="TARGET:SEED", help="repeat one case and show its traceback")
    parser.add_argument("--out", type=Path)
    return parser


class Tally:
    """What came of the cases so far."""

    def __init__(self) -> None:
        self.words: dict[str, Counter[str]] = defaultdict(Counter)
        self.crashes: list[dict[str, Any]] = []
        self.crashed = 0
        self.slowest: list[tuple[float, str, int]] = []

    def add(self, target: Target, seed: int, outcome: Outcome) -> None:
        """Count one case."""
        self.words[target.name][outcome.word] += 1
        self.slowest = sorted([*self.slowest, (outcome.seconds, target.name, seed)], reverse=True)[:10]
        if outcome.is_crash:
            self.crashed += 1
            seen = sum(c["target"] == target.name and c["outcome"] == outcome.word for c in self.crashes)
            if seen < 3 and len(self.crashes) < KEPT:
                case = {"target": target.name, "seed": seed, "outcome": outcome.word}
                self.crashes.append({**case, "message": outcome.message[:300]})

    def table(self) -> str:
        """A line for each kind of file."""
        lines = [
            f"{name:<24}{sum(words.values()):>8}  " + ", ".join(f"{word} {n}" for word, n in words.most_common())
            for name, words in self.words.items()
        ]
        return "\n".join([*lines, *(f"CRASH {c}" for c in self.crashes)])

    def report(self, given: argparse.Namespace, deaths: int) -> dict[str, Any]:
        """The figures."""
        return {
            "command": " ".join(["python", *sys.argv]),
            "date": time.strftime("%Y-%m-%d"),
            "environment": environment(),
            "minutes": given.minutes,
            "seed": given.seed,
            "executions": sum(sum(words.values()) for words in self.words.values()),
            "crashes": self.crashed,
            "deaths_and_hangs": deaths,
            "unique_outcomes": len({(name, word) for name, words in self.words.items() for word in words}),
            "by_target": {name: dict(words.most_common()) for name, words in self.words.items()},
            "crash_cases": self.crashes,
            "slowest_seconds": [{"seconds": round(s, 3), "target": n, "seed": i} for s, n, i in self.slowest],
        }


class Worker:
    """The process that reads; a new one where it died."""

    def __init__(self, folder: Path, memory: float, seconds: float) -> None:
        self.folder, self.memory, self.seconds = folder, memory, seconds
        self.deaths = 0
        self.originals = {t.file: (folder / t.file).read_bytes() for t in targets()}
        self._start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.folder, self.memory), daemon=True)
        self.process.start()
        theirs.close()
        # It imports and warms up first, however long that takes.
        self.pipe.recv()

    def run(self, target: Target, seed: int) -> Outcome:
        """One case."""
        start = time.monotonic()
        self.pipe.send((target.name, seed))
        try:
            if self.pipe.poll(self.seconds):
                outcome: Outcome = self.pipe.recv()
                if outcome.seconds <= self.seconds:
                    return outcome
                return Outcome("slow", True, outcome.message, outcome.seconds)
            word = "hang"
        except EOFError:
            self.process.join()
            word = f"death by {_signal(self.process.exitcode)}"
        self.deaths += 1
        self.process.kill()
        (self.folder / target.file).write_bytes(self.originals[target.file])
        self._start()
        return Outcome(word, True, "", time.monotonic() - start)


def _signal(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"


def work(pipe: Connection, folder: Path, memory: float) -> None:
    """The worker's loop: a name and a seed in, an outcome out."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(0)
    known = {target.name: target for target in targets()}
    for name in ("model.json", "model.onnx", "picture-png", "video-mp4", "metrics.json"):
        known[name].call(folder / known[name].file)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = held + int(memory * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send("ready")
    while True:
        name, seed = pipe.recv()
        pipe.send(try_case(known[name], folder, seed))


def repeat(folder: Path, case: str) -> int:
    """One case in this process, with its traceback."""
    name, _, seed = case.rpartition(":")
    target = next(t for t in targets() if t.name == name)
    path = folder / target.file
    whole = path.read_bytes()
    content = damaged(whole, name, int(seed))
    (folder / "case.bin").write_bytes(content)
    print(f"{target.file}: {content[:1500]!r}")
    path.write_bytes(content)
    try:
        print(f"read: {target.call(path)!r:.500}")
    except Exception:
        traceback.print_exc()
    finally:
        path.write_bytes(whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
