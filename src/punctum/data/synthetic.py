"""Synthetic scenes with exact truth: a jointed figure that faces the viewer, on clutter, partly hidden.

Figure and occluders are painted from signed distances, so a joint's mark lies where its label says to
0.01 px, and the joint is hidden exactly when something painted later covers its centre. Nothing in a scene
tells left from right but the body plan: a mirrored picture with swapped labels is as good a scene as any.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from punctum.data.shapes import Capsule, Part, Polygon, disc
from punctum.draw import write_png
from punctum.files import write_text
from punctum.schema import Schema

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Rng = np.random.Generator

_SIDED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_NAMES = ("head_top", "neck", *(f"{side}_{joint}" for joint in _SIDED for side in ("left", "right")))
_BONES = ("shoulder elbow", "elbow wrist", "shoulder hip", "hip knee", "knee ankle")
_EDGES = (
    *(("head_top", "neck"), ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in map(str.split, _BONES)),
)

SCHEMA = Schema(
    names=_NAMES,
    skeleton=tuple((_NAMES.index(a), _NAMES.index(b)) for a, b in _EDGES),
    flip_pairs=tuple((i, i + 1) for i in range(2, len(_NAMES), 2)),
)


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and its truth.

    Args:
        image: (H, W, 3) RGB.
        keypoints: (K, 2) pixels as (x, y), (0, 0) the centre of the top-left pixel; also where not visible.
        visibility: (K,): 2 visible, 1 hidden behind an occluder or another limb, 0 outside the image.
        box: (4,) as (x, y, width, height): the drawn figure's extent, cut at the image's edges.
        area: pixels that show the figure.
    """

    image: Image
    keypoints: Array
    visibility: NDArray[np.int8]
    box: Array
    area: float


def make_scene(seed: int | Rng, size: int = 128) -> Scene:
    """A random scene: the same seed gives the same scene.

    Args:
        seed: a seed, or a generator to draw from.
        size: height and width in pixels, at least 32.
    Raises:
        ValueError: the size is below 32.
    Example:
        >>> scene = make_scene(7)
        >>> scene.image.shape, scene.keypoints.shape, int(scene.visibility.max())
        ((128, 128, 3), (14, 2), 2)
    """
    if size < 32:
        raise ValueError(f"size must be at least 32 px, a figure is not legible below; got {size}")
    rng = np.random.default_rng(seed)
    keypoints = _place(_pose(rng), rng, size)
    figure = _figure(keypoints, rng)
    occluders = _occluders(keypoints, rng, size)

    # The fourth channel is 1 where the figure shows: painted like a colour, it counts the area.
    canvas = np.zeros((size, size, 4), dtype=np.float32)
    canvas[..., :3] = _clutter(rng, size)
    for part in figure:
        part.paint(canvas, 1.0)
    for part in occluders:
        part.paint(canvas, 0.0)

    low = np.clip(np.min([part.shape.extent()[0] for part in figure], axis=0), -0.5, size - 0.5)
    high = np.clip(np.max([part.shape.extent()[1] for part in figure], axis=0), -0.5, size - 0.5)
    return Scene(
        image=_photograph(canvas[..., :3], rng),
        keypoints=keypoints,
        visibility=_visibility(keypoints, [*figure, *occluders], size),
        box=np.concatenate([low, high - low]),
        area=float(canvas[..., 3].sum()),
    )


