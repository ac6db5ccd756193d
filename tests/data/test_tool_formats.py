"""Label Studio, CVAT, YOLO-pose: files as those tools write them, and files that want to do harm."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tool_files import BOX, CVAT, LABEL_STUDIO, MEANT, YOLO_A, YOLO_B, YOLO_YAML, write_images

from punctum.data import DataError, read, read_cvat, read_label_studio, read_yolo


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A data set of YOLO-pose; its yaml file."""
    root = tmp_path / "set"
    write_images(root / "images" / "train")
    write_images(root / "images" / "val", ("c.png",))
    for split, name, text in (("train", "a", YOLO_A), ("train", "b", YOLO_B), ("val", "c", YOLO_A)):
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        (root / "labels" / split / f"{name}.txt").write_text(text)
    (root / "data.yaml").write_text(YOLO_YAML.format(path=root))
    return root / "data.yaml"


def test_label_studio(images: Path, tmp_path: Path) -> None:
    (tmp_path / "ls.json").write_text(LABEL_STUDIO)
    found = read(tmp_path / "ls.json")
    assert found.schema.names == ("nose", "tail")
    np.testing.assert_allclose(found.keypoints, MEANT, atol=1e-12)
    assert found.visibility.tolist() == [[2, 1], [2, 0]]
    np.testing.assert_allclose(found.boxes[0], BOX)
    assert np.isnan(found.boxes[1]).all()
    assert [path.name for path in found.images] == ["a.png", "b.png"]


def test_label_studio_in_the_order_of_its_interface(images: Path, tmp_path: Path) -> None:
    (tmp_path / "ls.json").write_text(LABEL_STUDIO)
    interface = (
        '<View><KeyPointLabels name="k" toName="i"><Label value="tail"/><Label value="nose"/></KeyPointLabels></View>'
    )
    (tmp_path / "ls.config.xml").write_text(interface)
    assert read_label_studio(tmp_path / "ls.json").schema.names == ("tail", "nose")
    indexed = interface.replace('"tail"', '"tail" model_index="1"').replace('"nose"', '"nose" model_index="0"')
    (tmp_path / "ls.config.xml").write_text(indexed)
    assert read_label_studio(tmp_path / "ls.json").schema.names == ("nose", "tail")


