"""Shards through Ray Data: handed out to workers, handed out again where one dies, counted as they come back."""

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from punctum.data.errors import counted
from punctum.progress import QUIET, count
from punctum.scale.cluster import Places
from punctum.scale.shards import Shard
from punctum.scale.worker import ShardPredictor, Work, still_good
from punctum.stream.predicting import ItemError


def predict_shards(ray: Any, shards: list[Shard], work: Work, where: Places, points: int, console: Console) -> None:
    """Predict all shards whose parts are not there yet.

    Args:
        ray: with a cluster behind it.
        shards: all of them.
        work: what to do with them.
        where: on how many workers, and what they have.
        points: of each instance.
        console: where to report.
    Raises:
        ItemError: a picture cannot be read (named), and is not to be skipped.
        ValueError: a shard cannot be predicted or written; a worker would predict otherwise than the driver.
        OSError: Ray gave up.
    """
    there = {shard.number: account.items for shard in shards if (account := still_good(shard, work, points))}
    missing = [shard for shard in shards if shard.number not in there]
    done = sum(there.values())
    if there:
        console.print(f"{len(there):,} of {counted(len(shards), 'shard')} there already", highlight=False)
    if not missing:
        return
    if where.free < where.workers:
        console.print(
            f"[yellow]note[/yellow] the cluster has room for {where.free} of {where.workers} workers now",
            highlight=False,
        )
    unit = "frames" if work.frames else "images"
    start, new, cpu, seen = time.monotonic(), 0, 0.0, set[str]()
    with count(console, "predicting", _total(missing, done), unit=unit, done=done, log=QUIET) as advance:
        for row in _rows(ray, missing, work, where):
            if row["error"]:
                raise (ItemError if row["unreadable"] else ValueError)(row["error"])
            seen.add(row["worker"])
            new, cpu = new + int(row["items"]), cpu + float(row["cpu"])
            advance(int(row["items"]))
    seconds = time.monotonic() - start
    console.print(
        f"{new:,} {unit} on {counted(len(seen), 'worker')} ({where.device}) in {seconds:.0f} s: "
        f"{new / seconds:.1f} {unit}/s, {1000 * cpu / max(1, new):.1f} ms of a core each",
        highlight=False,
    )
    if len(seen) > where.workers:
        console.print(
            f"[yellow]note[/yellow] {len(seen) - where.workers} of them in the place of others that died",
            highlight=False,
        )


def _total(missing: list[Shard], done: int) -> int | None:
    counts = [shard.source.count for shard in missing]
    return None if None in counts else done + sum(n or 0 for n in counts)


def _rows(ray: Any, shards: list[Shard], work: Work, where: Places) -> Iterator[dict[str, Any]]:
    """What became of each shard, in the order in which they are done.

    Ray Data's workers are started again without end, and a shard whose worker died is tried again.
    """
    data = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    done = data.map_batches(
        ShardPredictor,
        fn_constructor_args=(work,),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=where.workers),
        num_cpus=1,
        num_gpus=1 if where.device == "cuda" else 0,
    )
    try:
        yield from done.iter_rows()
    except ray.exceptions.RayError as error:
        raise OSError(f"Ray gave up: {str(error).strip().splitlines()[-1]}") from error
