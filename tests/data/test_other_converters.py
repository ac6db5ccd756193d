"""Files that we write, read by the tools' own people.

Their packages are no part of the tests' environment: `make test-tools` makes one of its own; elsewhere these are
skipped.
"""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tool_files import labels

from punctum.data import Annotations, read
from punctum.data.formats import write
from punctum.schema import Schema

NAMES = ("nose", "left_ear", "right_ear")
NAN4 = np.full(4, np.nan)


@pytest.fixture
def people(tmp_path: Path) -> Annotations:
    """One in each of three pictures of different sizes; one has no left ear."""
    rng = np.random.default_rng(0)
    rows = []
    for n, (height, width) in enumerate(((40, 60), (71, 33), (64, 64))):
        # In a folder: Label Studio's converter names what it writes by what stands behind the last slash.
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{n}.png"), np.zeros((height, width, 3), np.uint8))
        points = rng.random((3, 2)) * (width - 1, height - 1)
        low, high = points.min(0), points.max(0)
        seen = np.array([2, 2 * (n != 1), 2], np.int8)
        rows.append((f"pictures/{n}.png", points, seen, np.concatenate([low, high - low])))
    return labels(tmp_path, rows, Schema(NAMES))


def test_label_studio_makes_the_same_yolo_of_it(people: Annotations, tmp_path: Path) -> None:
    converter = pytest.importorskip("label_studio_sdk.converter")
    write(people, tmp_path / "tasks.json", "label-studio")
    interface = (tmp_path / "tasks.config.xml").read_text()
    theirs = converter.Converter(config=interface, project_dir=str(tmp_path), download_resources=False)
    theirs.convert_to_yolo(str(tmp_path / "tasks.json"), str(tmp_path / "yolo"), is_dir=False)
    (tmp_path / "yolo" / "images").mkdir(exist_ok=True)
    for name in people.image_names:
        shutil.copy(tmp_path / name, tmp_path / "yolo" / "images")
    yaml = f"train: images\nkpt_shape: [3, 3]\nkpt_names: {{0: {json.dumps(NAMES)}}}\nnames: {{0: instance}}\n"
    (tmp_path / "yolo" / "data.yaml").write_text(yaml)
    found = read(tmp_path / "yolo" / "data.yaml")
    assert (found.labelled == people.labelled).all()
    np.testing.assert_allclose(found.keypoints, people.keypoints, atol=1e-9)
    np.testing.assert_allclose(found.boxes, people.boxes, atol=1e-9)


def test_datumaro_reads_the_same_points_in_cvat(people: Annotations, tmp_path: Path) -> None:
    dataset = pytest.importorskip("datumaro.components.dataset")
    shutil.copytree(tmp_path / "pictures", tmp_path / "cvat" / "images" / "pictures")
    write(people, tmp_path / "cvat" / "cvat.xml", "cvat")
    theirs = dataset.Dataset.import_from(str(tmp_path / "cvat"), "cvat")
    names = [label.name for label in next(iter(theirs.categories().values()))]
    items = {item.id: item for item in theirs}
    for n, image in enumerate(people.image_names):
        shapes = items[image.removesuffix(".png")].annotations
        points = {names[shape.label]: shape.points for shape in shapes if type(shape).__name__ == "Points"}
        for k in np.flatnonzero(people.labelled[n]):
            # Their edges are at half pixels of ours; the file has hundredths, as CVAT itself writes.
            np.testing.assert_allclose(np.array(points[NAMES[k]]) - 0.5, people.keypoints[n, k], atol=0.00501)
