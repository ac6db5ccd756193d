"""Pictures to coordinates by an exported graph, with the same crops as the model's own predictor."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import cpu_count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.crop import crop_image, crop_matrix, to_image_matrix
from punctum.data.images import as_image, read_image
from punctum.deploy.description import KEY, Description
from punctum.image_prediction import ImagePrediction, as_predictions
from punctum.points import Points, Trust
from punctum.scales import Scales
from punctum.schema import Schema

if TYPE_CHECKING:
    from punctum.data.annotations import Annotations

Picture = str | Path | NDArray[Any]
Box = Sequence[float] | NDArray[np.float64]
# A crop, its map to pixels, and (H, W) of its picture.
Sample = tuple[NDArray[np.float32], NDArray[np.float64], tuple[int, ...]]

USUAL = ("CUDAExecutionProvider", "CPUExecutionProvider")
FLAGS = ("wide", "two", "flat")
AHEAD = 2
READERS = min(16, max(4, cpu_count() or 1))


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
        self.path, self.batch_size = Path(path), batch_size
        self.session = _session(self.path, providers, threads)
        self.description = _description(self.session, self.path)
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
        found: list[ImagePrediction] = []
        for batch in self.predict_batches(zip(images, boxes or [None] * len(images), strict=True)):
            found += batch
            if on_batch is not None:
                on_batch(len(batch))
        return found

    def predict_annotations(
        self, annotations: "Annotations", on_batch: Callable[[int], object] | None = None
    ) -> list[ImagePrediction]:
        """Find the keypoints of every annotated instance, from its picture and box; its labels are not used."""
        found: list[ImagePrediction] = []
        pairs = zip(annotations.images, annotations.boxes, strict=True)
        for points in self._points(pairs):
            rows = slice(len(found), len(found) + len(points.score))
            found += as_predictions(points, annotations.image_names[rows], annotations.ids[rows], self.schema.names)
            if on_batch is not None:
                on_batch(len(points.score))
        return found

    def predict_batches(self, pictures: Iterable[tuple[Picture, Box | None]]) -> Iterator[list[ImagePrediction]]:
        """Predictions of a stream of pictures, a batch at a time; no more pictures are held than a few batches.

        Args:
            pictures: pairs of a picture and its box, as in `predict`; may go on for ever.
        Yields:
            One prediction per picture, in order, `batch_size` of them; the last batch may be shorter.
        Example:
            >>> for batch in OnnxPredictor("model.onnx").predict_batches(frames):  # doctest: +SKIP
            ...     print(len(batch))
        """
        names: deque[str] = deque()

        def named() -> Iterator[tuple[Picture, Box | None]]:
            for i, (picture, box) in enumerate(pictures):
                names.append(f"array {i}" if isinstance(picture, np.ndarray) else str(picture))
                yield picture, box

        for points in self._points(named()):
            count = len(points.score)
            images = [names.popleft() for _ in range(count)]
            yield as_predictions(points, images, [""] * count, self.schema.names)

    def read(self, picture: Picture, box: Box | None = None, name: str = "array 0") -> Sample:
        """A picture as the graph gets it: its crop (3, H, W), the map from there to pixels, and (H, W) of it."""
        image = as_image(picture, name) if isinstance(picture, np.ndarray) else read_image(picture)
        size = image.shape[:2]
        matrix = crop_matrix(None if box is None else np.asarray(box, dtype=np.float64), size, self.crop)
        return crop_image(image, matrix, self.crop), to_image_matrix(matrix, self.crop.input_size), size

    def predict_samples(self, samples: Sequence[Sample], boxes: Sequence[Box | None]) -> list[ImagePrediction]:
        """One run of what `read` has made with these boxes, for those who gather their own batches."""
        names = [f"array {i}" for i in range(len(samples))]
        return as_predictions(self._finished(samples, boxes), names, [""] * len(samples), self.schema.names)

    def run(
        self, crops: NDArray[np.float32], to_image: NDArray[np.float64], lengths: NDArray[np.float64] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name.

        Args:
            crops: (B, 3, H, W) in [0, 1], RGB.
            to_image: (B, 3, 3), from normalized crop coordinates to pixels.
            lengths: (B,) what the score's distance is counted in, for a calibrated graph; None or NaN where unknown.
        """
        known = np.full(len(crops), np.nan) if lengths is None else lengths
        every: dict[str, NDArray[Any]] = {"image": crops, "to_image": to_image, "length": known}
        given: dict[str, NDArray[Any]] = {
            i.name: every[i.name].astype(np.float32, copy=False) for i in self.session.get_inputs()
        }
        if self.takes_bytes:
            given["image"] = as_bytes(crops)
        return dict(zip(self.description.outputs, self.session.run(self.description.outputs, given), strict=True))

    def _points(self, pictures: Iterable[tuple[Picture, Box | None]]) -> Iterator[Points]:
        """Batches of points; the next pictures are read while one batch is computed."""
        numbered = enumerate(pictures)
        with ThreadPoolExecutor(READERS) as readers:

            def submitted() -> Iterator[list[tuple[Future[Sample], Box | None]]]:
                while some := list(islice(numbered, self.batch_size)):
                    yield [(readers.submit(self.read, p, box, f"array {i}"), box) for i, (p, box) in some]

            batches = submitted()
            waiting = deque(islice(batches, 1 + AHEAD))
            try:
                while waiting:
                    batch = waiting.popleft()
                    yield self._finished([sample.result() for sample, _ in batch], [box for _, box in batch])
                    waiting.extend(islice(batches, 1))
            finally:
                readers.shutdown(cancel_futures=True)

    def _finished(self, samples: Sequence[Sample], boxes: Sequence[Box | None]) -> Points:
        crops, matrices, sizes = zip(*samples, strict=True)
        to_image, image_sizes = np.stack(matrices), np.array(sizes, dtype=np.int64)
        promise = self.description.promise
        lengths = None
        if promise is not None:
            given = [[np.nan] * 4 if box is None else list(box) for box in boxes]
            lengths = Scales.of(given, image_sizes).lengths(promise.normalizer)
        found = self.run(np.stack(crops), to_image, lengths)
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
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    there = runtime.get_available_providers()
    unknown = [name for name in providers or () if name not in there]
    if unknown:
        raise ValueError(f"ONNX Runtime has no provider {', '.join(unknown)} here; there are: {', '.join(there)}")
    wanted = list(providers or (name for name in USUAL if name in there))
    try:
        return runtime.InferenceSession(str(path), options, providers=[_exact(name) for name in wanted])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is no ONNX file that ONNX Runtime can run: {reason}") from error


def _exact(provider: str) -> Any:
    """With its options: CUDA would round what convolutions multiply to ten bits, which moves points."""
    return (provider, {"use_tf32": "0"}) if provider == "CUDAExecutionProvider" else provider


def _runtime() -> ModuleType:
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