def test_cvat(images: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(CVAT)
    found = read(tmp_path / "annotations.xml")
    assert found.schema.names == ("nose", "tail")
    assert found.schema.skeleton == ((0, 1),)
    np.testing.assert_allclose(found.keypoints, MEANT, atol=1e-12)
    assert found.visibility.tolist() == [[2, 1], [2, 0]]
    np.testing.assert_allclose(found.boxes[0], BOX)
    assert {"1 box that no group joins to points left out", "1 shape <polygon> left out"} <= set(found.notes)


@pytest.mark.parametrize("way", ["yaml", "folder", "labels", "images"])
def test_yolo(yolo: Path, way: str) -> None:
    root = yolo.parent
    places = {"yaml": yolo, "folder": root, "labels": root / "labels" / "train", "images": root / "images" / "train"}
    found = read(places[way])
    assert found.schema.names == ("nose", "tail")
    np.testing.assert_allclose(found.keypoints, MEANT, atol=1e-12)
    assert found.visibility.tolist() == [[2, 1], [2, 0]]
    np.testing.assert_allclose(found.boxes, [BOX, [-0.5, -0.5, 60, 40]])


def test_yolo_one_split_at_a_time(yolo: Path) -> None:
    assert any("give the folder of labels, labels/val" in note for note in read_yolo(yolo).notes)
    assert read(yolo.parent / "labels" / "val").image_names == ("c.png",)


def test_yolo_moved_elsewhere(yolo: Path) -> None:
    moved = yolo.parent.rename(yolo.parent.parent / "moved")
    assert len(read(moved / "data.yaml")) == 2


def test_yolo_mirror_image(yolo: Path) -> None:
    """Ultralytics mirrors a share s into 1 - s; ours of a picture w wide is x into w - 1 - x. They must agree."""
    before = read_yolo(yolo).keypoints[1, 0, 0]
    (yolo.parent / "labels" / "train" / "b.txt").write_text("0 0.5 0.5 1 1 0.9 0.1 2 0 0 0\n")
    assert read_yolo(yolo).keypoints[1, 0, 0] == pytest.approx(60 - 1 - before)


def test_yolo_without_visibilities(yolo: Path) -> None:
    yolo.write_text(yolo.read_text().replace("[2, 3]", "[2, 2]"))
    (yolo.parent / "labels" / "train" / "a.txt").write_text("0 .35 .5 .5 .5 .5 .5 0 1\n")
    (yolo.parent / "labels" / "train" / "b.txt").write_text("0 .5 .5 1 1 .1 .1 0 0\n")
    found = read_yolo(yolo)
    assert found.visibility.tolist() == [[2, 2], [2, 0]]
    assert "1 point at 0 0 taken as not labelled" in found.notes


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


LS_MISTAKES = {
    "not tasks": ('{"tasks": [{"result": []}]}', r"expected a list of tasks, got an object"),
    "no size": (changed(LABEL_STUDIO, '"original_width": 60', '"original_width": 0'), r"region box1: original_width"),
    "no place": (
        changed(LABEL_STUDIO, '"x": 50', '"x": "left"'),
        r"\(image a.png\), region box1, region p1: x, y",
    ),
    "two names": (
        changed(LABEL_STUDIO, '["nose"]', '["nose", "ear"]'),
        r"region p1: keypointlabels should be a list",
    ),
    "twice": (changed(LABEL_STUDIO, '["tail"]', '["nose"]'), r"keypoint nose stands twice"),
    "turned": (changed(LABEL_STUDIO, '"image_rotation": 0', '"image_rotation": 90'), r"was turned in Label Studio"),
    "no picture": (changed(LABEL_STUDIO, '"image": "s3', '"text": "s3://x.txt", "z": 3, "y": "s3'), None),
    "no image": (changed(LABEL_STUDIO, "/data/upload/1/a.png", "no.png"), r"there is no image .*no.png"),
    "outside": (changed(LABEL_STUDIO, "/data/upload/1/a.png", "/data/local-files/?d=../../etc/x.png"), r"leads out"),
    "deep": ("[" * 100_000 + '"result"', r"not JSON"),
}


@pytest.mark.parametrize("case", LS_MISTAKES)
def test_mistakes_in_label_studio(images: Path, tmp_path: Path, case: str) -> None:
    text, message = LS_MISTAKES[case]
    (tmp_path / "ls.json").write_text(text)
    if message is None:
        assert len(read_label_studio(tmp_path / "ls.json")) == 2
        return
    with pytest.raises(DataError, match=message):
        read_label_studio(tmp_path / "ls.json")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{("&" + a + ";") * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CVAT_MISTAKES = {
    "bomb": (f"{BOMB}]><annotations>&i;</annotations>", r"document type"),
    "foreign file": (
        '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotations>&f;</annotations>',
        r"docum",
    ),
    "entity": ("<annotations>&unknown;</annotations>", r"not XML"),
    "deep": ("<annotations>" + "<a>" * 10_000, r"nested more than 64 deep"),
    "cut off": (CVAT[:700], r"not XML"),
    "other root": ("<svg/>", r"expected <annotations> of CVAT, got <svg>"),
    "video": ("<annotations><track id='0'/></annotations>", r"tracks of a video"),
    "place": (
        changed(CVAT, "30.00,20.00", "30.00"),
        r"instance 1, point nose: points should be one place",
    ),
    "twice": (changed(CVAT, 'label="tail" source', 'label="nose" source'), r"point nose: it stands twice"),
    "flag": (changed(CVAT, 'occluded="1"', 'occluded="yes"'), r"outside and occluded of 0 or 1"),
    "box": (changed(CVAT, 'xtl="6.0"', 'xtl="nan"'), r"xtl, ytl, xbr, ybr should be"),
    "outside": (changed(CVAT, "a.png", "../../a.png"), r"leads out of the image folder"),
}


@pytest.mark.parametrize("case", CVAT_MISTAKES)
def test_mistakes_in_cvat(images: Path, tmp_path: Path, case: str) -> None:
    text, message = CVAT_MISTAKES[case]
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_cvat(tmp_path / "a.xml")


DOUBLED = (f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
YAML_BOMB = "a: &a [x,x]\n" + "".join(DOUBLED)
YOLO_MISTAKES = {
    "bomb": (lambda y: y.write_text(YAML_BOMB + "kpt_shape: [2, 3]"), r"alias"),
    "object": (lambda y: y.write_text("kpt_shape: !!python/object/apply:os.getcwd []"), r"not YAML"),
    "list": (lambda y: y.write_text("- kpt_shape"), r"expected path, train"),
    "deep": (lambda y: y.write_text("kpt_shape: " + "[" * 3000), r"not YAML"),
    "shape": (lambda y: y.write_text(changed(y.read_text(), "[2, 3]", "[2]")), r"kpt_shape should be"),
    "flip": (lambda y: y.write_text(changed(y.read_text(), "[0, 1]", "[1, 1]")), r"flip_idx should be each index"),
    "names": (lambda y: y.write_text(changed(y.read_text(), "[nose, tail]", "[nose]")), r"kpt_names should be 2"),
    "no folder": (lambda y: y.write_text(changed(y.read_text(), "images/train", "nowhere")), r"there is no folder"),
    "numbers": (lambda y: _label(y, "0 1 2"), r"a.txt, line 1: expected 11 numbers .*got 3"),
    "text": (lambda y: _label(y, YOLO_A.replace("0.35", "x")), r"a.txt, line 1: .*some are no numbers"),
    "flags": (lambda y: _label(y, YOLO_A.replace(" 2 ", " 3 ")), r"a.txt, line 1: visibilities should be 0, 1 or 2"),
    "empty": (lambda y: [_label(y, ""), _label(y, "", "b")], r"no labels of images"),
}  # fmt: skip


def _label(yaml: Path, text: str, name: str = "a") -> None:
    (yaml.parent / "labels" / "train" / f"{name}.txt").write_text(text)


@pytest.mark.parametrize("case", YOLO_MISTAKES)
def test_mistakes_in_yolo(yolo: Path, case: str) -> None:
    change, message = YOLO_MISTAKES[case]
    change(yolo)
    with pytest.raises(DataError, match=message):
        read_yolo(yolo)


def test_readers_tell_formats_apart(images: Path, tmp_path: Path, write_coco: Callable[..., Path]) -> None:
    """A folder with results and settings beside one file of labels still means that file."""
    (tmp_path / "ls.json").write_text(LABEL_STUDIO)
    (tmp_path / "points.csv").write_text("image,instance,keypoint,x,y,score\na.png,,nose,1,2,0.5\n")
    assert read(tmp_path).source.name == "ls.json"
    assert read(write_coco()).schema.names == ("nose", "left_eye", "right_eye")
    assert json.loads(LABEL_STUDIO)[0]["id"] == 7
