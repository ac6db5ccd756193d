"""`punctum predict --engine ray`: shards to workers, parts into a folder, every picture once."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from punctum.alone import LOCK, alone
from punctum.data import Annotations
from punctum.data.errors import counted
from punctum.decision import Decision
from punctum.files import write_text
from punctum.predict import Predictor, check_kind
from punctum.predict_finder import Finding, finder_of, made_with
from punctum.promise import level_of
from punctum.scale.cluster import joined, needs_ray, where_to_work
from punctum.scale.parts import ERRORS, Account, read_account, remove_leftovers, write_errors
from punctum.scale.run import predict_shards
from punctum.scale.shards import SHARD, Shard, cut
from punctum.scale.worker import Work
from punctum.stream.boxes import BoxFile, Detector, boxes_from, told_boxes
from punctum.stream.gather import gather
from punctum.stream.items import Source
from punctum.stream.journal import changes
from punctum.stream.predicting import ItemError
from punctum.stream.sources import contents, source_of
from punctum.stream.to_files import check_boxes
from punctum.stream.video import Video
from punctum.stream.write_parquet import needs_pyarrow

HEADER = "_made-with.json"


def predict_on_ray(
    run: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    shard: int = SHARD,
    workers: int | None = None,
    address: str | None = None,
    boxes: str | Path | Detector | None = None,
    on_error: str = "stop",
    spacing: Sequence[float] | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    flip_test: bool = False,
    compile: bool = False,
    decision: Decision | None = None,
    places: int = 0,
    level: float | None = None,
    console: Console | None = None,
) -> Path:
    """Predict with Ray's workers, on this machine or many, into a folder of Parquet files.

    A shard of the pictures becomes one file, `part-00012.parquet`, which is whole or absent. Whatever happens, to a
    worker or to the whole: the same call goes on with the shards that are missing, and every picture is in the result
    once. Run, pictures and `out` must be visible to all machines under the same names.

    Args:
        run: the run folder.
        images: as `punctum.predict_files.predict_files` takes them; a video is one shard.
        out: the folder; all that read a folder of Parquet files read it, with a row per point.
        shard: pictures of a shard; with a multiple of 4 batches points are those of `predict_files` to the last bit.
        workers: how many; None: one for each GPU of the cluster, or each core if it has none.
        address: of the cluster: local, auto, HOST:PORT; None: RAY_ADDRESS, else local.
        boxes: where the instances are: a file, or a function from RGB pixels (H, W, 3) to (N, 4).
        on_error: "stop" at a picture that cannot be read, or "skip" it.
        spacing: millimetres per voxel as (x, y, z), for volumes whose files do not say it.
        batch_size, device, flip_test, compile, decision, places: see `Finding`; the device is cpu or cuda.
        level: of the regions that there are columns of.
        console: where to report; None is silent.
    Returns:
        The folder.
    Raises:
        ValueError: nothing to predict, an unreadable picture (named), a folder of another prediction.
        OSError: a file is missing or cannot be written.
        ImportError: Ray or pyarrow is missing.
    Example:
        >>> predict_on_ray("runs/first", ["pictures"], "points.parquet", workers=8)  # doctest: +SKIP
    """
    console, out = console or Console(quiet=True), Path(out)
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error must be 'stop' or 'skip', got {on_error!r}")
    _check_folder(out)
    needs_ray()
    needs_pyarrow()
    finding = Finding(batch_size, device, flip_test, compile, decision, places)
    finder, sources = _prepared(run, images, finding, boxes, spacing, console)
    shards = cut(sources, shard)
    with alone(out), joined(address, workers) as ray:
        where = where_to_work(ray, device, workers)
        finding = replace(finding, device=where.device)
        basis = made_with(run, finding, torch.device(where.device))
        work = Work(
            run=Path(run).absolute(),
            folder=out.absolute(),
            start=Path.cwd(),
            finding=finding,
            made_with=basis,
            boxes=boxes,
            skip=on_error == "skip",
            level=level_of(finder.promise, level),
            frames=any(isinstance(source, Video) for source in sources),
        )
        asked = {"boxes": told_boxes(boxes), "pictures": contents(sources), "shard": shard, "level": level}
        _agree(out, basis | asked)
        remove_leftovers(out)
        with _words_of_errors(out, console):
            predict_shards(ray, shards, work, where, len(finder.schema.names), console)
        _finish(shards, work, finder, sources, console)
    return out


def _prepared(
    run: str | Path,
    images: Sequence[str | Path],
    finding: Finding,
    boxes: str | Path | Detector | None,
    spacing: Sequence[float] | None,
    console: Console,
) -> tuple[Predictor, list[Source]]:
    """The model, to ask what it can do, and the pictures; all that can be refused before any work is."""
    gathered = gather(images)
    # It predicts nothing here: the driver may have no GPU.
    finder = finder_of(run, replace(finding, device="cpu", compile=False), console)
    for annotations in gathered:
        if isinstance(annotations, Annotations):
            check_kind(finder.model, annotations)
    if not isinstance(finder, Predictor):
        raise ValueError("the model finds layers in scans, for which there is no engine ray")
    sources = [source_of(found, len(finder.crop.input_size), spacing, console) for found in gathered]
    check_boxes(boxes_from(boxes), finder, sources, console)
    return finder, sources


def _check_folder(out: Path) -> None:
    if out.suffix in (".csv", ".json", ".h5"):
        raise ValueError(f"{out}: engine ray writes a folder of Parquet files; call it points.parquet, say")
    if out.is_file():
        raise ValueError(f"{out} is a file; engine ray writes a folder of Parquet files")
    there = () if (out / HEADER).is_file() or not out.is_dir() else out.iterdir()
    foreign = next((path for path in there if path.name != LOCK), None)
    if foreign:
        raise ValueError(f"{out} holds {foreign.name}, and no {HEADER}: give a new folder, or an empty one")


def _agree(out: Path, header: dict[str, Any]) -> None:
    """One folder is of one prediction."""
    path = out / HEADER
    if not path.is_file():
        write_text(path, json.dumps(header, indent=1) + "\n")
    elif changed := changes(path, header):
        raise ValueError(
            f"{out} is of a prediction with other settings: {'; '.join(changed)}. Give the same command to go on "
            "with it, or another folder"
        )


@contextmanager
def _words_of_errors(out: Path, console: Console) -> Iterator[None]:
    """What is said of how to go on, where the work ends early."""
    try:
        yield
    except ItemError as error:
        raise ValueError(
            f"{error} (--on-error skip leaves out what cannot be read; what is done is kept in {out}, and the same "
            "command goes on)"
        ) from error
    except BaseException:
        console.print(f"what is done is kept in {out}: the same command goes on", highlight=False)
        raise


def _finish(shards: list[Shard], work: Work, finder: Predictor, sources: list[Source], console: Console) -> None:
    """Count once more, from the files: every picture is there."""
    out = work.folder
    accounts = [read_account(shard.path(out), len(finder.schema.names)) for shard in shards]
    whole = [account for account in accounts if account is not None]
    wrong = [
        shard.path(out).name
        for shard, account in zip(shards, accounts, strict=True)
        if account is None or (not isinstance(shard.source, Video) and account.items != shard.source.count)
    ]
    if wrong:
        raise OSError(f"{out}: {counted(len(wrong), 'part')} not as written: {', '.join(wrong[:5])}; run it again")
    remove_leftovers(out)
    skipped = write_errors(whole, out)
    _say(whole, skipped, out, finder, console)
    boxes = boxes_from(work.boxes)
    if isinstance(boxes, BoxFile) and not work.frames:
        unused = boxes.unused(item.image for source in sources for item in source.items())
        if unused:
            console.print(
                f"[yellow]note[/yellow] {counted(unused, 'picture')} of {boxes.path} not among those given",
                highlight=False,
            )
    console.print(f"coordinates: {out}, {counted(len(shards), 'file')}", highlight=False)


def _say(accounts: list[Account], skipped: int, out: Path, finder: Predictor, console: Console) -> None:
    items, instances = (sum(getattr(account, name) for account in accounts) for name in ("items", "instances"))
    if finder.reading.calibration is None:
        console.print("score: the head's own, not calibrated (`punctum calibrate`)", highlight=False)
    if empty := sum(account.empty for account in accounts):
        console.print(f"{counted(empty, 'picture')} without a box: nothing is predicted there", highlight=False)
    if skipped:
        console.print(
            f"[yellow]skipped[/yellow] {skipped:,} that cannot be read, listed in {ERRORS}", highlight=False
        )
    rows = instances * len(finder.schema.names)
    console.print(f"{items:,} read, {counted(instances, 'instance')}, {counted(rows, 'row')}", highlight=False)
