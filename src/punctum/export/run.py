"""`punctum export`: a run's model as one file, checked against the model before it gets its name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

import punctum
from punctum.deploy.description import Description, Precision
from punctum.deploy.onnx_predictor import OnnxPredictor, as_bytes
from punctum.export.files import describe_onnx, write_onnx, write_pt2
from punctum.export.graph import Exported, graph_of, record
from punctum.export.int8 import quantize
from punctum.export.parity import Parity, compare, outputs_of, own_points
from punctum.export.samples import Samples, find_samples
from punctum.export.trust import LEFT_OUT, TrustGraph
from punctum.files import write_through
from punctum.kinds import kind_of
from punctum.model import KeypointModel
from punctum.predict import Predictor, load_model, model_folder
from punctum.promise import Promise
from punctum.reading import Reading, reading_of
from punctum.terminal import print_notes

ENDINGS = (".onnx", ".pt2")
BOUNDS: dict[Precision, float | None] = {"fp32": 0.01, "fp16": 0.1, "int8": None}


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        precision: of the network's arithmetic.
        calibrate_on: for int8, pictures or annotations that ranges are taken from; None: the samples.
        samples: annotations, a picture or a folder that the file is checked on; None: images that the run kept back.
        count: at most so many of either.
        bound: largest difference from the model, in pixels of the input; None: 0.01 for fp32, 0.1 for fp16, and for
            int8 it is only stated.
        calibrated: put the run's calibration into the file, where there is one.
        uint8: crops are bytes, not numbers in [0, 1]; the model is asked about the same rounded crops then.
    Raises:
        ValueError: a value is out of range.
    """

    precision: Precision = "fp32"
    calibrate_on: str | None = None
    samples: str | None = None
    count: int = 200
    bound: float | None = None
    calibrated: bool = True
    uint8: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1 sample, got {self.count}")
        if self.bound is not None and not self.bound > 0:
            raise ValueError(f"bound must be a positive number of pixels, got {self.bound:g}")
        if self.calibrate_on is not None and self.precision != "int8":
            raise ValueError("calibrate_on: only int8 takes ranges from pictures; add --int8")


def export(
    run: str | Path, out: str | Path, request: Request | None = None, *, console: Console | None = None
) -> Description:
    """Write a model as one file for other programs.

    Args:
        run: the run folder.
        out: model.onnx, or model.pt2 for torch.export.
        request: precision, and what the file is checked on.
        console: where to report; None is silent.
    Returns:
        What the file says of itself, the check's figures included.
    Raises:
        ValueError: a model that cannot be exported; a file that differs from the model by more than the bound, which
            is not written.
        ImportError: packages for ONNX are missing.
        OSError: a file cannot be read or written.
    Example:
        >>> export("runs/first", "model.onnx").parity["max_px"]  # doctest: +SKIP
        2.1e-05
    """
    run, out, request = Path(run), Path(out), request or Request()
    console = console or Console(quiet=True)
    _check_ending(out, request)
    model = load_model(run)
    _check_kind(model)
    reading, notes = _reading(model, model_folder(run)) if request.calibrated else (Reading(), [])
    print_notes(notes, console)
    predictor = Predictor(model, "cpu", reading=reading)
    samples = find_samples(run, predictor, request.samples, request.count)
    samples = samples.rounded() if request.uint8 else samples
    job = _Job(predictor, samples, request, _calibration_pictures(run, predictor, samples, request))
    console.print(f"exporting {model.config.head['name']}, {request.precision}: recording the graph")
    found: list[Description] = []
    write_through(out, lambda path: found.append(job.write(path)))
    _report(out, found[0], console)
    return found[0]


