"""On a Ray cluster of this machine: a worker is killed, and every picture is there once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from punctum.predict_files import predict_files
from punctum.scale.predict_on_ray import predict_on_ray

pytest.importorskip("ray")
arrow = pytest.importorskip("pyarrow")
# Ray's processes outlive the objects that hold their sockets and logs; Ray Data warns of what it calls itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
    pytest.mark.slow,
]


class OneStops:
    """A detector that finds two boxes; the first process that calls it the third time waits there to be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, 0

    def __call__(self, image: Any) -> list[list[float]]:
        self.calls += 1
        if self.calls == 3:
            try:
                with (self.folder / "pid").open("x") as file:
                    file.write(f"{os.getpid()}\n")
            except FileExistsError:
                pass
            else:
                time.sleep(600)
        return [[4, 4, 40, 40], [20, 20, 30, 30]]


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[list[int]]:
    """The processes that were killed: the one that waits, as soon as it does."""
    dead: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.05):
            text = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
            if text.endswith("\n"):
                os.kill(int(text), signal.SIGKILL)
                dead.append(int(text))
                return

    thread = threading.Thread(target=kill)
    thread.start()
    yield dead
    over.set()
    thread.join()


def test_of_a_killed_worker_nothing_is_lost_and_nothing_twice(
    run: Path, pictures: list[Path], tmp_path: Path, killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers load the detector's module, and this checkout's sources.
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [root / "src", root / "tests", root / "tests/scale"])))
    said = StringIO()
    out = predict_on_ray(
        run, pictures, tmp_path / "points", shard=4, batch_size=1, workers=2, address="local",
        boxes=OneStops(tmp_path), console=Console(file=said, width=200),
    )  # fmt: skip
    assert len(killed) == 1
    names = [path.name for path in sorted(out.iterdir())]
    assert names == ["_made-with.json", *(f"part-0000{n}.parquet" for n in range(3))]
    # The file that the killed worker has left behind is gone, and the same points are in one file of one process.
    predict_files(run, pictures, tmp_path / "here.parquet", batch_size=1, boxes=OneStops(tmp_path))
    import pyarrow.dataset
    import pyarrow.parquet

    found = pyarrow.dataset.dataset(out).to_table()
    assert found.num_rows == 10 * 2 * 2
    assert found.equals(pyarrow.parquet.read_table(tmp_path / "here.parquet"))
    assert "10 read, 20 instances, 40 rows" in said.getvalue()
