"""Bad annotations and predictions, as texts: each is a good file with one thing wrong."""

import copy
import json
from collections.abc import Callable
from typing import Any

GOOD: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "good.png"}],
    "categories": [{"id": 1, "name": "face", "keypoints": ["nose", "ear"]}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20], "keypoints": [4, 5, 2, 9, 8, 2]}
    ],
}
GOOD_CSV = "scorer,me,me,me,me\nbodyparts,nose,nose,ear,ear\ncoords,x,y,x,y\n"
OWN_CSV = "image,instance,keypoint,x,y,score\n"


def coco(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The good file after a change."""
    content = copy.deepcopy(GOOD)
    change(content)
    return json.dumps(content).encode()


def named(name: str) -> bytes:
    """The good file, whose image has another name."""
    return coco(lambda c: c["images"][0].update(file_name=name))


def placed(text: str) -> bytes:
    """The good file, whose first number is another text."""
    return coco(lambda c: None).replace(b'"keypoints": [4,', f'"keypoints": [{text},'.encode())


def category(**entries: Any) -> bytes:
    """The good file with other entries of its category."""
    return coco(lambda c: c["categories"][0].update(entries))


def annotations() -> dict[str, bytes]:
    """By name."""
    good = coco(lambda c: None)
    return {
        "empty.json": b"",
        "truncated.json": good[:-20],
        "deep.json": b'{"images": ' + b"[" * 15_000,
        "latin.json": named("ä.png").replace(b"\\u00e4", b"\xe4"),
        "number.json": b"17",
        "digits.json": placed("1" + "0" * 5000),
        "wrong_kinds.json": b'{"images": 1, "annotations": {}, "categories": null}',
        "nan.json": placed("NaN"),
        "infinite.json": placed("1e400"),
        "huge.json": placed("1" + "0" * 400),
        "far.json": placed("1e15"),
        "huge_box.json": coco(lambda c: c["annotations"][0].update(bbox=[0, 0, 1e300, 1e300])),
        "nan_box.json": coco(lambda c: None).replace(b'"bbox": [1,', b'"bbox": [NaN,'),
        "upwards.json": named("../secret.png"),
        "backslashes.json": named("..\\..\\secret.png"),
        "absolute.json": named("/etc/passwd"),
        "drive.json": named("C:\\secret.png"),
        "nul_name.json": named("good.png\0.jpg"),
        "newline_name.json": coco(lambda c: _second(c, "a\nTraceback (most recent call last):\n.png")),
        "escape_name.json": coco(lambda c: _second(c, "\x1b[2J\x1b]0;title\x07.png")),
        "surrogate_name.json": coco(lambda c: _second(c, "\ud83d.png")),
        "long_name.json": coco(lambda c: _second(c, "a" * 10_000 + ".png")),
        "newline_keypoint.json": category(keypoints=["nose\n", "ear"]),
        "no_image.json": named("elsewhere.png"),
        "ids_twice.json": coco(lambda c: c["annotations"].append(c["annotations"][0])),
        "flip_pairs.json": category(flip_pairs=[[0, 7]]),
        "sigmas.json": category(sigmas=[0.1, "x"]),
        "keys_twice.json": good.replace(b'"id": 1, "image_id"', b'"id": 9, "id": 1, "image_id"'),
        "with_mark.json": b"\xef\xbb\xbf" + good,
        "part_of_nothing.json": b'{"part_of": "nowhere.json", "images": null, "names": ["good.png"]}',
        "nothing.csv": b"a,b\n1,2\n",
        "nul.csv": (GOOD_CSV + "good.png,1,2,3,4\0\n").encode(),
        "utf16.csv": (GOOD_CSV + "good.png,1,2,3,4\n").encode("utf-16"),
        "nan_half.csv": (GOOD_CSV + "good.png,1,NaN,3,4\n").encode(),
        "infinite.csv": (GOOD_CSV + "good.png,inf,2,3,4\n").encode(),
        "words.csv": (GOOD_CSV + "good.png,one,2,3,4\n").encode(),
        "upwards.csv": (GOOD_CSV + "../secret.png,1,2,3,4\n").encode(),
    }


def _second(content: dict[str, Any], name: str) -> None:
    """One more image, that is not there."""
    content["images"].append({"id": 2, "file_name": name})
    content["annotations"].append({**content["annotations"][0], "id": 2, "image_id": 2})


def predictions() -> dict[str, bytes]:
    """By name."""
    point = '{"name": "nose", "x": NaN, "y": 1e999, "score": 1}'
    return {
        "empty.json": b"",
        "deep.json": b"[" * 15_000,
        "words.csv": b"a,b\n1,2\n",
        "nan_place.json": f'[{{"image": "good.png", "instance": "1", "keypoints": [{point}]}}]'.encode(),
        "far.csv": (OWN_CSV + "good.png,1,nose,1e15,-1e15,1\ngood.png,1,ear,1,1,1\n").encode(),
        "twice.csv": (OWN_CSV + 2 * "good.png,1,nose,1,1,1\n").encode(),
    }
