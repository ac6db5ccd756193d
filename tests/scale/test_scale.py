"""Shards, parts and what is refused, with a worker in this process in the place of Ray's."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from small_run import save_model

from punctum import cli
from punctum.data import read
from punctum.predict_files import predict_files
from punctum.scale import predict_on_ray as verb
from punctum.scale import worker
from punctum.scale.parts import read_account
from punctum.scale.predict_on_ray import predict_on_ray
from punctum.scale.shards import cut
from punctum.stream.items import Annotated, Pictures
from punctum.stream.video import Video

pytest.importorskip("pyarrow")


class Here:
    """Ray, as far as it is used, with one worker, in this process."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

    def __init__(self) -> None:
        self.data, self.shards, self.predicted = self, list[Any](), list[int]()

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def ActorPoolStrategy(self, size: int) -> int:  # noqa: N802
        return size

    def from_items(self, items: list[dict[str, Any]], override_num_blocks: int) -> "Here":
        self.shards = [item["shard"] for item in items]
        return self

    def map_batches(self, kind: Any, *, fn_constructor_args: Any, **options: Any) -> "Here":
        self.worker = kind(*fn_constructor_args)
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        for shard in self.shards:
            self.predicted.append(shard.number)
            yield {name: values[0] for name, values in self.worker({"shard": [shard]}).items()}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    ray = Here()

    @contextmanager
    def joined(address: str | None, workers: int | None) -> Iterator[Here]:
        yield ray

    monkeypatch.setattr(verb, "joined", joined)
    monkeypatch.setattr(verb, "needs_ray", lambda: ray)
    return ray


def table(path: Path) -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(path).to_table()


def one_box(image: Any) -> list[list[float]]:
    return [[4.0, 4.0, 40.0, 40.0]]


def test_shards_keep_the_order_and_leave_nothing_out(scenes: Path) -> None:
    pictures = Pictures([Path(f"{i}.png") for i in range(5)], [np.full(3, i) for i in range(5)])
    annotated = Annotated(read(scenes / "test.json"))
    shards = cut([pictures, Video(Path("a.mp4")), annotated], 5)
    assert [shard.number for shard in shards] == [0, 1, 2, 3, 4]
    assert [shard.source.count for shard in shards if not isinstance(shard.source, Video)] == [5, 5, 5, 2]
    items = [item for shard in (shards[0], *shards[2:]) for item in shard.source.items()]
    whole = [*pictures.items(), *annotated.items()]
    assert [(i.image, i.instance) for i in items] == [(i.image, i.instance) for i in whole]
    np.testing.assert_array_equal([i.box for i in items[5:]], [i.box for i in whole[5:]])
    np.testing.assert_array_equal([i.spacing for i in items[:5]], [i.spacing for i in whole[:5]])
    assert shards[2].path(Path("out")) == Path("out/part-00002.parquet")
    with pytest.raises(ValueError, match="at least 1 picture"):
        cut([pictures], 0)


def test_the_points_are_those_of_one_process(
    here: Here, run: Path, scenes: Path, pictures: list[Path], tmp_path: Path
) -> None:
    given = [*pictures, scenes / "test.json"]
    predict_on_ray(run, given, tmp_path / "points", shard=8, batch_size=2)
    predict_files(run, given, tmp_path / "points.parquet", batch_size=2)
    assert here.predicted == [0, 1, 2, 3]
    assert table(tmp_path / "points").equals(table(tmp_path / "points.parquet"))


def test_what_is_there_is_not_made_again(here: Here, run: Path, pictures: list[Path], tmp_path: Path) -> None:
    out = predict_on_ray(run, pictures, tmp_path / "points", shard=4, boxes=one_box)
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in out.iterdir()}
    # As after a kill: one part is missing, one is damaged, and something is begun.
    (out / "part-00001.parquet").unlink()
    (out / "part-00002.parquet").write_bytes(before["part-00002.parquet"][1][:-100])
    (out / ".part-00001-x.parquet").write_bytes(b"PAR1")
    here.predicted.clear()
    said = StringIO()
    predict_on_ray(run, pictures, out, shard=4, boxes=one_box, console=Console(file=said, width=200))
    assert here.predicted == [1, 2]
    after = {path.name: (path.stat().st_ino, path.read_bytes()) for path in out.iterdir()}
    assert {name: content for name, (_, content) in after.items()} == {n: c for n, (_, c) in before.items()}
    assert after["part-00000.parquet"] == before["part-00000.parquet"]
    assert "1 of 3 shards there already" in said.getvalue()
    assert "10 read, 10 instances, 20 rows" in said.getvalue()
    here.predicted.clear()
    predict_on_ray(run, pictures, out, shard=4, boxes=one_box)
    assert here.predicted == []