def marker_scene(keypoints: ArrayLike, size: int | tuple[int, int], sigma: float = 1.5) -> Image:
    """White Gaussian blobs at exact places on a dark plain ground, to test a path from image to coordinates.

        I(p) = 16 + 224 max_k exp(-|p - x_k|^2 / (2 sigma^2))

    Args:
        keypoints: (K, 2) pixels as (x, y).
        size: (H, W), or one number for both.
        sigma: of the blobs, in pixels; from 1 on, a blob's centroid is its place to within 0.01 px.
    Returns:
        (H, W, 3) RGB.
    Raises:
        ValueError: sigma is not positive.
    Example:
        >>> marker_scene([[2.0, 1.0]], size=(3, 5), sigma=0.1)[:, :, 0]
        array([[ 16,  16,  16,  16,  16],
               [ 16,  16, 240,  16,  16],
               [ 16,  16,  16,  16,  16]], dtype=uint8)
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive (pixels), got {sigma}")
    height, width = (size, size) if isinstance(size, int) else size
    y, x = np.ogrid[:height, :width]
    blobs = np.zeros((height, width))
    for px, py in np.asarray(keypoints, dtype=np.float64).reshape(-1, 2):
        blobs = np.maximum(blobs, np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)))
    return np.repeat(np.rint(16 + 224 * blobs).astype(np.uint8)[..., None], 3, axis=2)


def write_scenes(folder: str | Path, count: int, seed: int, size: int = 128, split: str = "train") -> Path:
    """Scenes as PNG files with a COCO keypoints file beside them: `images/SPLIT_00000.png` and `SPLIT.json`.

    Scene i depends on (seed, split, i) only: splits of one seed differ, and a larger count adds to a smaller.

    Args:
        folder: made when it is missing.
        count: of scenes, one figure each.
        seed: non-negative.
        size: height and width in pixels.
        split: names the files.
    Returns:
        The path of the JSON file, which is written last and whole or not at all.
    Raises:
        ValueError: count is below 1, seed is negative, or size below 32.
    """
    if count < 1 or seed < 0:
        raise ValueError(f"count must be at least 1 and seed at least 0, got count {count} and seed {seed}")
    folder = Path(folder)
    images, annotations = [], []
    for i in range(count):
        scene = make_scene(np.random.default_rng([seed, zlib.crc32(split.encode()), i]), size)
        name = f"images/{split}_{i:05d}.png"
        write_png(folder / name, scene.image)
        images.append({"id": i + 1, "file_name": name, "width": size, "height": size})
        annotations.append(_coco_annotation(scene, i + 1))
    category = {
        "id": 1,
        "name": "figure",
        "keypoints": list(SCHEMA.names),
        "skeleton": [[i + 1, j + 1] for i, j in SCHEMA.skeleton],
        "flip_pairs": [list(pair) for pair in SCHEMA.flip_pairs],
    }
    content = {"images": images, "annotations": annotations, "categories": [category]}
    return write_text(folder / f"{split}.json", json.dumps(content))


def _coco_annotation(scene: Scene, number: int) -> dict[str, Any]:
    places = np.where(scene.visibility[:, None] > 0, scene.keypoints, 0.0)  # COCO: what is not labelled is 0, 0, 0
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": [v for (x, y), seen in zip(places, scene.visibility, strict=True) for v in (x, y, int(seen))],
        "num_keypoints": int((scene.visibility > 0).sum()),
        "bbox": scene.box.tolist(),
        "area": scene.area,
    }


def _visibility(keypoints: Array, parts: list[Part], size: int) -> NDArray[np.int8]:
    """2, or 1 where something painted after the joint's own mark covers it, or 0 outside the image."""
    visibility = np.zeros(len(keypoints), dtype=np.int8)
    for part in parts:
        visibility[part.shape.distance(*keypoints.T) < 0] = 1
        if part.joint is not None:
            visibility[part.joint] = 2
    visibility[((keypoints < -0.5) | (keypoints > size - 0.5)).any(axis=1)] = 0
    return visibility


# --- the figure --------------------------------------------------------------------------------------------


def _pose(rng: Rng) -> Array:
    """(K, 2) joints of a figure about one high, y down; its left is at the viewer's right, +x."""

    def reach(start: Array, length: float, degrees: float, side: int) -> Array:
        """The other end of a limb: the angle is from straight down, outward; limbs shorten as they turn to us."""
        angle, length = np.radians(degrees), length * rng.uniform(0.8, 1.0)
        return start + length * np.array([side * np.sin(angle), np.cos(angle)])

    torso, shoulder, hip = rng.uniform(0.27, 0.33), rng.uniform(0.11, 0.145), rng.uniform(0.065, 0.09)
    arm, leg = rng.uniform(0.15, 0.185), rng.uniform(0.21, 0.25)
    neck = np.array([rng.uniform(-0.03, 0.03), -torso])
    sides = []
    for side in (1, -1):
        points = [neck + np.array([side * shoulder, rng.uniform(0.015, 0.035)])]
        angle = rng.uniform(5, 150)
        points.append(reach(points[-1], arm, angle, side))
        points.append(reach(points[-1], arm, angle + rng.uniform(-90, 75), side))
        points.append(np.array([side * hip, 0.0]))
        angle = rng.uniform(0, 42)
        points.append(reach(points[-1], leg, angle, side))
        points.append(reach(points[-1], leg, angle + rng.uniform(-40, 12), side))
        sides.append(points)
    head_top = reach(neck, rng.uniform(0.23, 0.26), 180 + rng.uniform(-15, 15), 1)
    return np.array([head_top, neck, *(point for pair in zip(*sides, strict=True) for point in pair)])


