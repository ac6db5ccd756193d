"""Every format against every other: what goes through both comes back, but for what a format cannot hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tool_files import HEIGHT, WIDTH, labels, write_images

from punctum.data import Annotations, read
from punctum.data.formats import FORMATS, as_held, format_named, format_of_output, write
from punctum.data.holds import Holds, keep
from punctum.data.round_trip import compare
from punctum.schema import Schema

FILES = {
    "coco": "a.json", "deeplabcut": "CollectedData_a.csv", "deeplabcut-h5": "CollectedData_a.h5", "sleap": "a.slp",
    "label-studio": "b.json", "cvat": "a.xml", "yolo": "set/data.yaml", "csv": "a.csv", "csv-wide": "b.csv",
}  # fmt: skip
IMAGES = ("one.png", "sub folder/twö.png", "3.png")
NAMES = ("nose, the tip", "left é", "right é", "tail_x")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("round") / "images", IMAGES)


@st.composite
def many_labels(draw: st.DrawFn, folder: Path) -> Annotations:
    """One to five instances in three pictures: any places inside, any flags, boxes or none."""
    count = draw(st.integers(1, len(NAMES)))
    x = st.floats(-0.5, WIDTH - 0.5, width=32)
    y = st.floats(-0.5, HEIGHT - 0.5, width=32)
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        seen = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count).filter(any))
        points = draw(st.lists(st.tuples(x, y), min_size=count, max_size=count))
        box = draw(st.one_of(st.none(), st.tuples(st.floats(-0.5, 20), st.floats(-0.5, 20), *[st.floats(1, 19)] * 2)))
        place = np.full(4, np.nan) if box is None else np.array(box)
        rows.append((draw(st.sampled_from(IMAGES)), np.array(points), np.array(seen, np.int8), place))
    # Formats keep instances by picture.
    rows.sort(key=lambda row: IMAGES.index(row[0]))
    pairs = ((1, 2),) if count > 2 else ()
    schema = Schema(NAMES[:count], skeleton=((0, count - 1),) if count > 1 else (), flip_pairs=pairs)
    return labels(folder, rows, replace(schema, sigmas=(0.1,) * count))


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_a_format_holds_comes_back(
    images: Path, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    before = data.draw(many_labels(images))
    path = tmp_path_factory.mktemp("out") / FILES[name]
    write(before, path, name)
    after = read(path, None if name == "yolo" else images)
    kept, _ = as_held(before, name)
    trip = compare(kept, after, ids=FORMATS[name].holds.ids)
    assert trip.differences == ()
    assert trip.points == int(kept.labelled.sum())
    assert trip.furthest < 1e-4


@pytest.mark.parametrize("first", FILES)
def test_from_any_format_into_any_other(images: Path, tmp_path: Path, first: str) -> None:
    """Places, names and labelled or not survive any two formats, since all of them hold those."""
    points = np.array([[1.25, 2.5], [30.125, 20], [59, 39], [7, 8.75]])
    flags = [np.array(row, np.int8) for row in ([2, 1, 0, 2], [0, 2, 2, 0], [1, 1, 1, 1])]
    box = np.array([0.5, 1.5, 50, 30])
    rows = [(image, points, flag, box) for image, flag in zip(IMAGES, flags, strict=True)]
    write(labels(images, rows, Schema(NAMES)), tmp_path / first / FILES[first], first)
    before = read(tmp_path / first / FILES[first], None if first == "yolo" else images)
    for second in FILES:
        path = tmp_path / second / FILES[second]
        write(before, path, second)
        after = read(path, None if second == "yolo" else images)
        assert compare(as_held(before, second)[0], after).differences == ()
        by_name = {name: after.labelled[i] for i, name in enumerate(after.image_names)}
        assert [by_name[image].tolist() for image in IMAGES] == [(flag > 0).tolist() for flag in flags]


def test_coco_tools_read_ours(images: Path, tmp_path: Path) -> None:
    rows = [("one.png", np.array([[1.5, 2.25], [3, 4]]), np.array([2, 1], np.int8), np.array([0.0, 1, 20, 10]))]
    made = labels(images, rows, Schema(("a", "b"), skeleton=((0, 1),)))
    write(replace(made, ids=("mouse:1",), areas=np.array([55.0])), tmp_path / "a.json")
    coco = COCO(str(tmp_path / "a.json"), print_function=lambda *_: None)
    (row,) = coco.loadAnns(coco.getAnnIds())
    assert row["keypoints"] == [1.5, 2.25, 2, 3, 4, 1]
    assert (row["id"], row["bbox"], row["area"], row["num_keypoints"]) == (1, [0, 1, 20, 10], 55, 2)
    assert coco.loadImgs([1])[0] | {"id": 1} == {"id": 1, "file_name": "one.png", "width": WIDTH, "height": HEIGHT}
    assert coco.loadCats([1])[0]["skeleton"] == [[1, 2]]


def test_yolo_by_the_arithmetic_of_its_documentation(images: Path, tmp_path: Path) -> None:
    """Centre and size of the box, then the points, as shares of 60 x 40: the pixel 0's centre is half a pixel in."""
    rows = [("one.png", np.array([[0.0, 0], [59, 39]]), np.array([2, 1], np.int8), np.array([-0.5, -0.5, 30, 40]))]
    write(labels(images, rows, Schema(("a", "b"))), tmp_path / "set")
    values = (tmp_path / "set" / "labels" / "train" / "one.txt").read_text().split()
    expected = [0, 0.25, 0.5, 0.5, 1, 0.5 / 60, 0.5 / 40, 2, 59.5 / 60, 39.5 / 40, 1]
    np.testing.assert_allclose(np.array(values, float), expected, atol=1e-8)