@dataclass(frozen=True, eq=False)
class _Job:
    """One export: to a temporary path, which is renamed where nothing is raised."""

    predictor: Predictor
    samples: Samples
    request: Request
    ranges: Samples | None

    def write(self, path: Path) -> Description:
        model, calibration = self.predictor.model, self.predictor.reading.calibration
        trust = None if calibration is None else TrustGraph(calibration)
        graph = graph_of(model, trust, half=self.request.precision == "fp16")
        exported = record(graph, model.config.input_size, uint8=self.request.uint8)
        description = _describe(model, self.predictor.reading.promise, exported, self.request.precision)
        if path.suffix == ".pt2":
            write_pt2(exported, path, description)
            run = _pt2_runner(path, exported, self.request.uint8)
        else:
            write_onnx(exported, path)
            if self.ranges is not None:
                quantize(path, self.ranges, exported.inputs, uint8=self.request.uint8)
            describe_onnx(path, description)
            run = OnnxPredictor(path, ["CPUExecutionProvider"]).run
        parity = self._parity(run)
        parity.check()
        description = replace(description, parity=parity.to_dict())
        if path.suffix == ".pt2":
            write_pt2(exported, path, description)
        else:
            describe_onnx(path, description)
        return description

    def _parity(self, run: Callable[..., Any]) -> Parity:
        reading, samples = self.predictor.reading, self.samples
        lengths = np.full(len(samples), np.nan)
        if reading.calibration is not None:
            lengths = samples.scales.lengths(reading.calibration.distance.normalizer)
        bound = self.request.bound if self.request.bound is not None else BOUNDS[self.request.precision]
        return compare(
            own_points(self.predictor.network, reading, samples),
            outputs_of(run, samples, lengths),
            samples,
            self.predictor.schema.names,
            self.predictor.crop.input_size,
            bound,
        )


def _check_ending(out: Path, request: Request) -> None:
    if out.suffix not in ENDINGS:
        raise ValueError(
            f"{out}: models are exported as {' or '.join(ENDINGS)}, not {out.suffix or 'without ending'}"
        )
    if request.precision == "int8" and out.suffix != ".onnx":
        raise ValueError(f"{out}: int8 is for .onnx files")


def _check_kind(model: KeypointModel) -> None:
    axes = len(model.config.input_size)
    if (model.dims, axes) != (2, 2):
        raise ValueError(f"export: this model finds {kind_of(model.dims, axes)}; files are made of models of images")


def _reading(model: KeypointModel, folder: Path) -> tuple[Reading, list[str]]:
    """How the file reads off points: as the head does; calibrated where the calibration is of that."""
    reading, note = reading_of(model, folder, None)
    if reading.decision.kind != "head":
        why = f"the calibration is of rule {reading.decision}, which has no closed form"
        return Reading(), [f"{why}: the file has the head's own coordinates and scores, not calibrated"]
    return (reading, []) if note is None else (Reading(), [note])


def _calibration_pictures(run: Path, predictor: Predictor, samples: Samples, request: Request) -> Samples | None:
    if request.precision != "int8":
        return None
    if request.calibrate_on is None:
        return samples
    return find_samples(run, predictor, request.calibrate_on, request.count)


def _describe(model: KeypointModel, promise: Promise | None, exported: Exported, precision: Precision) -> Description:
    config = model.config
    return Description(
        schema=config.schema,
        input_size=(config.input_size[0], config.input_size[1]),
        preprocessing=config.preprocessing,
        head=config.head["name"],
        precision=precision,
        any_size=exported.any_size,
        outputs=exported.outputs,
        promise=promise,
        punctum=punctum.__version__,
    )


def _pt2_runner(path: Path, exported: Exported, uint8: bool) -> Callable[..., dict[str, NDArray[Any]]]:
    module = torch.export.load(str(path)).module()

    def run(
        crops: NDArray[np.float32], to_image: NDArray[np.float64], lengths: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        image = torch.from_numpy(as_bytes(crops) if uint8 else crops)
        given = [image, *(torch.from_numpy(array).float() for array in (to_image, lengths))][: len(exported.inputs)]
        with torch.no_grad():
            return dict(zip(exported.outputs, (value.numpy() for value in module(*given)), strict=True))

    return run


def _report(out: Path, description: Description, console: Console) -> None:
    parity, bound = description.parity, description.parity["bound_px"]
    size = "any size of crops" if description.any_size else f"crops of {description.input_size} alone"
    held = "no bound" if bound is None else f"bound {bound:g} px"
    others = ", ".join(f"{name} {value:.2g}" for name, value in parity["others"].items())
    lines = [
        f"outputs: {', '.join(description.outputs)}; any batch, {size}",
        f"against the model, {parity['images']} pictures ({parity['source']}): at most {parity['max_px']:.4g} px of "
        f"the input ({parity['worst']}), median {parity['median_px']:.3g} px; {held}",
        f"largest differences of the other outputs (flags: share that differs): {others}",
    ]
    if (errors := parity["median_error_px"]) is not None:
        own, of_file = errors["model"], errors["file"]
        lines.append(f"median error by the labels: the model {own:.3f} px, the file {of_file:.3f} px")
    if description.promise is not None:
        lines.append(f"not in the file: {LEFT_OUT}")
    for line in [*lines, f"{out}: {out.stat().st_size / 2**20:.2f} MiB"]:
        console.print(line, highlight=False, markup=False)
