"""From a request to what can be trained: the two parts of the data, settings that fit them, and what they weigh."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from punctum import backbones
from punctum.compare.judge import metric_values
from punctum.compare.plan import Load
from punctum.compare.request import Request, Variant, variant_settings
from punctum.compare.tuning import FRACTION
from punctum.data import Annotations, dataset_of, draw_images, inspect, read, split
from punctum.data.parts import write_part
from punctum.evaluate import as_evaluation
from punctum.model import KeypointModel, ModelConfig
from punctum.points import Points
from punctum.registry import options_of
from punctum.settings import TrainSettings
from punctum.train_settings import resolve


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request whose settings name the training part of the data, and both parts as they were read."""

    request: Request
    train: Annotations
    test: Annotations
    test_path: str

    def write_parts(self, source: TrainSettings) -> None:
        """Write both parts where the request's settings name them; `source` names the data as they were given."""
        if self.request.test is None:
            for path, part in ((self.request.settings.data, self.train), (self.test_path, self.test)):
                write_part(path, part, source.data, source.images)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of both parts: they differ where an image, a label or a box does, wherever the files are."""
        return {"train": _fingerprint(self.train), "test": _fingerprint(self.test)}


def prepare(request: Request, folder: Path) -> Prepared:
    """Divide the data, complete the settings, and refuse what cannot be trained or judged, before anything is.

    Args:
        request: its settings name the data as they were given.
        folder: DIR/data, where `Prepared.write_parts` puts the parts when there is no test file.
    Raises:
        ValueError: a head, stride, training size or metric does not fit the data, or an image is in both parts.
        OSError: a file cannot be read.
    """
    settings = request.settings
    data = read(settings.data, settings.images)
    if request.test is None:
        train, test = split(data, request.test_fraction, request.test_seed)
        # Whole paths: another call may come from another folder.
        train_path, images, test_path = (
            str(folder.resolve() / "train.json"),
            None,
            str(folder.resolve() / "test.json"),
        )
    else:
        train, test = data, read(request.test, request.test_images)
        train_path, images, test_path = settings.data, settings.images, request.test
        _check_apart(train, test)
    if settings.val is not None:
        _check_apart(read(settings.val, settings.val_images), test)
    heads = {
        label: replace(resolve(head, train), data=train_path, images=images) for label, head in request.heads.items()
    }
    request = replace(request, heads=heads)
    _check_models(request, train)
    _check_sizes(request, train)
    _check_protocol(request, test)
    return Prepared(request, train, test, test_path)


def loads(prepared: Prepared) -> dict[tuple[int, int], Load]:
    """What the trainings of each (size, seed) have to do."""
    request = prepared.request
    return {
        (size, seed): load_of(prepared, replace(request.settings, seed=seed, max_images=size))
        for size in request.sizes
        for seed in request.seed_numbers
    }


def tuning_load(prepared: Prepared) -> Load:
    """What a trial of the tuning has to do; it is judged by its own validation images."""
    request = prepared.request
    fraction = max(FRACTION, request.settings.val_fraction)
    settings = replace(request.settings, val=None, val_fraction=fraction, max_images=request.largest)
    load = load_of(prepared, settings)
    return replace(load, test=load.val, test_pictures=load.val_pictures)


def load_of(prepared: Prepared, settings: TrainSettings) -> Load:
    """Samples and pictures of one training with these settings."""
    if settings.val is None:
        train, val = split(prepared.train, settings.val_fraction, settings.seed)
    else:
        train, val = prepared.train, read(settings.val, settings.val_images)
    train = draw_images(train, settings.max_images, settings.seed)
    # Samples, not instances: a scan is one sample of many columns.
    samples = [len(dataset_of(part, settings.crop)) for part in (train, val, prepared.test)]
    pictures = [len(set(part.images)) for part in (train, val, prepared.test)]
    return Load(
        train=samples[0],
        val=samples[1],
        test=samples[2],
        train_pictures=pictures[0],
        val_pictures=pictures[1],
        test_pictures=pictures[2],
        batch=settings.batch_size,
    )


def speed_settings(request: Request) -> Mapping[tuple[str, int | None], TrainSettings]:
    """Settings of each head at each stride, for measuring how fast they train."""
    pairs = [(variant.head, variant.stride) for variant in request.variants() if variant.size == request.largest]
    return {
        (head, stride): variant_settings(request.heads[head], Variant(head, stride, 0), request.settings.seed, 1, {})
        for head, stride in pairs
    }


def _check_apart(train: Annotations, test: Annotations) -> None:
    if train.schema.names != test.schema.names:
        raise ValueError(f"{test.source} names other keypoints than {train.source}")
    both = {path.resolve() for path in train.images} & {path.resolve() for path in test.images}
    if both:
        raise ValueError(
            f"{len(both)} images are in {train.source} and in {test.source} (say {min(both)}): heads would be "
            "judged by what they were trained on, or chosen by"
        )


def _check_models(request: Request, data: Annotations) -> None:
    """Every network can be built: options, strides and stages fit."""
    name = request.settings.backbone["name"]
    known = backbones.available()
    if request.strides and name in known and "output_stride" not in options_of(known[name]):
        raise ValueError(f"--output-strides: backbone {name!r} has no output_stride to choose")
    for variant in request.variants():
        if variant.size != request.largest:
            continue
        settings = variant_settings(request.heads[variant.head], variant, 0, 1, {})
        crop = settings.to_dict()["crop"]
        size = crop.pop("input_size")
        config = ModelConfig(data.schema, tuple(size), settings.backbone, settings.head, crop)
        try:
            KeypointModel(config, pretrained=False)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{request.title(variant)}: {error}") from error


def _check_protocol(request: Request, test: Annotations) -> None:
    """The metric can be computed on the test data."""
    n, k, d = test.keypoints.shape
    if not test.labelled.any():
        raise ValueError(
            f"{test.source}: not one point of the test data is labelled, so nothing can be judged by them"
        )
    # Images are looked at only where their size can make a length too short.
    sizes = inspect(test).sizes if request.protocol.min_length else np.ones((n, d), dtype=np.int64)
    none = np.zeros((n, k, d))
    seen = as_evaluation(Points(none, none[..., 0], None, none, sizes), test, request.protocol)
    if not np.isfinite(metric_values(seen, request.metric)).any():
        raise ValueError(
            f"no labelled instance of the test data has a length to divide errors by, so {request.metric} cannot be "
            "computed: choose another --normalizer or --min-length, or --metric epe"
        )


def _check_sizes(request: Request, data: Annotations) -> None:
    """There are as many images as --train-sizes asks for."""
    settings = request.settings
    if settings.val is None:
        data, _ = split(data, settings.val_fraction, settings.seed)
    there = len(set(data.images))
    if max(request.sizes) > there:
        raise ValueError(
            f"--train-sizes {max(request.sizes)}: there are {there} images to train on, beside those of the test and "
            "the validation"
        )


def _fingerprint(data: Annotations) -> str:
    digest = hashlib.sha256("\n".join([*data.schema.names, *data.image_names, *data.ids]).encode())
    for array in (data.keypoints, data.visibility, data.boxes):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
