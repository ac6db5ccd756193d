"""How far off a model is, on annotated images it has not seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from torch import Tensor

from punctum.data import Annotations, inspect, read
from punctum.files import write_text
from punctum.metrics import Normalizer, summarize
from punctum.model import KeypointModel
from punctum.ops import transform_points
from punctum.predict import Points, Predictor, load
from punctum.progress import count

THRESHOLDS = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Protocol:
    """How errors are judged.

    Args:
        normalizer: what distances are divided by: bbox, image, pixels, or keypoints:NAME,NAME (the distance of
            those two points); None: bbox where every instance has a box, else image.
        thresholds: of PCK, in units of the normalizer.
        min_length: leave out (and count) instances whose normalizer is shorter than this many pixels.
        spacing: millimetres per pixel, for errors in mm; None: what the annotations say.
        seed: of the bootstrap.
    """

    normalizer: str | None = None
    thresholds: tuple[float, ...] = THRESHOLDS
    min_length: float = 0.0
    spacing: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.thresholds or not all(t > 0 for t in self.thresholds):
            raise ValueError(f"thresholds must be positive numbers, got {self.thresholds}")
        if self.spacing is not None and not self.spacing > 0:
            raise ValueError(f"spacing must be positive (mm per pixel), got {self.spacing}")


def evaluate(
    run: str | Path,
    data: str | Path,
    *,
    images: str | Path | None = None,
    protocol: Protocol | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """Measure a trained model on annotated images, beside the constant predictor.

    Args:
        run: the run folder.
        data: annotations, in any readable format.
        images: their folder, where it cannot be told.
        protocol: how errors are judged.
        out: folder for metrics.json; None: the run folder.
        console: where to report; None is silent.
        device: where to compute.
    Returns:
        What metrics.json holds: n, epe_px, pck, per_keypoint, intervals, and the same of the constant predictor,
        which puts every point at its mean place in the training crops: a model that does not beat it has
        learned nothing.
    Raises:
        ValueError: the data or protocol is wrong, or the model finds other keypoints than the data names.
        OSError: a file cannot be read or written.
    """
    run = Path(run)
    model = load(run, device).model
    annotations = read(data, images)
    return evaluate_model(model, annotations, out=out or run, protocol=protocol, console=console, device=device)


def evaluate_model(
    model: KeypointModel,
    annotations: Annotations,
    *,
    out: str | Path | None = None,
    protocol: Protocol | None = None,
    console: Console | None = None,
    device: str | torch.device | None = None,
    per_keypoint: bool = True,
) -> dict[str, Any]:
    """`evaluate` for a model and annotations at hand; writes `out`/metrics.json when there is an `out`.

    `per_keypoint` says whether to print a line per keypoint as well; metrics.json holds them always.
    """
    protocol, console = protocol or Protocol(), console or Console(quiet=True)
    _check_names(model, annotations)
    predictor = Predictor(model, device)
    notes = inspect(annotations, predictor.crop.intensity).notes
    with count(console, "evaluating", len(annotations)) as advance:
        points = predictor.points(
            annotations.images, list(annotations.boxes), on_batch=advance, spacing=annotations.spacing
        )
    metrics = measure(points.keypoints, annotations, points.image_sizes, protocol)
    constant = _constant_points(model, points)
    if constant is not None:
        judged = measure(constant, annotations, points.image_sizes, protocol)
        metrics["constant_predictor"] = {k: judged[k] for k in ("epe_px", "pck", "nme", "mre_mm") if k in judged}
    metrics = {"data": str(annotations.source), "notes": list(notes), **metrics}
    _print_table(metrics, console)
    if per_keypoint:
        _print_per_keypoint(metrics, console)
    if out is not None:
        path = write_text(Path(out) / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        console.print(f"metrics: {path}")
    return metrics


def measure(
    keypoints: NDArray[np.float64],
    annotations: Annotations,
    image_sizes: NDArray[np.int64],
    protocol: Protocol,
) -> dict[str, Any]:
    """The metrics of predicted points (N, K, 2) in pixels against the annotations' labelled ones."""
    boxed = bool(np.isfinite(annotations.boxes).all())
    normalizer = Normalizer.parse(
        protocol.normalizer or ("bbox" if boxed else "image"), annotations.schema, protocol.min_length
    )
    target, visible = torch.from_numpy(annotations.keypoints), torch.from_numpy(annotations.labelled)
    lengths = normalizer.lengths(
        target,
        visible,
        boxes=torch.from_numpy(annotations.boxes),
        image_sizes=torch.from_numpy(image_sizes),
    )
    return summarize(
        torch.from_numpy(keypoints),
        target,
        visible,
        names=annotations.schema.names,
        normalizer=normalizer,
        lengths=lengths,
        thresholds=protocol.thresholds,
        image_ids=torch.from_numpy(image_numbers(annotations.images)),
        spacing=_spacing(annotations, protocol),
        seed=protocol.seed,
    )


