"""From pictures to coordinates in their own pixels."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.data import Annotations
from punctum.data.crop import CropSettings
from punctum.decision import Decision
from punctum.flip_test import mirrored_mean
from punctum.heads import Prediction
from punctum.image_prediction import ImagePrediction, as_predictions
from punctum.kinds import check_axes
from punctum.model import DESCRIPTION, KeypointModel
from punctum.points import Points
from punctum.predict_network import Network
from punctum.predict_reading import KEPT_BYTES, Crops, KeptCrops, Picture, Sample, crop_of, pixels_of, read_ahead
from punctum.promise import Promise
from punctum.reading import Reading, reading_of
from punctum.scales import Scales
from punctum.schema import Schema
from punctum.stream.boxes import Detector
from punctum.stream.items import Item
from punctum.stream.predicting import instances

Box = Sequence[float]
Spacing = Sequence[float] | NDArray[np.float64]


class Predictor:
    """A trained model that takes pictures as they come.

    Args:
        model: the network; it says itself how a picture becomes a crop.
        device: where to compute; None: the GPU where there is one.
        batch_size: pictures per forward pass, mirrored ones counted.
        flip_test: predict the mirrored picture as well, and average the two, as `mirrored_mean` says: twice the
            time for somewhat smaller errors.
        fuse: predict with `model.fuse()`: the same points to about 1e-5 of the crop, faster.
        compile: predict through `torch.compile`; worth its wait for thousands of pictures.
        reading: how what the network says becomes points: by another rule, or calibrated; `punctum.load` finds the
            calibration of a run.
    Raises:
        ValueError: a flip test of keypoints that have no flip pairs.
    Example:
        >>> Predictor(KeypointModel.load("runs/first/model")).predict(["a.jpg"])  # doctest: +SKIP
        [ImagePrediction(image='a.jpg', ...)]
    """

    def __init__(
        self,
        model: KeypointModel,
        device: str | torch.device | None = None,
        batch_size: int = 32,
        *,
        flip_test: bool = False,
        fuse: bool = True,
        compile: bool = False,
        reading: Reading | None = None,
    ) -> None:
        if flip_test and not model.config.schema.flip_pairs:
            raise ValueError(
                "flip test: the model's keypoints have no flip_pairs, so nobody knows which of them trade places in "
                "a mirrored picture; put flip_pairs into the training annotations, and train again"
            )
        self.network = Network(model, device, fuse=fuse, compile=compile)
        self.model = model
        self.batch_size = batch_size
        # Both halves of a flip test go through the network as one batch, of no more crops than without it.
        self.pictures = max(1, batch_size // 2) if flip_test else batch_size
        self.flip_test = flip_test
        self.reading = reading or Reading()
        self.crop = CropSettings.of_model(model.config.input_size, model.config.preprocessing)
        if model.dims == 1:
            raise ValueError("this model finds layers in scans: use punctum.predict_layers.LayerPredictor")
        if model.dims != len(self.crop.input_size):
            raise ValueError(
                f"the model's points have {model.dims} coordinates, its pictures {len(self.crop.input_size)} axes: "
                "there is no map from one to the other; call the KeypointModel itself"
            )

    @property
    def schema(self) -> Schema:
        """The keypoints that the model finds."""
        return self.model.config.schema

    @property
    def promise(self) -> Promise | None:
        """What scores and regions rest on; None where nothing is calibrated."""
        return self.reading.promise

    def predict(
        self,
        images: Sequence[Picture],
        boxes: Sequence[Box | None] | None = None,
        *,
        spacing: Sequence[Spacing | None] | None = None,
        on_batch: Callable[[int], object] | None = None,
    ) -> list[ImagePrediction]:
        """Find the keypoints in each picture.

        Args:
            images: paths, or arrays (H, W), (H, W, 3) or (H, W, 4) of uint8, uint16, or float in [0, 1]; RGB. For a
                model of volumes: paths of `.npy` or `.npz` files, or arrays (D, H, W).
            boxes: one (x, y[, z], width, height[, depth]) per picture in its pixels, or None for the whole picture.
            spacing: of volumes, millimetres per voxel as (x, y, z), one per volume. None: what the `.npz` file
                says, else as long on every axis.
            on_batch: called with n when n more pictures are done.
        Returns:
            One prediction per picture, in the same order.
        Raises:
            ValueError: a picture cannot be read (named), or the numbers of pictures and boxes differ.
        """
        if isinstance(images, (str, Path, np.ndarray)):
            raise ValueError("predict takes a list of pictures: put a single one in brackets")
        for word, given in (("boxes", boxes), ("spacings", spacing)):
            if given is not None and len(given) != len(images):
                raise ValueError(f"{len(images)} pictures but {len(given)} {word}")
        names = [f"array {i}" if isinstance(p, np.ndarray) else str(p) for i, p in enumerate(images)]
        points = self.points(images, boxes or [None] * len(images), on_batch, spacing)
        return as_predictions(points, names, [""] * len(names), self.schema.names)

    def stream(
        self,
        images: Iterable[Picture | Item],
        *,
        boxes: Detector | None = None,
        on_error: Callable[[str], object] | None = None,
    ) -> Iterator[ImagePrediction]:
        """Find the keypoints in pictures as they come, however many there are: memory holds a few batches.

        Args:
            images: paths or arrays, as `predict` takes them, or what `punctum.stream.video.read_video` yields.
            boxes: a function from RGB pixels (H, W, 3) to the boxes (N, 4) of its instances, as x, y, width, height;
                called with one picture at a time, in another thread.
            on_error: called with the reason where a picture cannot be read, which is left out; None: it is raised.
        Yields:
            The instances, in the order of the pictures.
        Raises:
            ValueError: a picture cannot be read (named).
        Example:
            >>> from punctum.stream.video import read_video  # doctest: +SKIP
            >>> for p in load("runs/first").stream(read_video("mouse.mp4")):  # doctest: +SKIP
            ...     print(p.frame, p.time, p.keypoints)
        """
        return instances(self, images, boxes, on_error)

    def predict_annotations(
        self, annotations: Annotations, on_batch: Callable[[int], object] | None = None
    ) -> list[ImagePrediction]:
        """Find the keypoints of every annotated instance, from its picture and box; its labels are not used."""
        points = self.annotated_points(annotations, on_batch)
        return as_predictions(points, annotations.image_names, annotations.ids, self.schema.names)

    def annotated_points(
        self,
        annotations: Annotations,
        on_batch: Callable[[int], object] | None = None,
        kept: KeptCrops | None = None,
        *,
        judge: bool = False,
    ) -> Points:
        """Those as arrays, for the metrics; `on_batch(n)` is called when n more instances are done.

        Crops that were `kept` are taken from there, instead of reading their pictures again. With `judge` what a
        calibration promises is held against the labels.
        """
        truth = np.where(annotations.labelled[..., None], annotations.keypoints, np.nan) if judge else None
        return self.points(annotations.images, list(annotations.boxes), on_batch, annotations.spacing, kept, truth)

    def keep_crops(self, annotations: Annotations, limit: int = KEPT_BYTES) -> KeptCrops:
        """A place for the crops of pictures that somebody else decodes: give its `add` to `data.inspect`."""
        lengths: Any = [None] * len(annotations) if annotations.spacing is None else annotations.spacing

        def make(i: int, image: NDArray[Any]) -> Sample:
            return self.sample(annotations.images[i], image, annotations.boxes[i], lengths[i])

        return KeptCrops(make, annotations.images, len(self.crop.input_size), limit)

    def points(
        self,
        images: Sequence[Picture],
        boxes: Sequence[Box | NDArray[np.float64] | None],
        on_batch: Callable[[int], object] | None = None,
        spacing: Sequence[Spacing | None] | NDArray[np.float64] | None = None,
        kept: KeptCrops | None = None,
        truth: NDArray[np.float64] | None = None,
    ) -> Points:
        """The same as arrays; `on_batch(n)` is called when n more pictures are done; `truth` (N, K, D), NaN where
        there is none, judges what a calibration promises."""
        parts: list[Points] = []
        whole = min(self.pictures, len(images))
        for crops, to_image, sizes in self._batches(images, boxes, spacing, kept):
            start = sum(len(part.score) for part in parts)
            rows = slice(start, start + len(sizes))
            known = None if truth is None else truth[rows]
            parts.append(self.batch_points((crops, to_image, sizes), boxes[rows], known, size=whole))
            if on_batch is not None:
                on_batch(len(sizes))
        if not parts:
            dims = len(self.crop.input_size)
            empty, no_map = np.zeros((0, len(self.schema.names), dims)), np.zeros((0, dims + 1, dims + 1))
            return Points(empty, empty[..., 0], None, no_map, np.zeros((0, dims), dtype=np.int64))
        return Points.join(parts)

    def batch_points(
        self,
        batch: Crops,
        boxes: Sequence[Box | NDArray[np.float64] | None],
        truth: NDArray[np.float64] | None = None,
        *,
        size: int | None = None,
    ) -> Points:
        """Those of one assembled batch; a compiled network fills it up to `size`, by default a whole batch."""
        crops, to_image, sizes = batch
        prediction = self._forward(crops, size or self.pictures, heatmaps=self.reading.needs_heatmaps)
        scales = Scales.of(_boxes(boxes, sizes.shape[1]), sizes)
        known = None if truth is None else torch.from_numpy(truth)
        return self.reading.points(prediction, to_image, sizes, scales, known)

    def predict_samples(
        self,
        samples: Sequence[Sample],
        boxes: Sequence[Box | None],
        reading: Reading | None = None,
        *,
        heatmaps: bool = False,
    ) -> tuple[list[ImagePrediction], Tensor | None]:
        """One batch of what `read` has made, for those who gather their own batches.

        Args:
            samples: no more than go through the network at once.
            boxes: those that the samples were read with.
            reading: another one than the predictor's own.
            heatmaps: return them, too.
        Returns:
            The predictions, and the heatmaps (B, K, *S) where they were asked for and the head has them.
        """
        reading = reading or self.reading
        crops, matrices, sizes = zip(*samples, strict=True)
        to_image, extents = torch.stack(matrices), np.array(sizes, dtype=np.int64)
        found = self._forward(torch.stack(crops), len(crops), heatmaps=heatmaps or reading.needs_heatmaps)
        scales = Scales.of(_boxes(boxes, extents.shape[1]), extents)
        points = reading.points(found, to_image, extents, scales, None)
        names = [f"array {i}" for i in range(len(crops))]
        predictions = as_predictions(points, names, [""] * len(crops), self.schema.names)
        return predictions, found.heatmap if heatmaps else None

    def heatmaps(self, annotations: Annotations) -> Iterator[tuple[Tensor, Prediction, Tensor]]:
        """What the model sees and what it makes of it, batch by batch, heatmaps included.

        Yields:
            Crops (B, C, *input_size) in [0, 1], their prediction, and the maps (B, D + 1, D + 1) from normalized crop
            coordinates to pixels; all on the CPU. One batch is held at a time.
        """
        for crops, to_image, _ in self._batches(annotations.images, list(annotations.boxes), annotations.spacing):
            yield crops, self._forward(crops, self.pictures, heatmaps=True), to_image

    def _forward(self, crops: Tensor, size: int, *, heatmaps: bool = False) -> Prediction:
        """What is said of a batch, on the CPU; `size` is that of a whole batch."""
        if not self.flip_test:
            return self.network(crops, size=size, heatmaps=heatmaps)
        both = self.network(crops, mirrored=True, size=2 * size, heatmaps=heatmaps)
        halves = both.map(lambda t: t[: len(crops)]), both.map(lambda t: t[len(crops) :])
        return mirrored_mean(*halves, self.schema.flip_order)

    def _batches(
        self,
        images: Sequence[Picture],
        boxes: Sequence[Box | NDArray[np.float64] | None],
        spacing: Sequence[Spacing | None] | NDArray[np.float64] | None,
        kept: KeptCrops | None = None,
    ) -> Iterator[Crops]:
        """Crops, their maps to pixels and the pictures' sizes; the next batches load while one is computed."""
        lengths: Sequence[Any] | NDArray[np.float64] = [None] * len(images) if spacing is None else spacing

        def load(i: int) -> Sample:
            if kept is not None and (found := kept.take(i)) is not None:
                return found
            return self.sample(images[i], self.pixels(images[i], i), boxes[i], lengths[i])

        yield from read_ahead(load, self.assemble, len(images), self.pictures)

    def assemble(self, samples: Sequence[Sample]) -> Crops:
        """Samples as one batch."""
        crops, matrices, sizes = zip(*samples, strict=True)
        batch = torch.stack(crops)
        if self.network.device.type == "cuda":
            # From pinned memory a GPU fetches the batch by itself.
            batch = batch.pin_memory()
        return batch, torch.stack(matrices), np.array(sizes, dtype=np.int64)

    def read(self, picture: Picture, box: Box | None = None) -> Sample:
        """A picture as the network gets it: its crop (C, *input_size), the map from there to pixels, and its size."""
        return self.sample(picture, self.pixels(picture, 0), box, None)

    def sample(
        self,
        picture: Picture,
        image: NDArray[Any],
        box: Box | NDArray[np.float64] | None,
        spacing: Spacing | None,
    ) -> Sample:
        """A decoded picture's crop."""
        crop, to_image, size = crop_of(picture, image, box, spacing, self.crop)
        return torch.from_numpy(crop), torch.from_numpy(to_image), size

    def pixels(self, picture: Picture, index: int) -> NDArray[Any]:
        """A picture as (*S, C), with as many axes as the model learned on."""
        return pixels_of(picture, len(self.crop.input_size), f"array {index}")