def _place(pose: Array, rng: Rng, size: int) -> Array:
    """The pose leaned by up to 25 degrees, 55 to 90 % of the image high, all but a limb's end inside it."""
    lean = np.radians(rng.triangular(-25, 0, 25))
    pose = pose @ np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
    pose = pose - (pose.min(axis=0) + pose.max(axis=0)) / 2
    extent = np.ptp(pose, axis=0)
    pose = pose * min(rng.uniform(0.55, 0.9) / extent[1], 0.95 / extent[0]) * size
    slack = (size - np.ptp(pose, axis=0)) / 2
    return pose + (size - 1) / 2 + rng.uniform(-1, 1, 2) * (slack + 0.01 * size)


def _figure(keypoints: Array, rng: Rng) -> list[Part]:
    """The figure's parts in the order in which they are painted; limbs of both sides look the same."""
    at = {name: keypoints[i] for i, name in enumerate(SCHEMA.names)}
    unit = float(np.linalg.norm(at["neck"] - (at["left_hip"] + at["right_hip"]) / 2)) / 0.3
    thick = unit * rng.uniform(0.026, 0.038)
    skin, shirt, trousers, ink, mark = _palette(rng)

    def limb(a: str, b: str, ra: float, rb: float, colour: Array) -> Part:
        return Part(Capsule(at[a], at[b], ra * thick, rb * thick), colour, ink, edge=0.2 * thick)

    def joint(name: str, radius: float = 0.75) -> Part:
        return Part(disc(at[name], radius * thick), mark, ink, edge=0.2 * thick, joint=SCHEMA.index(name))

    order = ["left", "right"] if rng.random() < 0.5 else ["right", "left"]
    legs, arms = [], []
    for side in order:
        hip, knee, ankle = (f"{side}_{name}" for name in ("hip", "knee", "ankle"))
        legs += [
            limb(hip, knee, 1.3, 1.1, trousers),
            limb(knee, ankle, 1.1, 0.85, trousers),
            joint(knee),
            joint(ankle),
        ]
        shoulder, elbow, wrist = (f"{side}_{name}" for name in ("shoulder", "elbow", "wrist"))
        arms += [limb(shoulder, elbow, 1.1, 0.9, shirt), limb(elbow, wrist, 0.9, 0.75, skin)]
        arms += [joint(name) for name in (shoulder, elbow, wrist)]
    outline = np.array([at[n] for n in ("right_shoulder", "left_shoulder", "left_hip", "right_hip")])
    outline = outline + (outline - outline.mean(axis=0)) * (0.6 * thick / unit / 0.16)
    torso = [Part(Polygon(outline), shirt, ink, edge=0.2 * thick), joint("left_hip"), joint("right_hip")]
    head = [*_head(at, thick, skin, ink), joint("neck"), joint("head_top")]
    return [*legs, *torso, *(arms + head if rng.random() < 0.5 else head + arms)]


def _head(at: dict[str, Array], thick: float, skin: Array, ink: Array) -> list[Part]:
    """Neck, head and the face that says from where the figure is seen."""
    up = at["head_top"] - at["neck"]
    across = np.array([-up[1], up[0]])
    radius = 0.33 * float(np.linalg.norm(up))
    low, high = at["neck"] + 0.5 * up, at["neck"] + 0.67 * up
    parts = [
        Part(Capsule(at["neck"], low, thick, thick), skin, ink, edge=0.2 * thick),
        Part(Capsule(low, high, 0.8 * radius, radius), skin, ink, edge=0.2 * thick),
    ]
    parts += [Part(disc(high + side * 0.12 * across, 0.15 * radius), ink, ink) for side in (-1, 1)]
    mouth = at["neck"] + 0.48 * up
    parts.append(Part(Capsule(mouth - 0.09 * across, mouth + 0.09 * across, 0.1 * radius, 0.1 * radius), ink, ink))
    return parts


