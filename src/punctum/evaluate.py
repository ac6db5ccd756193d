"""How far off a model is, on annotated images it has not seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from punctum.calibration import KINDS
from punctum.data import Annotations, inspect, read
from punctum.decision import Decision
from punctum.evaluation import Evaluation
from punctum.files import write_text
from punctum.held_out import calibrated_on
from punctum.metrics import (
    Normalizer,
    difficulty,
    distances,
    instance_areas,
    keypoint_similarity,
    mean_interval,
    oks,
    sigmas_of,
    summarize,
)
from punctum.metrics.calibration import Outcomes, summarize_trust
from punctum.metrics.difficulty import LEVELS, Criterion
from punctum.model import KeypointModel
from punctum.ops import transform_points
from punctum.points import Points
from punctum.predict import Predictor, check_kind, load_model, model_folder
from punctum.predict_layers import LayerPredictor
from punctum.predict_network import say_compiling
from punctum.progress import count
from punctum.reading import Reading, reading_of
from punctum.scales import Scales
from punctum.terminal import print_by_difficulty, print_notes, print_per_keypoint, print_table, print_trust

# Names in a message, of either side.
LISTED = 20
THRESHOLDS = (0.05, 0.1, 0.2, 0.5)
# What is told of the easy, medium and hard instances.
BY_DIFFICULTY = ("n", "n_instances", "n_images", "left_out", "epe_px", "pck", "nme", "mre_mm", "oks")


@dataclass(frozen=True)
class Protocol:
    """How errors are judged.

    Args:
        normalizer: what distances are divided by: bbox, image, pixels, head (what MPII's files give), or
            keypoints:NAME,NAME (the distance of those two points); None: bbox where every instance has a box, else
            image.
        thresholds: of PCK, in units of the normalizer.
        min_length: leave out (and count) instances whose normalizer is shorter than this many pixels.
        spacing: millimetres per pixel, for errors in mm; None: what the annotations say.
        seed: of the bootstrap.
        by: measure easy, medium and hard instances apart as well, by joints, occlusion or size.
    """

    normalizer: str | None = None
    thresholds: tuple[float, ...] = THRESHOLDS
    min_length: float = 0.0
    spacing: float | None = None
    seed: int = 0
    by: Criterion | None = None

    def __post_init__(self) -> None:
        if not self.thresholds or not all(t > 0 for t in self.thresholds):
            raise ValueError(f"thresholds must be positive numbers, got {self.thresholds}")
        if self.spacing is not None and not self.spacing > 0:
            raise ValueError(f"spacing must be positive (mm per pixel), got {self.spacing}")
        if self.by is not None and self.by not in get_args(Criterion):
            raise ValueError(f"by must be {', '.join(get_args(Criterion))}, got {self.by!r}")


def evaluate(
    run: str | Path,
    data: str | Path,
    *,
    images: str | Path | None = None,
    protocol: Protocol | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
    device: str | torch.device | None = None,
    flip_test: bool = False,
    compile: bool = False,
    decision: Decision | None = None,
    report: bool = False,
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
        flip_test: average each prediction with that of the mirrored picture.
        compile: predict through `torch.compile`.
        decision: which place of the density is said; None: that of the model's calibration, else the head's own.
        report: write report.html as well, a page to look at.
    Returns:
        What metrics.json holds: n, epe_px, pck, per_keypoint, intervals, and the same of the constant predictor,
        which puts every point at its mean place in the training crops: a model that does not beat it has
        learned nothing. Of a calibrated model "trust" says how its promises fare.
    Raises:
        ValueError: the data or protocol is wrong, or the model finds other keypoints than the data names.
        OSError: a file cannot be read or written.
    """
    run = Path(run)
    model = load_model(run)
    annotations = read(data, images)
    reading, doubt = reading_of(model, model_folder(run), decision, flip_test=flip_test)
    if doubt is not None and console is not None:
        print_notes([doubt], console)
    metrics = evaluate_model(
        model,
        annotations,
        out=out or run,
        protocol=protocol,
        console=console,
        device=device,
        flip_test=flip_test,
        compile=compile,
        run=run,
        reading=reading,
    )
    if report:
        from punctum.report.folder import write_report

        path = write_report(out or run)
        if console is not None:
            console.print(f"report:  {path}")
    return metrics


def evaluate_model(
    model: KeypointModel,
    annotations: Annotations,
    *,
    out: str | Path | None = None,
    protocol: Protocol | None = None,
    console: Console | None = None,
    device: str | torch.device | None = None,
    per_keypoint: bool = True,
    flip_test: bool = False,
    compile: bool = False,
    run: Path | None = None,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """`evaluate` for a model and annotations at hand; writes `out`/metrics.json when there is an `out`.

    `per_keypoint` says whether to print a line per keypoint as well; metrics.json holds them always. `run` is the
    model's folder, for those who read metrics.json elsewhere; `reading` says how predictions become points.
    """
    protocol, console = protocol or Protocol(), console or Console(quiet=True)
    check_kind_and_names(model, annotations)
    reading = reading or Reading()
    predictor = predictor_for(model, device, flip_test=flip_test, compile=compile, reading=reading)
    say_compiling(console, compile)
    notes, points = _inspected_points(predictor, annotations, console)
    if reading.calibration and (doubt := calibrated_on(reading.calibration.pictures, annotations)):
        notes = (*notes, doubt)
        print_notes([doubt], console)
    metrics = measure(points.keypoints, annotations, points.image_sizes, protocol, points.score)
    constant = _constant_points(model, points)
    if constant is not None:
        judged = measure(constant, annotations, points.image_sizes, protocol)
        shown = ("epe_px", "pck", "nme", "oks", "mre_mm")
        metrics["constant_predictor"] = {k: judged[k] for k in shown if k in judged}
    by = by_difficulty(points.keypoints, annotations, points.image_sizes, protocol)
    metrics = {
        **({} if run is None else {"run": str(run)}),
        "data": str(annotations.source),
        "notes": list(notes),
        "flip_test": flip_test,
        "decode": str(reading.decision),
        **metrics,
        **trust_figures(points, annotations, reading, protocol.seed),
        **({} if by is None else {"by_difficulty": by}),
    }
    print_table(metrics, console)
    if "trust" in metrics:
        print_trust(metrics["trust"], console)
    if by is not None:
        print_by_difficulty(by, console)
    if per_keypoint:
        print_per_keypoint(metrics, console)
    if out is not None:
        path = write_text(Path(out) / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        as_evaluation(points, annotations, protocol).save(out)
        console.print(f"metrics: {path}")
    return metrics


def _inspected_points(
    predictor: Predictor | LayerPredictor, annotations: Annotations, console: Console
) -> tuple[tuple[str, ...], Points]:
    """Notes and predicted points. Every picture is looked at before the first one is predicted, so that a broken one
    costs nothing; the crops of those that were decoded are kept, as many as fit, and not decoded again."""
    intensity = predictor.crop.intensity
    if isinstance(predictor, LayerPredictor):
        notes = inspect(annotations, intensity).notes
        with count(console, "evaluating", len(annotations)) as advance:
            return notes, predictor.annotated_points(annotations, advance)
    kept = predictor.keep_crops(annotations)
    notes = inspect(annotations, intensity, kept.add).notes
    with count(console, "evaluating", len(annotations)) as advance:
        return notes, predictor.annotated_points(annotations, advance, kept, judge=True)


def trust_figures(
    points: Points, annotations: Annotations, reading: Reading, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """How the promises of a calibrated model fare, as `{"trust": ...}`; nothing for others."""
    trust, calibration = points.trust, reading.calibration
    if trust is None or trust.judged is None or calibration is None:
        return {}
    judged = trust.judged
    target, visible = torch.from_numpy(annotations.keypoints), torch.from_numpy(annotations.labelled)
    keypoints = torch.from_numpy(points.keypoints)
    sigmas, areas = sigmas_of(annotations.schema), instance_areas(annotations)
    errors, word = distances(keypoints, target, visible), calibration.distance.normalizer
    figures = summarize_trust(
        errors,
        torch.from_numpy(points.score),
        names=annotations.schema.names,
        lengths=torch.from_numpy(Scales.of(annotations.boxes, points.image_sizes).lengths(word)),
        distance=calibration.distance.within,
        image_ids=torch.from_numpy(image_numbers(annotations.images)),
        levels=trust.levels,
        regions={kind: _outcomes(judged.inside[kind], judged.size[kind]) for kind in KINDS},
        joint={kind: _outcomes(judged.joint[kind], judged.joint_size[kind]) for kind in KINDS},
        level=torch.from_numpy(judged.level),
        log_prob=torch.from_numpy(judged.log_prob),
        crps=torch.from_numpy(judged.crps),
        energy=torch.from_numpy(judged.energy),
        similarity=None if sigmas is None else keypoint_similarity(errors, areas, sigmas),
        flags={name: torch.from_numpy(flag) for name, flag in trust.flags.items()},
        seed=seed,
    )
    return {"trust": {"normalizer": word, "calibration_images": list(calibration.images), **figures}}


def _outcomes(inside: NDArray[np.float64], size: NDArray[np.float64]) -> Outcomes:
    return Outcomes(torch.from_numpy(inside), torch.from_numpy(size))


def as_evaluation(points: Points, annotations: Annotations, protocol: Protocol) -> Evaluation:
    """What was predicted beside what was labelled, to keep."""
    normalizer, lengths = _lengths(annotations, points.image_sizes, protocol)
    trust = points.trust
    judged = None if trust is None else trust.judged
    return Evaluation(
        names=np.array(annotations.schema.names),
        images=np.array([str(path) for path in annotations.images]),
        ids=np.array(annotations.ids),
        keypoints=points.keypoints,
        target=np.where(annotations.labelled[..., None], annotations.keypoints, np.nan),
        score=points.score,
        lengths=lengths.numpy(),
        normalizer=np.array(str(normalizer)),
        covariance=points.covariance,
        boxes=annotations.boxes,
        level=None if judged is None else judged.level,
        log_prob=None if judged is None else judged.log_prob,
        typical=None if trust is None else trust.typical,
        flags=None if trust is None else np.stack(list(trust.flags.values()), -1),
        flag_names=None if trust is None else np.array(list(trust.flags)),
    )


def predictor_for(
    model: KeypointModel,
    device: str | torch.device | None = None,
    *,
    flip_test: bool = False,
    compile: bool = False,
    reading: Reading | None = None,
) -> Predictor | LayerPredictor:
    """What finds the model's points in pictures, or its layers in scans, which have one reading only.

    Raises:
        ValueError: another reading for layers.
    """
    if model.dims > 1:
        return Predictor(model, device, flip_test=flip_test, compile=compile, reading=reading)
    if reading is not None and reading.needs_heatmaps:
        raise ValueError("decode: layers in scans are what the head reads off; other rules are for points")
    return LayerPredictor(model, device, flip_test=flip_test, compile=compile)


def measure(
    keypoints: NDArray[np.float64],
    annotations: Annotations,
    image_sizes: NDArray[np.int64],
    protocol: Protocol,
    score: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """The metrics of predicted points (N, K, 2) in pixels, and their scores (N, K), against the labelled ones.

    With OKS where the keypoints' sigmas are known, and an area or a box of each instance.
    """
    normalizer, lengths = _lengths(annotations, image_sizes, protocol)
    target, visible = torch.from_numpy(annotations.keypoints), torch.from_numpy(annotations.labelled)
    image_ids = torch.from_numpy(image_numbers(annotations.images))
    summary = summarize(
        torch.from_numpy(keypoints),
        target,
        visible,
        names=annotations.schema.names,
        normalizer=normalizer,
        lengths=lengths,
        thresholds=protocol.thresholds,
        image_ids=image_ids,
        spacing=_spacing(annotations, protocol),
        score=None if score is None else torch.from_numpy(score),
        seed=protocol.seed,
    )
    sigmas, areas = sigmas_of(annotations.schema), instance_areas(annotations)
    if sigmas is None or areas.isnan().all():
        return summary
    values = oks(torch.from_numpy(keypoints), target, visible, areas, sigmas)
    return {**summary, "oks": _mean_over_instances(values, image_ids, protocol.seed)}


def by_difficulty(
    keypoints: NDArray[np.float64],
    annotations: Annotations,
    image_sizes: NDArray[np.int64],
    protocol: Protocol,
) -> dict[str, Any] | None:
    """`measure` of the easy, medium and hard instances apart; None where the protocol does not ask for it."""
    if protocol.by is None:
        return None
    levels = difficulty(annotations, protocol.by)
    # The default normalizer is that of all instances together, so that the three can be compared.
    protocol = replace(protocol, normalizer=_normalizer_word(annotations, protocol))
    parts: dict[str, Any] = {}
    for level in LEVELS:
        rows = np.flatnonzero(levels == level)
        parts[level] = {"n": 0, "n_instances": 0, "n_images": 0}
        if len(rows):
            part = measure(keypoints[rows], annotations.subset(rows), image_sizes[rows], protocol)
            parts[level] = {key: part[key] for key in BY_DIFFICULTY if key in part}
    return {"criterion": protocol.by, "instances_in_no_class": int((levels == "").sum()), **parts}


def _lengths(
    annotations: Annotations, image_sizes: NDArray[np.int64], protocol: Protocol
) -> tuple[Normalizer, Tensor]:
    """What errors are divided by, and how long that is for each instance, (N,)."""
    normalizer = Normalizer.parse(_normalizer_word(annotations, protocol), annotations.schema, protocol.min_length)
    lengths = normalizer.lengths(
        torch.from_numpy(annotations.keypoints),
        torch.from_numpy(annotations.labelled),
        boxes=torch.from_numpy(annotations.boxes),
        image_sizes=torch.from_numpy(image_sizes),
        heads=None if annotations.lengths is None else torch.from_numpy(annotations.lengths),
    )
    return normalizer, lengths


def _normalizer_word(annotations: Annotations, protocol: Protocol) -> str:
    boxed = bool(np.isfinite(annotations.boxes).all())
    return protocol.normalizer or ("bbox" if boxed else "image")


def _mean_over_instances(values: torch.Tensor, image_ids: torch.Tensor, seed: int) -> dict[str, Any]:
    """Mean, its 95 % interval over images, and the number of instances that have a value."""
    low, high = mean_interval([values[:, None]], image_ids, seed=seed)[:, 0].tolist()
    count = int(values.isfinite().sum())
    return {
        "value": float(values.nanmean()) if count else None,
        "interval_95": [low, high] if high - low > 1e-12 else None,
        "n_instances": count,
    }


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


def check_kind_and_names(model: KeypointModel, annotations: Annotations) -> None:
    """Refuse annotations of another kind, or of other keypoints, than the model was trained on.

    Raises:
        ValueError: they are, and which.
    """
    check_kind(model, annotations)
    ours, theirs = model.config.schema.names, annotations.schema.names
    if ours != theirs:
        raise ValueError(
            f"the model finds other keypoints than {annotations.source} names: "
            f"{_listed(ours)} against {_listed(theirs)}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= LISTED else f"{', '.join(names[:LISTED])}, ... ({len(names)})"


def _constant_points(model: KeypointModel, points: Points) -> NDArray[np.float64] | None:
    if model.config.mean_coords is None:
        return None
    mean = torch.tensor(model.config.mean_coords, dtype=torch.float64)
    to_image = torch.from_numpy(points.to_image)
    return transform_points(mean.expand(len(to_image), -1, -1), to_image).numpy()