def test_what_is_lost_is_counted() -> None:
    made = labels(
        Path("x"),
        [("a.png", np.zeros((2, 2)), np.array([1, 2], np.int8), np.array([0.0, 0, 5, 5]))],
        Schema(("a", "b"), ((0, 1),), ((0, 1),), (0.1, 0.1)),
    )
    made = replace(made, areas=np.array([3.0]), lengths=np.array([4.0]), spacing=np.ones((1, 2)))
    kept, lost = keep(made, Holds(), "It")
    assert [sentence.partition(":")[0] for sentence in lost] == [
        "1 occluded flag", "1 box", "1 instance id", "1 area", "1 reference length", "1 spacing in millimetres",
        "1 skeleton edge", "1 flip pair", "2 OKS sigmas",
    ]  # fmt: skip
    assert kept.visibility.tolist() == [[2, 2]]
    assert keep(made, Holds(*[True] * 7), "It")[1] == [
        "1 reference length: It has none",
        "1 spacing in millimetres: It has none",
    ]


def test_yolo_mends_what_ultralytics_refuses(images: Path, tmp_path: Path) -> None:
    seen, nowhere = np.array([2, 2], np.int8), np.full(4, np.nan)
    rows = [
        ("one.png", np.array([[5.0, 6], [70, 6]]), seen, nowhere),
        ("one.png", np.array([[5.0, 6], [8, 9]]), seen, np.array([-5.0, 0, 20, 20])),
        ("3.png", np.array([[-9.0, 6], [70, 6]]), seen, np.array([0.0, 0, 20, 20])),
    ]
    lost = write(labels(images, rows, Schema(("a", "b"))), tmp_path / "set")
    assert [sentence.partition(" ")[0] for sentence in lost[1:]] == ["3", "1", "1", "1"]
    found = read(tmp_path / "set")
    assert found.visibility.tolist() == [[2, 0], [2, 2]]
    np.testing.assert_allclose(found.boxes, [[4, 5, 2, 2], [-0.5, 0, 15.5, 20]], atol=1e-6)
    for line in (tmp_path / "set" / "labels" / "train" / "one.txt").read_text().splitlines():
        assert all(0 <= float(cell) <= 1 for cell in line.split()[1:7])


def test_two_pictures_with_one_file_of_labels(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", ("a.png", "a.jpg"))
    rows = [(name, np.ones((1, 2)), np.array([2], np.int8), np.full(4, np.nan)) for name in ("a.png", "a.jpg")]
    with pytest.raises(ValueError, match=r"a.png and a.jpg would share one file of labels"):
        write(labels(folder, rows, Schema(("a",))), tmp_path / "set")


def test_names_that_xml_cannot_hold(images: Path, tmp_path: Path) -> None:
    rows = [("one.png", np.ones((1, 2)), np.array([2], np.int8), np.full(4, np.nan))]
    with pytest.raises(ValueError, match=r"cannot hold a name with such a character"):
        write(labels(images, rows, Schema(("a\uffffb",))), tmp_path / "a.xml")
    write(labels(images, rows, Schema(("<b & 'c\">",))), tmp_path / "a.xml")
    assert read(tmp_path / "a.xml", images).schema.names == ("<b & 'c\">",)


def test_comparing_finds_each_difference(images: Path) -> None:
    rows = [("one.png", np.ones((2, 2)), np.array([2, 1], np.int8), np.array([0.0, 0, 9, 9]))] * 2
    made = labels(images, rows, Schema(("a", "b"), ((0, 1),), ((0, 1),)))
    changes = {
        "names: a, b became b, a": {"schema": Schema(("b", "a"), ((0, 1),), ((0, 1),))},
        "skeleton: 1 edges became 0, or others": {"schema": Schema(("a", "b"), (), ((0, 1),))},
        "flip pairs: 1 became 0, or others": {"schema": Schema(("a", "b"), ((0, 1),))},
        "sigmas came back otherwise": {"schema": replace(made.schema, sigmas=(0.1, 0.2))},
        "2 flags came back as another one": {"visibility": np.array([[2, 2], [2, 2]], np.int8)},
        "4 points moved by more than 0.001 px": {"keypoints": made.keypoints + 0.01},
        "2 boxes came back otherwise": {"boxes": made.boxes + 1},
        "2 areas came back otherwise": {"areas": np.ones(2)},
        "1 id came back as another one": {"ids": ("1", "x")},
    }
    for sentence, change in changes.items():
        assert compare(made, replace(made, **change), ids=True).differences == (sentence,)
    assert compare(made, made.subset([0])).differences == ("one.png: 2 instances became 1",)
    assert compare(made, made, ids=True).differences == ()


def test_formats_are_found_by_name() -> None:
    assert {format_of_output(Path(f"x{found.ending}")) for found in FORMATS.values() if found.ending != ".mat"} == {
        "coco", "csv", "deeplabcut-h5", "sleap", "cvat", "yolo",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"no format has files like that"):
        format_of_output(Path("a.docx"))
    with pytest.raises(ValueError, match=r"format 'mpii-h5' is not written; there are: coco, "):
        format_named("mpii-h5", write=True)
    with pytest.raises(ValueError, match=r"format 'yolov3' is not known"):
        format_named("yolov3")


def test_the_interface_of_label_studio(images: Path, tmp_path: Path) -> None:
    rows = [("one.png", np.ones((2, 2)), np.array([2, 2], np.int8), np.full(4, np.nan))]
    write(labels(images, rows, Schema(('z "quoted"', "a"))), tmp_path / "ls.json", "label-studio")
    (task,) = json.loads((tmp_path / "ls.json").read_text())
    assert task["data"] == {"image": "/data/local-files/?d=one.png"}
    assert read(tmp_path / "ls.json", images).schema.names == ('z "quoted"', "a")
