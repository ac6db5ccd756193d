"""Pictures to coordinates by an exported graph, with the same crops as the model's own predictor."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from punctum.deploy.description import KEY, Description
from punctum.deploy.graph_check import check_numbers, check_outputs
from punctum.image_prediction import ImagePrediction, as_predictions
from punctum.points import FLAGS, Points, Trust
from punctum.predict_reading import Crops, Picture, Sample, crop_of, pixels_of, read_ahead
from punctum.promise import Promise
from punctum.scales import Scales
from punctum.schema import Schema
from punctum.stream.boxes import Detector
from punctum.stream.items import Item
from punctum.stream.predicting import instances

if TYPE_CHECKING:
    from punctum.data.annotations import Annotations

Box = Sequence[float] | NDArray[np.float64]

USUAL = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxPredictor:
    """An exported model that takes pictures as they come; the interface of `punctum.predict.Predictor`.

    Args:
        path: what `punctum export --out model.onnx` wrote.
        providers: of ONNX Runtime, by preference; None: CUDA where it is there, then the CPU.
        batch_size: pictures per run of the graph.
        threads: of ONNX Runtime on the CPU; None: as many as there are cores.
    Raises:
        FileNotFoundError: there is no such file.
        ImportError: ONNX Runtime is not installed.
        ValueError: the file is no ONNX file, or none of punctum's.
    Example:
        >>> OnnxPredictor("model.onnx").predict(["a.jpg"])[0].keypoints  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        providers: Sequence[str] | None = None,
        batch_size: int = 32,
        *,
        threads: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.path = Path(path)
        self.batch_size = self.pictures = batch_size
        self.session = _session(self.path, providers, threads)
        self.description = _description(self.session, self.path)
        check_outputs(self.description, [o.name for o in self.session.get_outputs()], self.path)
        self.crop = self.description.crop
        self.takes_bytes = self.session.get_inputs()[0].type == "tensor(uint8)"

    @staticmethod
    def providers_of(device: str | None) -> list[str] | None:
        """ONNX Runtime's names of a device.

        Args:
            device: "cpu", "cuda" or "cuda:0", a provider by its own name, or None.
        Example:
            >>> OnnxPredictor.providers_of("cuda")
            ['CUDAExecutionProvider', 'CPUExecutionProvider']
        """
        if device is None or device == "cpu":
            return None if device is None else ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]
        return [device]

    @property
    def schema(self) -> Schema:
        """The keypoints that the model finds."""
        return self.description.schema

    @property
    def promise(self) -> Promise | None:
        """What scores and regions rest on; None where nothing is calibrated."""
        return self.description.promise

    def predict(
        self,
        images: Sequence[Picture],
        boxes: Sequence[Box | None] | None = None,
        *,
        on_batch: Callable[[int], object] | None = None,
    ) -> list[ImagePrediction]:
        """Find the keypoints in each picture.

        Args:
            images: paths, or arrays (H, W), (H, W, 3) or (H, W, 4) of uint8, uint16, or float in [0, 1]; RGB.
            boxes: one (x, y, width, height) per picture in its pixels, or None for the whole picture.
            on_batch: called with n when n more pictures are done.
        Returns:
            One prediction per picture, in the same order.
        Raises:
            ValueError: a picture cannot be read (named), or the numbers of pictures and boxes differ.
        """
        if isinstance(images, (str, Path, np.ndarray)):
            raise ValueError("predict takes a list of pictures: put a single one in brackets")
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"{len(images)} pictures but {len(boxes)} boxes")
        names = [f"array {i}" if isinstance(p, np.ndarray) else str(p) for i, p in enumerate(images)]
        found: list[ImagePrediction] = []
        for points in self._points(images, boxes or [None] * len(images), on_batch):
            rows = slice(len(found), len(found) + len(points.score))
            found += as_predictions(points, names[rows], [""] * len(points.score), self.schema.names)
        return found

    def predict_annotations(
        self, annotations: "Annotations", on_batch: Callable[[int], object] | None = None
    ) -> list[ImagePrediction]:
        """Find the keypoints of every annotated instance, from its picture and box; its labels are not used."""
        found: list[ImagePrediction] = []
        for points in self._points(annotations.images, list(annotations.boxes), on_batch):
            rows = slice(len(found), len(found) + len(points.score))
            found += as_predictions(points, annotations.image_names[rows], annotations.ids[rows], self.schema.names)
        return found

    def stream(
        self,
        images: Iterable[Picture | Item],
        *,
        boxes: Detector | None = None,
        on_error: Callable[[str], object] | None = None,
    ) -> Iterator[ImagePrediction]:
        """Find the keypoints in pictures as they come, however many there are; see `Predictor.stream`.

        Args:
            images: paths or arrays, as `predict` takes them, or `punctum.stream.items.Item`, which may have boxes.
            boxes: a function from RGB pixels (H, W, 3) to the boxes (N, 4) of its instances.
            on_error: called with the reason where a picture cannot be read, which is left out; None: it is raised.
        Yields:
            The instances, in the order of the pictures.
        Raises:
            ValueError: a picture cannot be read (named).
        Example:
            >>> for p in OnnxPredictor("model.onnx").stream(camera):  # doctest: +SKIP
            ...     print(p.keypoints)
        """
        return instances(self, images, boxes, on_error)

    def read(self, picture: Picture, box: Box | None = None) -> Sample:
        """A picture as the graph gets it: its crop (3, H, W), the map from there to pixels, and (H, W) of it."""
        return self.sample(picture, self.pixels(picture, 0), box, None)

    def pixels(self, picture: Picture, index: int) -> NDArray[Any]:
        """A picture as (H, W, 3)."""
        return pixels_of(picture, len(self.crop.input_size), f"array {index}")

    def sample(
        self, picture: Picture, image: NDArray[Any], box: Box | None, spacing: NDArray[np.float64] | None
    ) -> Sample:
        """A decoded picture's crop."""
        return crop_of(picture, image, box, spacing, self.crop)

    def assemble(self, samples: Sequence[Sample]) -> Crops:
        """Samples as one batch."""
        crops, matrices, sizes = zip(*samples, strict=True)
        return np.stack(crops), np.stack(matrices), np.array(sizes, dtype=np.int64)

    def predict_samples(self, samples: Sequence[Sample], boxes: Sequence[Box | None]) -> list[ImagePrediction]:
        """One run of what `read` has made with these boxes, for those who gather their own batches."""
        names = [f"array {i}" for i in range(len(samples))]
        return as_predictions(
            self.batch_points(self.assemble(samples), boxes), names, [""] * len(samples), self.schema.names
        )

    def run(
        self, crops: NDArray[np.float32], to_image: NDArray[np.float64], lengths: NDArray[np.float64] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name.

        Args:
            crops: (B, 3, H, W) in [0, 1], RGB.
            to_image: (B, 3, 3), from normalized crop coordinates to pixels.
            lengths: (B,) what the score's distance is counted in, for a calibrated graph; None or NaN where unknown.
        Raises:
            ValueError: the graph does not compute, or not what its description says.
        """
        known = np.full(len(crops), np.nan) if lengths is None else lengths
        every: dict[str, NDArray[Any]] = {"image": crops, "to_image": to_image, "length": known}
        try:
            given: dict[str, NDArray[Any]] = {
                i.name: every[i.name].astype(np.float32, copy=False) for i in self.session.get_inputs()
            }
            if self.takes_bytes:
                given["image"] = as_bytes(crops)
            found = self.session.run(self.description.outputs, given)
        except Exception as error:  # ONNX Runtime's errors have no common class of their own.
            raise ValueError(f"{self.path}: ONNX Runtime cannot run its graph: {_reason(error)}") from error
        outputs = dict(zip(self.description.outputs, found, strict=True))
        check_numbers(self.description, outputs, len(crops), self.path)
        return outputs

    def _points(
        self,
        pictures: Sequence[Picture],
        boxes: Sequence[Box | None],
        on_batch: Callable[[int], object] | None,
    ) -> Iterator[Points]:
        """Batches of points; the next pictures are read while one batch is computed."""

        def load(i: int) -> Sample:
            return self.sample(pictures[i], self.pixels(pictures[i], i), boxes[i], None)

        start = 0
        for crops in read_ahead(load, self.assemble, len(pictures), self.pictures):
            stop = start + len(crops[2])
            yield self.batch_points(crops, boxes[start:stop])
            if on_batch is not None:
                on_batch(stop - start)
            start = stop

    def batch_points(self, batch: Crops, boxes: Sequence[Box | None]) -> Points:
        """The points of one assembled batch."""
        crops, to_image, image_sizes = batch
        promise = self.promise
        lengths = None
        if promise is not None:
            given = [[np.nan] * 4 if box is None else list(box) for box in boxes]
            lengths = Scales.of(given, image_sizes).lengths(promise.normalizer)
        found = self.run(crops, to_image, lengths)
        return Points(
            keypoints=found["keypoints"].astype(np.float64),
            score=found["score"].astype(np.float64),
            covariance=_optional(found, "covariance"),
            to_image=to_image,
            image_sizes=image_sizes,
            present=_optional(found, "present"),
            trust=None if promise is None else _trust(found, promise.levels),
        )


def as_bytes(crops: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Crops in [0, 1] as bytes, for graphs that take them.

    Example:
        >>> as_bytes(np.array([0.0, 0.5, 1.0], dtype=np.float32))
        array([  0, 128, 255], dtype=uint8)
    """
    return np.rint(255 * crops).astype(np.uint8)


def _optional(found: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64] | None:
    return found[name].astype(np.float64) if name in found else None


def _trust(found: Mapping[str, NDArray[Any]], levels: tuple[float, ...]) -> Trust:
    return Trust(
        levels=levels,
        radius=found["radius"].astype(np.float64),
        factor=found["factor"].astype(np.float64),
        area=None,
        flags={name: found[name] for name in FLAGS},
        typical=found["typical"].astype(np.float64),
    )


def _session(path: Path, providers: Sequence[str] | None, threads: int | None) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: `punctum export RUN --out {path.name}` makes one")
    runtime = onnx_runtime()
    options = runtime.SessionOptions()
    # What it cannot do is raised, and told in our words: nothing of it belongs on the terminal beside them.
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    there = runtime.get_available_providers()
    unknown = [name for name in providers or () if name not in there]
    if unknown:
        raise ValueError(f"ONNX Runtime has no provider {', '.join(unknown)} here; there are: {', '.join(there)}")
    wanted = list(providers or (name for name in USUAL if name in there))
    exact = [_exact(name) for name in wanted]
    try:
        # It prints that it falls back to the CPU even where there is nothing else to fall back from.
        return runtime.InferenceSession(str(path), options, providers=exact, enable_fallback=len(exact) > 1)
    except Exception as error:  # ONNX Runtime's errors have no common class of their own.
        raise ValueError(f"{path} is no ONNX file that ONNX Runtime can run: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _exact(provider: str) -> Any:
    """With its options: CUDA would round what convolutions multiply to ten bits, which moves points."""
    return (provider, {"use_tf32": "0"}) if provider == "CUDAExecutionProvider" else provider


def onnx_runtime() -> ModuleType:
    """ONNX Runtime, or how to get it.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"exported models run in ONNX Runtime: pip install 'punctum[onnx]' ({error})") from error
    return onnxruntime


def _description(session: Any, path: Path) -> Description:
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ValueError(f"{path} does not say what it is: punctum runs what `punctum export` wrote")
    try:
        return Description.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
