"""What runs in each of Ray's workers: a model, loaded once, and one shard after the other."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from punctum.predict import Predictor
from punctum.predict_finder import Finding, finder_of, made_with
from punctum.predict_write import point_row
from punctum.scale.parts import Account, leftovers, read_account, write_part
from punctum.scale.shards import Shard
from punctum.stream.boxes import Boxes, Detector, boxes_from
from punctum.stream.items import Item
from punctum.stream.journal import told_changes
from punctum.stream.predicting import ItemError, predicted
from punctum.stream.run import piece_size

# A shard is tried so often: what kills its worker each time would kill all of them.
ATTEMPTS = 5


@dataclass(frozen=True)
class Work:
    """What all workers need to know.

    Args:
        run: the run folder.
        folder: where parts are written.
        start: the folder that relative paths start from.
        finding: how points are found.
        made_with: what they depend on, as the driver sees it: every worker must see the same.
        boxes: where instances are: nothing, a file, a function.
        skip: leave out what cannot be read; else it ends the work.
        level, frames: as `PointTable` has them.
    """

    run: Path
    folder: Path
    start: Path
    finding: Finding
    made_with: Mapping[str, Any]
    boxes: str | Path | Detector | None
    skip: bool
    level: int
    frames: bool


def still_good(shard: Shard, work: Work, points: int) -> Account | None:
    """What a shard's part says, where it need not be made again.

    Args:
        shard: the shard.
        work: what to do with it.
        points: of each instance.
    """
    account = read_account(shard.path(work.folder), points)
    if account is None or account.state != shard.state() or (account.errors and not work.skip):
        return None
    return account


class ShardPredictor:
    """A callable for `map_batches`: shards in, what became of them out; their points go to files.

    Args:
        work: what to do with them.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        if work.start.is_dir():
            os.chdir(work.start)
        # Ray counts on a worker to keep to its one core; reading ahead has threads of its own.
        torch.set_num_threads(1)
        # Loaded here: a model that takes its process down is told from pictures that do.
        self._loaded: tuple[Predictor, Boxes] | str
        try:
            self._loaded = _finder(work), boxes_from(work.boxes)
        except (ValueError, OSError, ImportError) as error:
            self._loaded = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Predict shards.

        Args:
            batch: {"shard": B shards}.
        Returns:
            B each of "items", how many pictures are done, "error", why the shard is not, or "", "unreadable": that is
            the picture's fault, "cpu": seconds of a core, and "worker": who did it.
        """
        rows = [self._row(shard) for shard in batch["shard"]]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _row(self, shard: Shard) -> dict[str, Any]:
        row = {"items": 0, "error": "", "unreadable": False, "worker": f"{os.uname().nodename} {os.getpid()}"}
        start = time.process_time()
        # What is wrong is handed over as words: an exception from here would be told with all of Ray's inside.
        try:
            row["items"] = self._predict(shard)
        except (ValueError, OSError, ImportError) as error:
            row |= {"error": str(error), "unreadable": isinstance(error, ItemError)}
        return row | {"cpu": time.process_time() - start}

    def _predict(self, shard: Shard) -> int:
        if isinstance(self._loaded, str):
            raise ValueError(self._loaded)
        finder, boxes = self._loaded
        before = still_good(shard, self.work, len(finder.schema.names))
        if before is not None:
            # A worker died after the shard was done and before it could say so.
            return before.items
        path = shard.path(self.work.folder)
        if len(leftovers(path.parent, path.stem)) >= ATTEMPTS:
            raise ValueError(
                f"{path.name}: {ATTEMPTS} workers died of this shard, {shard.source.name}: memory, or a picture that "
                "a decoder does not survive; --workers 1 and a smaller --shard in a new folder tell which"
            )
        state, items, size = shard.state(), _Counted(shard.source.items()), piece_size(finder)
        keyed = ((i // size, item) for i, item in enumerate(items))
        found = predicted(finder, keyed, boxes=boxes, on_error=_ignore if self.work.skip else None)
        account = write_part(
            path,
            (piece for _, piece in found),
            finder.schema,
            state=state,
            items=lambda: items.count,
            level=self.work.level,
            frames=self.work.frames,
            columns=lambda: _columns(finder, self.work),
        )
        return account.items


def _finder(work: Work) -> Predictor:
    """The model, once it is known to be the driver's."""
    found = finder_of(work.run, work.finding, Console(quiet=True))
    if not isinstance(found, Predictor):
        raise ValueError("the model finds layers in scans, which Ray cannot predict")
    here = made_with(work.run, work.finding, found.network.device)
    wanted = {name: work.made_with.get(name) for name in here}
    if changed := told_changes(wanted, here):
        raise ValueError(f"a worker on {os.uname().nodename} would predict otherwise: {'; '.join(changed)}")
    return found


def _columns(finder: Predictor, work: Work) -> list[str]:
    """Those of a table in which something is found: in noise, whatever that may be."""
    noise = np.random.default_rng(0).integers(0, 256, finder.crop.input_size, dtype=np.uint8)
    (found,) = finder.predict([noise])
    return list(point_row(found, 0, work.level, frames=work.frames))


class _Counted:
    """Items, and how many of them were taken."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items, self.count = items, 0

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            self.count += 1
            yield item


def _ignore(reason: str) -> None:
    """It stands in the part's footer."""
