"""Files of other tools, and of boxes: each is a good one with one thing wrong."""

import copy
import io
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from corpus.make import Trap

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><image id="0" name="good.png" width="24" height="24">
<skeleton label="face" occluded="0"><points label="nose" outside="0" occluded="0" points="4.5,5.5"/>
<points label="ear" outside="0" occluded="0" points="9.5,8.5"/></skeleton></image></annotations>
"""
LAUGHS = '<!ENTITY a "ha">' + "".join(f'<!ENTITY {b} "&{a};&{a};&{a};&{a};">' for a, b in zip("abcd", "bcde"))  # noqa: B905
POINT = {"type": "keypointlabels", "original_width": 24, "original_height": 24}
TASK: dict[str, Any] = {
    "id": 7,
    "data": {"img": "good.png"},
    "annotations": [
        {"result": [{**POINT, "id": n, "value": {"x": 20, "y": 25, "keypointlabels": [n]}} for n in ("nose", "ear")]}
    ],
}
YAML = "path: .\ntrain: images\nkpt_shape: [2, 3]\nkpt_names: {0: [nose, ear]}\nnames: {0: face}\n"
CSV = "image,keypoint,x,y\ngood.png,nose,4,5\ngood.png,ear,9,8\n"
BOXES = "image,x,y,width,height\n"


def label_studio(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The good task after a change."""
    task = copy.deepcopy(TASK)
    change(task)
    return json.dumps([task]).encode()


def value(**entries: Any) -> bytes:
    """The good task with another first point."""
    return label_studio(lambda task: task["annotations"][0]["result"][0]["value"].update(entries))


def tools() -> dict[str, bytes]:
    """Labels of other tools, by name."""
    return {
        "good.xml": CVAT.encode(),
        "truncated.xml": CVAT[:-60].encode(),
        "laughs.xml": CVAT.replace("<annotations>", f"<!DOCTYPE x [{LAUGHS}]><annotations>").encode(),
        "entity.xml": CVAT.replace(
            "<annotations>", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotations>'
        ).encode(),
        "deep.xml": CVAT.replace("</annotations>", "<a>" * 50_000).encode(),
        "upwards.xml": CVAT.replace("good.png", "../secret.png").encode(),
        "nan.xml": CVAT.replace("4.5,5.5", "nan,5.5").encode(),
        "twice.xml": CVAT.replace('"ear"', '"nose"').encode(),
        "page.xml": b"<html><body>404</body></html>",
        "good_tasks.json": label_studio(lambda task: None),
        "nan_share.json": value(x=float("nan")),
        "outside_share.json": value(x=1e300),
        "no_label.json": value(keypointlabels=[]),
        "task_of_words.json": label_studio(lambda task: task.update(annotations=[{"result": "none"}])),
        "address.json": label_studio(lambda task: task["data"].update(img="http://127.0.0.1:9/other.png")),
        "upwards_task.json": label_studio(lambda task: task["data"].update(img="/data/local-files/?d=../secret.png")),
        "good_points.csv": CSV.encode(),
        "infinite_points.csv": CSV.replace("4,5", "inf,5").encode(),
        "twice_points.csv": CSV.replace("ear", "nose").encode(),
        "empty.slp": b"",
        "text.slp": b"no HDF5",
        "pickle.slp": pickle.dumps(Trap()),
        "elsewhere.slp": _elsewhere(),
        "tag.yaml": f"{YAML}x: !!python/object/apply:os.putenv [PUNCTUM_TRAPPED, 'yes']\n".encode(),
        "many.yaml": YAML.replace("[2, 3]", "[1000000000, 3]").encode(),
        "no_folder.yaml": YAML.replace("train: images", "train: /proc/self/mem").encode(),
    }


def _elsewhere() -> bytes:
    """Its frames stand in another file."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.create_group("metadata").attrs["json"] = np.bytes_(b"{}")
        opened["frames"] = h5py.ExternalLink("/etc/passwd", "/frames")
    return file.getvalue()


def boxes() -> dict[str, bytes]:
    """For `--boxes`, by name."""
    return {
        "empty.csv": b"",
        "other_columns.csv": b"image,left,top\ngood.png,1,2\n",
        "nan.csv": f"{BOXES}good.png,nan,1,20,20\n".encode(),
        "negative.csv": f"{BOXES}good.png,1,1,-20,20\n".encode(),
        "words.csv": f"{BOXES}good.png,left,1,20,20\n".encode(),
        "others.csv": f"{BOXES}other.png,1,1,20,20\n".encode(),
        "far.csv": f"{BOXES}good.png,1e9,1e9,20,20\n".encode(),
        "huge.csv": f"{BOXES}good.png,1e300,1,1e300,20\n".encode(),
        "pickle.csv": pickle.dumps(Trap()),
        "deep.json": b"[" * 15_000,
        "object.json": b'{"image": "good.png"}',
        "digits.json": f'[{{"image": "good.png", "x": 1{"0" * 400}, "y": 1, "width": 2, "height": 2}}]'.encode(),
        "infinite.json": b'[{"image": "good.png", "x": 1e400, "y": 1, "width": 2, "height": 2}]',
    }