def _palette(rng: Rng) -> list[Array]:
    """Skin, shirt, trousers, ink for edges and face, and a mark for joints: light on dark or dark on light."""
    skin, shirt, trousers = rng.uniform(70, 220, (3, 3))
    light, dark = rng.uniform(225, 255, 3), rng.uniform(0, 40, 3)
    return [skin, shirt, trousers, *((dark, light) if rng.random() < 0.7 else (light, dark))]


# --- what surrounds it -------------------------------------------------------------------------------------


def _occluders(keypoints: Array, rng: Rng, size: int) -> list[Part]:
    """Up to four small things in front of the figure."""
    parts = []
    for _ in range(rng.integers(0, 5)):
        centre = keypoints[rng.integers(len(keypoints))] + rng.normal(0, 0.06 * size, 2)
        radius, angle = size * rng.uniform(0.03, 0.065), rng.uniform(0, np.pi)
        shape: Capsule | Polygon
        if rng.random() < 0.5:
            half = 1.5 * radius * np.array([np.cos(angle), np.sin(angle)])
            shape = Capsule(centre - half, centre + half, 0.5 * radius, rng.uniform(0.3, 0.7) * radius)
        else:
            turns = angle + np.linspace(0, 2 * np.pi, rng.integers(3, 7), endpoint=False)
            shape = Polygon(centre + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1))
        parts.append(Part(shape, rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), edge=rng.uniform(0, 0.3) * radius))
    return parts


def _clutter(rng: Rng, size: int) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 255]: coloured noise at three scales, and strokes, ellipses, polygons over it."""
    image = np.empty((size, size, 3), dtype=np.float32)
    image[:] = rng.uniform(40, 215, 3)
    for cells in (3, 9, size // 4):
        noise = rng.normal(0, 0.4, (cells, cells, 3)) + rng.normal(0, 1.0, (cells, cells, 1))  # mostly of light
        noise = (rng.uniform(3, 20) * noise).astype(np.float32)
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(4, 13)):
        _draw_distractor(picture, rng, size)
    return picture.astype(np.float32)


def _draw_distractor(picture: Image, rng: Rng, size: int) -> None:
    """Something that is no figure; where exactly it lies matters to nobody, so OpenCV may draw it."""
    colour = rng.uniform(0, 255, 3).tolist()
    start = rng.integers(0, size, 2)
    kind = rng.integers(5)
    if kind == 0:
        cv2.line(picture, start.tolist(), rng.integers(0, size, 2).tolist(), colour, 1, cv2.LINE_AA)
    elif kind == 1:
        axes = rng.integers(size // 32, size // 6, 2).tolist()
        cv2.ellipse(picture, start.tolist(), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 2:
        corners = start + rng.integers(-size // 6, size // 6, (4, 2))
        cv2.fillConvexPoly(picture, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)
    elif kind == 3:
        cv2.circle(picture, start.tolist(), max(size // 50, 1), colour, -1, cv2.LINE_AA)
    else:
        bones = np.cumsum([start, *rng.integers(-size // 6, size // 6, (2, 2))], axis=0).astype(np.int32)
        cv2.polylines(picture, [bones], False, colour, int(rng.integers(size // 32, size // 16)), cv2.LINE_AA)


def _photograph(scene: NDArray[np.float32], rng: Rng) -> Image:
    """Light that falls off to one side, a little blur, a little noise."""
    height, width = scene.shape[:2]
    slope = rng.uniform(-0.25, 0.25, 2)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lit = scene * (1 + slope[0] * x + slope[1] * y).astype(np.float32)[..., None]
    blurred = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.2, 0.5) * height / 128)
    noise = rng.standard_normal(scene.shape, dtype=np.float32) * np.float32(rng.uniform(1, 7))
    return np.clip(np.rint(blurred + noise), 0, 255).astype(np.uint8)
