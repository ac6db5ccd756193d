"""Annotated images in, training batches out. What is torch's is imported when it is asked for: crops need none."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from punctum.data.annotations import Annotations, Batch
    from punctum.data.augment import Augmentation
    from punctum.data.coco import read_coco
    from punctum.data.crop import CropSettings, crop_image, crop_matrix, to_image_matrix, warp
    from punctum.data.cvat import read_cvat
    from punctum.data.dataset import EpochSampler, KeypointDataset, collate, dataset_of
    from punctum.data.deeplabcut import read_deeplabcut
    from punctum.data.deeplabcut_h5 import read_deeplabcut_h5
    from punctum.data.drafts import Draft, develop
    from punctum.data.errors import DataError
    from punctum.data.formats import write
    from punctum.data.images import ImageError, image_size, read_image, to_unit
    from punctum.data.inspection import Inspection, check_images, inspect
    from punctum.data.label_studio import read_label_studio
    from punctum.data.landmarks import read_volumes_csv, read_volumes_json
    from punctum.data.layers import read_layers
    from punctum.data.matching import Predictions
    from punctum.data.mpii import read_mpii_h5, read_mpii_json
    from punctum.data.mpii_mat import read_mpii_mat
    from punctum.data.point_csv import read_point_csv
    from punctum.data.predictions import read_predictions
    from punctum.data.readers import read
    from punctum.data.sleap import read_sleap
    from punctum.data.splitting import draw_images, split
    from punctum.data.volumes import read_picture, read_volume
    from punctum.data.windows import Windows
    from punctum.data.yolo import read_yolo

__all__ = [
    "Annotations",
    "Augmentation",
    "Batch",
    "CropSettings",
    "DataError",
    "Draft",
    "EpochSampler",
    "ImageError",
    "Inspection",
    "KeypointDataset",
    "Predictions",
    "Windows",
    "check_images",
    "collate",
    "crop_image",
    "crop_matrix",
    "dataset_of",
    "develop",
    "draw_images",
    "image_size",
    "inspect",
    "read",
    "read_coco",
    "read_cvat",
    "read_deeplabcut",
    "read_deeplabcut_h5",
    "read_image",
    "read_label_studio",
    "read_layers",
    "read_mpii_h5",
    "read_mpii_json",
    "read_mpii_mat",
    "read_picture",
    "read_point_csv",
    "read_predictions",
    "read_sleap",
    "read_volume",
    "read_volumes_csv",
    "read_volumes_json",
    "read_yolo",
    "split",
    "to_image_matrix",
    "to_unit",
    "warp",
    "write",
]

_HOMES = {
    "annotations": ("Annotations", "Batch"),
    "augment": ("Augmentation",),
    "coco": ("read_coco",),
    "crop": ("CropSettings", "crop_image", "crop_matrix", "to_image_matrix", "warp"),
    "cvat": ("read_cvat",),
    "dataset": ("EpochSampler", "KeypointDataset", "collate", "dataset_of"),
    "deeplabcut": ("read_deeplabcut",),
    "deeplabcut_h5": ("read_deeplabcut_h5",),
    "drafts": ("Draft", "develop"),
    "errors": ("DataError",),
    "formats": ("write",),
    "images": ("ImageError", "image_size", "read_image", "to_unit"),
    "inspection": ("Inspection", "check_images", "inspect"),
    "label_studio": ("read_label_studio",),
    "landmarks": ("read_volumes_csv", "read_volumes_json"),
    "layers": ("read_layers",),
    "matching": ("Predictions",),
    "mpii": ("read_mpii_h5", "read_mpii_json"),
    "mpii_mat": ("read_mpii_mat",),
    "point_csv": ("read_point_csv",),
    "predictions": ("read_predictions",),
    "readers": ("read",),
    "sleap": ("read_sleap",),
    "splitting": ("draw_images", "split"),
    "volumes": ("read_picture", "read_volume"),
    "windows": ("Windows",),
    "yolo": ("read_yolo",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # PEP 562: an exported model predicts with crops and readers alone, where torch is not installed.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