def load(
    run: str | Path,
    device: str | torch.device | None = None,
    *,
    flip_test: bool = False,
    decode: str | None = None,
    places: int = 0,
) -> Predictor:
    """Load a trained model from a run folder (or its `model` folder), ready to predict, with its calibration if any.

    Args:
        run: what `punctum train --out` made.
        device: where to compute; None: the GPU where there is one.
        flip_test: average each prediction with that of the mirrored picture.
        decode: which place of the density to say, as `punctum predict --decode` has it; None: as calibrated, else
            what the head reads off. With another rule than the calibration's there are no regions.
        places: how many likely places of each point to tell.
    Raises:
        FileNotFoundError: there is no model in the folder.
        ValueError: the model's files are broken, or a flip test of keypoints without flip pairs.
    Example:
        >>> predictor = load("runs/first")  # doctest: +SKIP
        >>> predictor.predict(["a.jpg", "b.png"])[0].keypoints  # doctest: +SKIP
    """
    model = load_model(run)
    decision = None if decode is None else Decision.parse(decode)
    reading, _ = reading_of(model, model_folder(run), decision, flip_test=flip_test, places=places)
    return Predictor(model, device, flip_test=flip_test, reading=reading)


def load_model(run: str | Path) -> KeypointModel:
    """The network of a run folder, or of its `model` folder.

    Raises:
        FileNotFoundError: there is no model in the folder.
        ValueError: the model's files are broken.
    """
    folder = model_folder(run)
    model = KeypointModel.load(folder)
    try:
        CropSettings.of_model(model.config.input_size, model.config.preprocessing)
    except ValueError as error:
        raise ValueError(f"{folder / DESCRIPTION}: {error}") from None
    return model


def model_folder(run: str | Path) -> Path:
    """Where a run's model is: its `model` folder, or the folder itself."""
    folder = Path(run)
    return folder / "model" if (folder / "model").is_dir() else folder


def check_kind(model: KeypointModel, annotations: Annotations) -> None:
    """Refuse annotations of another kind than the model was trained on: points in images or volumes, or layers.

    Raises:
        ValueError: the annotations' places or pictures have other axes.
    """
    check_axes(model.dims, 3 if len(model.config.input_size) == 3 else 2, annotations)


def _boxes(boxes: Sequence[Box | NDArray[np.float64] | None], dims: int) -> NDArray[np.float64]:
    """(B, 2 D), NaN where there is no box."""
    return np.array([[np.nan] * (2 * dims) if box is None else list(box) for box in boxes], dtype=np.float64)
