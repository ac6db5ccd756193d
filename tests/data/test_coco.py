"""What a COCO file says comes out; what is wrong with it is told, all of it, with file and row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from punctum.data import DataError, read_coco

Write = Callable[..., Path]


def test_everything_a_good_file_says(write_coco: Write) -> None:
    path = write_coco()
    found = read_coco(path)
    assert found.schema.to_dict() == {
        "names": ("nose", "left_eye", "right_eye"),
        "skeleton": ((0, 1), (0, 2)),  # from 0 here, from 1 in the file
        "flip_pairs": ((1, 2),),
        "sigmas": (0.026, 0.025, 0.025),
    }
    assert found.image_names == ("a.png", "a.png", "b.png")
    assert found.images[0] == path.parent / "images" / "a.png"
    assert found.ids == ("1", "2", "3")
    assert found.visibility.tolist() == [[2, 1, 2], [2, 0, 2], [2, 2, 2]]
    assert found.keypoints[0].tolist() == [[10.25, 12.5], [8, 9], [14, 9]]
    assert np.isnan(found.keypoints[1]).tolist() == [[False, False], [True, True], [False, False]]
    assert found.boxes[:2].tolist() == [[5, 6, 20, 10], [30, 5, 20, 20]]
    assert np.isnan(found.boxes[2]).all()
    assert found.source == path
    assert found.notes == ("1 instance without a box: the whole image counts", "1 crowd (iscrowd) skipped")


def test_v0_is_missing_whatever_stands_beside_it(write_coco: Write) -> None:
    found = read_coco(write_coco(lambda c: c["annotations"][0].update(keypoints=[None, "x", 0, 7, 7, 0, 1, 2, 2])))
    assert np.isnan(found.keypoints[0, :2]).all()
    assert found.visibility[0].tolist() == [0, 0, 2]


def test_schema_keys_are_optional(write_coco: Write) -> None:
    def bare(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 1, "name": "person", "keypoints": ["a", "b", "c"]}]

    schema = read_coco(write_coco(bare)).schema
    assert (schema.skeleton, schema.flip_pairs, schema.sigmas) == ((), (), None)


@pytest.mark.parametrize("box", [None, [], [1, 2, 0, 0], [1, 2, 5, 0]])
def test_a_box_without_area_is_no_box(write_coco: Write, box: Any) -> None:
    found = read_coco(write_coco(lambda c: c["annotations"][0].update(bbox=box)))
    assert np.isnan(found.boxes[0]).all()
    assert "2 instances without a box: the whole image counts" in found.notes


def test_areas_are_the_files_own(write_coco: Write) -> None:
    assert read_coco(write_coco()).areas is None
    found = read_coco(write_coco(lambda c: [c["annotations"][i].update(area=a) for i, a in ((0, 120.5), (1, 0))]))
    assert found.areas is not None
    assert found.areas[0] == 120.5
    assert np.isnan(found.areas[1:]).all()  # Zero is none.
    assert found.subset([2, 0]).areas is not None
    assert found.subset([2, 0]).areas.tolist()[1] == 120.5
    for wrong in (-1, "big", float("inf")):
        with pytest.raises(DataError, match="area should be a finite number of square pixels"):
            read_coco(write_coco(lambda c, wrong=wrong: c["annotations"][0].update(area=wrong)))


def test_what_is_left_out_is_counted(write_coco: Write) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0].update(keypoints=[0] * 9, num_keypoints=0)
        content["annotations"][1]["num_keypoints"] = 3
        content["categories"].append({"id": 2, "name": "car"})
        content["annotations"].append({"id": 8, "image_id": 10, "category_id": 2, "bbox": [1, 1, 2, 2]})
        content["annotations"].append({"id": 9, "image_id": 10, "category_id": 1})
        content["images"].append({"id": 12, "file_name": "never_copied.png"})

    found = read_coco(write_coco(change))
    assert found.ids == ("2", "3")
    assert set(found.notes) == {
        "2 instances without a labelled keypoint left out",
        "1 annotation whose num_keypoints is not the number of labelled points",
        "1 annotation of other categories skipped",
        "1 image without an annotation",
        "1 crowd (iscrowd) skipped",
        "2 instances without a box: the whole image counts",
    }


def test_points_at_the_origin_and_boxless_crowds_of_instances_are_noted(write_coco: Write) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["keypoints"][:2] = [0, 0]
        for row in content["annotations"]:
            row.pop("bbox", None)

    notes = read_coco(write_coco(change)).notes
    assert "1 labelled point exactly at (0, 0): meant as missing?" in notes
    assert any(n.startswith("1 image with several instances that have no box") for n in notes)


@pytest.mark.parametrize("folder", ["data/images", "images", "data", "data/train", "data/images/train", "elsewhere"])
def test_where_images_are_looked_for(write_coco: Write, tmp_path: Path, folder: str) -> None:
    path = write_coco()
    images = (path.parent / "images").rename(tmp_path / "moved")
    target = tmp_path / folder
    target.mkdir(parents=True, exist_ok=True)
    for image in images.iterdir():
        image.rename(target / image.name)
    found = read_coco(path, images=target if folder == "elsewhere" else None)
    assert found.images[0] == target / "a.png"


def test_cocos_own_layout(write_coco: Write, tmp_path: Path) -> None:
    path = write_coco(name="person_keypoints_val2017.json")
    (path.parent / "images").rename(tmp_path / "val2017")
    assert read_coco(path).images[0] == tmp_path / "val2017" / "a.png"


def test_no_image_at_all_lists_the_folders(write_coco: Write) -> None:
    path = write_coco()
    (path.parent / "images").rename(path.parent / "pictures")
    with pytest.raises(DataError, match=r"train.json: no image is found; looked for 'a.png'.* in: .*data/images, "):
        read_coco(path)


def set_in(*keys: Any) -> Callable[[dict[str, Any]], None]:
    """A change that puts the last value at the place that the others lead to."""
    *way, last, value = keys

    def change(content: Any) -> None:
        for key in way:
            content = content[key]
        content[last] = value

    return change


def point(position: int, value: Any) -> Callable[[dict[str, Any]], None]:
    return set_in("annotations", 0, "keypoints", position, value)


MISTAKES = {
    "missing image": (
        set_in("images", 1, "file_name", "c.png"),
        r"train.json: annotation 3 \(image c.png\): there is no image .*images/c.png",
    ),
    "parent": (
        set_in("images", 1, "file_name", "../../b.png"),
        r"annotation 3 \(image ../../b.png\): image name '../../b.png' leads out",
    ),
    "absolute": (set_in("images", 1, "file_name", "/etc/passwd"), r"annotation 3 .*'/etc/passwd' leads out"),
    "windows": (set_in("images", 1, "file_name", "C:\\b.png"), r"annotation 3 .* leads out"),
    "no name": (set_in("images", 1, "file_name", 5), r"train.json: image 11: file_name 5 is not a name"),
    "too few": (
        set_in("annotations", 0, "keypoints", [1, 2, 2]),
        r"train.json: annotation 1 \(image a.png\): keypoints: expected 9 numbers, .* of 3 points, got 3 numbers",
    ),
    "no list": (set_in("annotations", 0, "keypoints", "1 2 2"), r"annotation 1 .* got a text"),
    "nan": (
        point(0, float("nan")),
        r"annotation 1 \(image a.png\): keypoint nose: .* \(nan, 12.5\) is not two finite",
    ),
    "infinite": (point(4, float("inf")), r"annotation 1 .*: keypoint left_eye: .* \(8, inf\)"),
    "text": (point(0, "10"), r"annotation 1 .*: keypoint nose: .* \('10', 12.5\)"),
    "null": (point(0, None), r"annotation 1 .*: keypoint nose: .* \(None, 12.5\)"),
    "bool": (point(0, True), r"annotation 1 .*: keypoint nose: .* \(True, 12.5\)"),
    "huge": (point(0, 10**400), r"annotation 1 .*: keypoint nose: "),
    "nested": (point(0, [1]), r"annotation 1 .*: keypoint nose: "),
    "visibility": (point(2, 3), r"annotation 1 .*: keypoint nose: visibility 3 is not 0, 1 or 2"),
    "half visible": (point(2, 0.5), r"keypoint nose: visibility 0.5 is not"),
    "annotation id": (set_in("annotations", 1, "id", 1), r"train.json: annotation 1: its id is taken"),
    "image id": (
        lambda c: c["images"].append({"id": 10, "file_name": "b.png"}),
        r"train.json: image 10: its id is taken",
    ),
    "no annotation id": (lambda c: c["annotations"][1].pop("id"), r"annotation at position 1: it has no id"),
    "odd id": (set_in("annotations", 1, "id", [1]), r"annotation at position 1: id \[1\] is neither"),
    "dangling image": (
        set_in("annotations", 0, "image_id", 99),
        r"annotation 1: image_id 99 is not among the images",
    ),
    "odd image": (set_in("annotations", 0, "image_id", [10]), r"annotation 1: image_id \[10\] is not among"),
    "dangling category": (
        set_in("annotations", 0, "category_id", 7),
        r"annotation 1 \(image a.png\): category_id 7 is not among the categories",
    ),
    "no category": (set_in("categories", []), r"train.json: categories: there is none"),
    "no keypoints": (
        set_in("categories", [{"id": 1, "name": "person"}]),
        r"categories: none lists its keypoints: 'person'",
    ),
    "box": (set_in("annotations", 0, "bbox", [1, 2, 3]), r"annotation 1 .*: bbox should be \[x, y, width, height\]"),
    "box of text": (set_in("annotations", 0, "bbox", [1, 2, "3", 4]), r"annotation 1 .*: bbox should be four finite"),
    "box inside out": (set_in("annotations", 0, "bbox", [1, 2, -3, 4]), r"annotation 1 .*: bbox should be four"),
    "flip range": (
        set_in("categories", 0, "flip_pairs", [[1, 3]]),
        r"train.json: category 'person': flip pair \(1, 3\) is out of range for 3 keypoints \(indices count from 0\)",
    ),
    "flip involution": (
        set_in("categories", 0, "flip_pairs", [[1, 2], [2, 0]]),
        r"'right_eye' stands in two flip pairs, \(1, 2\) and \(2, 0\)",
    ),
    "flip itself": (set_in("categories", 0, "flip_pairs", [[0, 0]]), r"pairs 'nose' with itself"),
    "flip shape": (set_in("categories", 0, "flip_pairs", [[1, 2], 7]), r"flip_pairs\[1\] should be a pair .* got 7"),
    "flip kind": (
        set_in("categories", 0, "flip_pairs", {"1": 2}),
        r"flip_pairs should be a list of pairs, got an obj",
    ),
    "skeleton zero": (
        set_in("categories", 0, "skeleton", [[1, 2], [0, 1]]),
        r"category 'person': skeleton\[1\] is \[0, 1\]: indices count from 1 to 3",
    ),
    "skeleton range": (
        set_in("categories", 0, "skeleton", [[1, 4]]),
        r"skeleton\[0\] is \[1, 4\]: indices count from 1",
    ),
    "sigmas": (set_in("categories", 0, "sigmas", [0.1]), r"category 'person': 1 sigmas for 3 keypoints"),
    "odd sigmas": (set_in("categories", 0, "sigmas", [0.1, "a", 1]), r"sigmas should be a list of positive numbers"),
    "names": (set_in("categories", 0, "keypoints", ["a", "a", "b"]), r"keypoint name 'a' stands twice"),
    "odd names": (set_in("categories", 0, "keypoints", ["a", 5, "b"]), r"keypoints\[1\] should be a name, got 5"),
    "odd row": (set_in("annotations", 1, 5), r"train.json: annotations\[1\]: expected an object, got a number"),
    "no table": (lambda c: c.pop("images"), r"train.json: 'images' should be a list, is missing"),
    "odd table": (set_in("categories", {}), r"train.json: 'categories' should be a list, got an object"),
    "empty": (
        lambda c: [a.update(keypoints=[0] * 9) for a in c["annotations"]],
        r"train.json: there is nothing to learn from: 3 instances, none with a labelled keypoint",
    ),
    "no rows": (set_in("annotations", []), r"train.json: there is nothing to learn from: no instance"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_names_file_and_row(write_coco: Write, case: str) -> None:
    change, message = MISTAKES[case]
    path = write_coco(change)
    with pytest.raises(DataError, match=message) as caught:
        read_coco(path)
    assert len(caught.value.mistakes) == 1, caught.value


def test_all_mistakes_at_once(write_coco: Write) -> None:
    def change(content: dict[str, Any]) -> None:
        for case in ("visibility", "nan", "flip range", "skeleton zero"):
            MISTAKES[case][0](content)
        content["annotations"][1]["image_id"] = 99
        content["images"][1]["file_name"] = "c.png"

    with pytest.raises(DataError) as caught:
        read_coco(write_coco(change))
    text = str(caught.value)
    assert text.startswith("6 mistakes in the data:")
    for part in ("visibility 3", "(nan, 12.5)", "flip pair (1, 3)", "skeleton[1]", "image_id 99", "'c.png'"):
        assert part in text


def test_a_long_list_shows_twenty_and_counts_the_rest(write_coco: Write) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"] = [{**content["annotations"][0], "id": n, "image_id": 99} for n in range(57)]

    with pytest.raises(DataError, match=r"57 mistakes") as caught:
        read_coco(write_coco(change))
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1].strip() == "and 37 more"


def test_links_out_of_the_folder_are_refused(write_coco: Write, tmp_path: Path) -> None:
    path = write_coco()
    secret = tmp_path / "secret.png"
    cv2.imwrite(str(secret), np.zeros((4, 4, 3), np.uint8))
    link = path.parent / "images" / "b.png"
    link.unlink()
    link.symlink_to(secret)
    with pytest.raises(DataError, match=r"annotation 3 \(image b.png\): image 'b.png' is a link that leads out"):
        read_coco(path)


def test_a_linked_folder_is_fine(write_coco: Write, tmp_path: Path) -> None:
    path = write_coco()
    (path.parent / "images").rename(tmp_path / "disk")
    (path.parent / "images").symlink_to(tmp_path / "disk")
    assert len(read_coco(path)) == 3


def test_several_categories(write_coco: Write) -> None:
    def add(content: dict[str, Any]) -> None:
        content["categories"].insert(0, {"id": 5, "name": "hand", "keypoints": ["thumb"]})

    assert read_coco(write_coco(add)).schema.names[0] == "nose"

    def use_both(content: dict[str, Any]) -> None:
        add(content)
        content["annotations"][0].update(category_id=5, keypoints=[1, 1, 2])

    with pytest.raises(DataError, match=r"keep one category with keypoints; there are several: 'hand', 'person'"):
        read_coco(write_coco(use_both))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"train.json: not JSON"),
        (b"\xff\xfe\x00", r"train.json: not JSON"),
        (b"[" * 100_000, r"train.json: not JSON"),
        (b"[1, 2]", r"train.json: expected an object with images, annotations and categories, got a list"),
        (b"null", r"got null"),
        (b"{}", r"'images' should be a list, is missing"),
    ],
)
def test_what_is_no_coco_file(write_coco: Write, content: bytes, message: str) -> None:
    path = write_coco()
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_coco(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: cannot be read: No such file"):
        read_coco(tmp_path / "none.json")


def test_a_byte_order_mark_does_no_harm(write_coco: Write) -> None:
    path = write_coco()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_coco(path)) == 3
