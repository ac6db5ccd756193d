"""`punctum predict` with a model that finds layers: whole scans, a line per layer and column."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from punctum.data.errors import counted
from punctum.draw import write_png
from punctum.layer_overlays import view_scan
from punctum.points import Points
from punctum.predict_layers import LayerPredictor, ScanPrediction
from punctum.progress import QUIET, count
from punctum.stream.drawings import free_name
from punctum.stream.items import digest, stamp
from punctum.stream.journal import Journal
from punctum.stream.predicting import Entry, ItemError, Piece
from punctum.stream.results import Results
from punctum.stream.summary import errors_file, write_errors
from punctum.stream.to_files import NAMED, Job, kept_journal
from punctum.write_layers import write_layers


def predict_scans(
    predictor: LayerPredictor, paths: Sequence[Path], job: Job, made_with: Mapping[str, object], console: Console
) -> list[ScanPrediction]:
    """Find layers in scans and write them; interrupted, the same call goes on where it was.

    Args:
        predictor: the model.
        paths: the scans, each once.
        job: what becomes of the layers.
        made_with: all that they depend on beside the scans.
        console: where to report.
    Returns:
        The predictions in order; without `job.keep` none.
    Raises:
        ValueError: a scan cannot be read (named).
        OSError: a file cannot be written.
    """
    names = predictor.schema.names
    basis = {**made_with, "pictures": digest(map(str, paths))}
    with kept_journal(job.out, basis, console) as journal:
        _predict(predictor, paths, journal, job.on_error == "skip", console)
        write_layers(_scans(journal, names), job.out, names)
        skipped = write_errors(Results(journal, predictor.schema, (False,)), job.out)
        if skipped:
            listed = errors_file(job.out)
            console.print(f"[yellow]skipped[/yellow] {skipped:,} that cannot be read, listed in {listed}")
        console.print(f"{counted(len(paths) - skipped, 'scan')}, layers: {job.out}", highlight=False)
        if job.draw is not None:
            drawn = _draw(journal, predictor, Path(job.draw))
            console.print(f"{counted(drawn, 'drawing')}: {job.draw}", highlight=False)
        found = list(_scans(journal, names)) if job.keep else []
        journal.remove()
    return found


def _predict(
    predictor: LayerPredictor, paths: Sequence[Path], journal: Journal, skip: bool, console: Console
) -> None:
    """Every scan that is not in the journal yet, each a piece of its own."""
    missing = [i for i, path in enumerate(paths) if not journal.has(0, i, stamp(path))]
    done, told = len(paths) - len(missing), 0
    if journal.begun and done:
        console.print(f"going on after {counted(done, 'scan')} that an interrupted prediction left", highlight=False)
    with count(console, "predicting", len(paths), unit="scans", done=done, log=QUIET) as advance:
        for i, (found, reason) in zip(missing, predictor.stream([paths[i] for i in missing]), strict=True):
            if found is None and not skip:
                raise ItemError(reason)
            if found is None and (told := told + 1) <= NAMED:
                console.print(f"[yellow]skipped[/yellow] {reason}", highlight=False)
            journal.write(0, i, _piece(paths[i], found, reason), stamp(paths[i]))
            advance(1)
    journal.finish(0, len(paths))


def _draw(journal: Journal, predictor: LayerPredictor, folder: Path) -> int:
    taken: set[str] = set()
    for p in _scans(journal, predictor.schema.names):
        path = Path(p.image)
        write_png(folder / free_name(path.stem, taken), view_scan(path, p.rows, predictor.schema))
    return len(taken)


# --- scans as pieces of a journal --------------------------------------------------------------------------------


def _piece(path: Path, found: ScanPrediction | None, reason: str) -> Piece:
    """One scan, whose W columns are the rows of its points."""
    if found is None:
        return Piece([Entry(str(path), error=reason.removeprefix(f"{path}: "), found=False)], None)
    points = Points(
        keypoints=found.rows.T[..., None],
        score=found.score.T,
        covariance=None if found.variance is None else found.variance.T[..., None, None],
        to_image=found.to_image,
        image_sizes=np.full((found.size[1], 1), found.size[0]),
    )
    return Piece([Entry(str(path))], points)


def _scans(journal: Journal, names: tuple[str, ...]) -> Iterator[ScanPrediction]:
    for piece in journal.pieces(0):
        points = piece.points
        if points is not None:
            yield ScanPrediction(
                image=piece.entries[0].image,
                names=names,
                rows=points.keypoints[..., 0].T,
                score=points.score.T,
                variance=None if points.covariance is None else points.covariance[..., 0, 0].T,
                to_image=points.to_image,
                size=(int(points.image_sizes[0, 0]), len(points.image_sizes)),
            )