def _spacing(annotations: Annotations, protocol: Protocol) -> Tensor | None:
    """Millimetres per pixel, (N, D): what the protocol says, else what the annotations do."""
    if protocol.spacing is not None:
        return torch.full((len(annotations), annotations.dims), protocol.spacing, dtype=torch.float64)
    return None if annotations.spacing is None else torch.from_numpy(annotations.spacing)


def image_numbers(images: Sequence[Path]) -> NDArray[np.int64]:
    """A number per distinct image, in order of first appearance.

    Example:
        >>> image_numbers([Path("a"), Path("b"), Path("a")]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Path, int] = {}
    return np.array([numbers.setdefault(path, len(numbers)) for path in images], dtype=np.int64)


def print_notes(notes: Sequence[str], console: Console) -> None:
    """What was counted rather than refused, a line each; names from files are shown as they are."""
    for note in notes:
        console.print(Text.assemble(("  note ", "yellow"), note))


def _check_names(model: KeypointModel, annotations: Annotations) -> None:
    ours, theirs = model.config.schema.names, annotations.schema.names
    if ours != theirs:
        raise ValueError(
            f"the model finds other keypoints than {annotations.source} names: "
            f"{', '.join(ours)} against {', '.join(theirs)}"
        )


def _constant_points(model: KeypointModel, points: Points) -> NDArray[np.float64] | None:
    if model.config.mean_coords is None:
        return None
    mean = torch.tensor(model.config.mean_coords, dtype=torch.float64)
    to_image = torch.from_numpy(points.to_image)
    return transform_points(mean.expand(len(to_image), -1, -1), to_image).numpy()


def _print_table(metrics: dict[str, Any], console: Console) -> None:
    """The figures a user asks for first: over all points, beside the constant predictor, then per keypoint."""
    console.print(
        f"\n{metrics['n']} points, {metrics['n_instances']} instances, {metrics['n_images']} images; "
        f"normalizer {metrics['normalizer']}"
    )
    print_notes(metrics["notes"], console)
    table = Table("", "model", "95 % interval", "constant predictor")
    constant = metrics.get("constant_predictor", {})
    for name in ("mean", "median", "p90", "p95"):
        interval = metrics["epe_px"]["interval_95"].get(name)
        row = [metrics["epe_px"][name], interval, constant.get("epe_px", {}).get(name)]
        table.add_row(f"error {name}, px", *(_number(v, ".2f") for v in row))
    if "mre_mm" in metrics:
        mre, base = metrics["mre_mm"], constant.get("mre_mm", {}).get("value")
        table.add_row("error mean, mm", *(_number(v, ".2f") for v in (mre["value"], mre["interval_95"], base)))
        for threshold, rate in metrics["sdr_mm"].items():
            shares = (_number(rate[key], ".2%") for key in ("value", "interval_95"))
            table.add_row(f"SDR@{threshold} mm, %", *shares, "-")
    if "nme" in metrics:
        nme = metrics["nme"]
        table.add_row(
            "NME, %",
            *(_number(v, ".2%") for v in (nme["value"], nme["interval_95"], constant.get("nme", {}).get("value"))),
        )
    for threshold, pck in metrics["pck"].items():
        base = constant.get("pck", {}).get(threshold, {}).get("value")
        table.add_row(f"PCK@{threshold}, %", *(_number(v, ".2%") for v in (pck["value"], pck["interval_95"], base)))
    console.print(table)


def _print_per_keypoint(metrics: dict[str, Any], console: Console) -> None:
    thresholds = list(metrics["pck"])
    table = Table(
        Column("keypoint", no_wrap=True), "n", "median px", "mean px", "p95 px", *(f"@{t} %" for t in thresholds)
    )
    for row in metrics["per_keypoint"]:
        figures = [_number(row[f"epe_px_{name}"], ".2f") for name in ("median", "mean", "p95")]
        shares = [_number(row[f"pck@{t}"], ".1%") for t in thresholds]
        table.add_row(row["name"], str(row["n"]), *figures, *shares)
    console.print(table)


def _number(value: float | Sequence[float] | None, form: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, (int, float)):
        return format(value, form).rstrip("%")
    return " - ".join(format(v, form).rstrip("%") for v in value)
