"""How far off a model is, on annotated images it has not seen."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from punctum.calibration import KINDS
from punctum.data import Annotations, inspect, read
from punctum.decision import Decision
from punctum.evaluation import Evaluation
from punctum.files import write_text
from punctum.held_out import calibrated_on
from punctum.judging import Protocol, by_difficulty, image_numbers, lengths_of, measure
from punctum.metrics import (
    distances,
    instance_areas,
    keypoint_similarity,
    sigmas_of,
)
from punctum.metrics.calibration import Outcomes, summarize_trust
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
    normalizer, lengths = lengths_of(annotations, points.image_sizes, protocol)
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