def test_what_cannot_be_read_ends_the_work_or_is_listed(
    here: Here, run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    good, bad = shutil.copy(pictures[0], tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_bytes(b"no picture")
    out, said = tmp_path / "points", StringIO()
    with pytest.raises(ValueError, match=r"b\.png: .*--on-error skip.*the same command goes on"):
        predict_on_ray(run, [good, bad], out, shard=1)
    assert read_account(out / "part-00000.parquet", 2) is not None
    predict_on_ray(run, [good, bad], out, shard=1, on_error="skip", console=Console(file=said, width=200))
    assert here.predicted == [0, 1, 1]
    assert "skipped 1 that cannot be read" in said.getvalue().replace("\n", " ")
    with (out / "_errors.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == str(bad)
    assert row["error"]
    # A part without rows has the columns of the others.
    assert table(out / "part-00001.parquet").schema.equals(table(out / "part-00000.parquet").schema)
    assert table(out).num_rows == 2
    # To stop at what was skipped before is to look again.
    with pytest.raises(ValueError, match=r"b\.png"):
        predict_on_ray(run, [good, bad], out, shard=1)
    shutil.copy(pictures[1], bad)
    predict_on_ray(run, [good, bad], out, shard=1)
    assert here.predicted == [0, 1, 1, 1, 1]
    assert table(out).num_rows == 4
    assert not (out / "_errors.csv").exists()


def test_a_folder_is_of_one_prediction(here: Here, run: Path, pictures: list[Path], tmp_path: Path) -> None:
    out = predict_on_ray(run, pictures[:2], tmp_path / "points")
    with pytest.raises(ValueError, match="other settings: model was"):
        predict_on_ray(save_model(tmp_path / "other", 1), pictures[:2], out)
    with pytest.raises(ValueError, match="shard was 512, is 1"):
        predict_on_ray(run, pictures[:2], out, shard=1)
    with pytest.raises(ValueError, match="pictures was"):
        predict_on_ray(run, pictures[:3], out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"holds mine\.txt"):
        predict_on_ray(run, pictures[:2], tmp_path / "full")
    with pytest.raises(ValueError, match="is a file"):
        predict_on_ray(run, pictures[:2], tmp_path / "full" / "mine.txt")
    with pytest.raises(ValueError, match="writes a folder"):
        predict_on_ray(run, pictures[:2], tmp_path / "points.csv")


def test_workers_that_would_predict_otherwise_are_refused(
    here: Here, run: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.made_with
    monkeypatch.setattr(worker, "made_with", lambda *given: real(*given) | {"torch": "1.0"})
    with pytest.raises(ValueError, match=r"a worker on .* would predict otherwise: torch was .*, is 1\.0"):
        predict_on_ray(run, pictures[:2], tmp_path / "points")


def test_a_shard_that_kills_its_workers_ends_the_work(
    here: Here, run: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "points"

    def attempts(folder: Path) -> None:
        for n in range(worker.ATTEMPTS):
            (out / f".part-00001-{n}.parquet").touch()

    monkeypatch.setattr(verb, "remove_leftovers", attempts)
    with pytest.raises(ValueError, match=r"part-00001\.parquet: 5 workers died of this shard"):
        predict_on_ray(run, pictures[:2], out, shard=1)
    assert read_account(out / "part-00000.parquet", 2) is not None


def test_what_ray_says_is_said_in_a_line(
    here: Here, run: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        raise Here.exceptions.RayError("Traceback\n  ...\nno memory")
        yield {}

    monkeypatch.setattr(here, "iter_rows", rows)
    with pytest.raises(OSError, match=r"^Ray gave up: no memory$"):
        predict_on_ray(run, pictures[:2], tmp_path / "points")


def test_the_command(here: Here, run: Path, pictures: list[Path], tmp_path: Path, capsys: Any) -> None:
    words = ["predict", str(run), *map(str, pictures[:3]), "--out", str(tmp_path / "points"), "--engine", "ray"]
    assert cli.main([*words, "--shard", "2", "--workers", "3"]) == 0
    said = capsys.readouterr().out
    assert "room for 2 of 3 workers" in said
    assert "3 read, 3 instances, 6 rows" in said
    assert cli.main([*words, "--draw", "drawn"]) == 1
    assert "--draw: not with --engine ray" in capsys.readouterr().err
    assert cli.main([*words[:-2], "--shard", "2"]) == 1
    assert "--shard: for --engine ray only" in capsys.readouterr().err
    assert cli.main([*words, "--device", "cuda"]) == 1
    assert "the cluster has 0 for cuda" in capsys.readouterr().err
