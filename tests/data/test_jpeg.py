"""JPEGs at a part of their size: exact places, near values, and only where nothing stands against it."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from smooth import SIZE, blob, misplaced, pictures

from punctum.data import Augmentation, CropSettings, ImageError, KeypointDataset, read_image
from punctum.data.images import decode_image
from punctum.data.jpeg import JpegHeader, read_header
from punctum.data.views import read_view, reduction_for
from punctum.ops.coords import cells_matrix

SOME = Augmentation(rotation=45, scale=0.3, shift=0.1, flip=0)


def jpeg(image: np.ndarray, exif: bytes = b"") -> bytes:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    return data[:2] + (b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif if exif else b"") + data[2:]


def exif(orientation: int, order: str = "<") -> bytes:
    """One entry, as TIFF 6.0 lays it out."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 1) + entry + bytes(4)


def behind_the_frame(image: np.ndarray, exif: bytes) -> bytes:
    """With its Exif data as the last segment before the scan."""
    data, segment = jpeg(image), b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    scan = data.index(b"\xff\xda")
    return data[:scan] + segment + data[scan:]


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("subsampling", [cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420])
def test_a_blob_stays_where_it_is(n: int, subsampling: int) -> None:
    """x = n x' + (n - 1) / 2, by the centre of mass; 421 x 587 is rounded up."""
    for centre in (np.array([203.3, 171.8]), np.array([310.9, 250.2])):
        image = np.rint(blob(centre, 20) * 200).astype(np.uint8)
        options = [cv2.IMWRITE_JPEG_QUALITY, 97, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, subsampling]
        data = cv2.imencode(".jpg", cv2.merge([image] * 3), options)[1].tobytes()
        small = decode_image(data, "a.jpg", n)
        assert small.shape == (-(-SIZE[0] // n), -(-SIZE[1] // n), 3)
        mass = np.where(small[..., 0] > 3, small[..., 0], 0).astype(float)
        y, x = np.mgrid[: mass.shape[0], : mass.shape[1]]
        found = np.array([(mass * x).sum(), (mass * y).sum()]) / mass.sum()
        assert np.abs((cells_matrix(n).numpy() @ [*found, 1])[:2] - centre).max() < 0.05


@pytest.mark.parametrize(("size", "box"), [((80, 96), 300), ((56, 56), 300)])
def test_crops_of_small_decodes_are_crops_of_whole_ones(tmp_path: Path, size: tuple[int, int], box: float) -> None:
    annotations, crop = pictures(tmp_path, suffix=".jpg", box=box), CropSettings(size)
    whole, small = (KeypointDataset(annotations, crop, SOME, seed=1, reduced=reduced) for reduced in (False, True))
    checked = 0
    for epoch in range(6):
        indices = [(epoch, i) for i in range(len(annotations))]
        one, other = whole.__getitems__(indices), small.__getitems__(indices)
        assert float((one.images - other.images).abs().max()) < 4 / 255
        assert np.abs(one.coords.numpy() - other.coords.numpy()).max() == 0
        assert np.array_equal(one.to_image, other.to_image)
        assert not misplaced(other) > 0.05
        checked += misplaced(other) >= 0
    assert checked
    sides = {read_view(annotations.images[0], lambda _: size[0] / box / 1.25, "range").to_image[0, 0]}
    assert max(sides) > 1


@pytest.mark.parametrize("n", [2, 4, 8])
def test_beyond_a_small_decode_is_black_from_the_images_edge(tmp_path: Path, n: int) -> None:
    """A white image whose sides are no multiples of n: its last pixels reach beyond it, and sum to its area."""
    path, size = tmp_path / "a.jpg", (8 * n + 1, 16 * n + n // 2)
    path.write_bytes(jpeg(np.full((*size, 3), 255, np.uint8)))
    view = read_view(path, lambda _: 0.99 / (1.5 * n), "range")
    assert view.to_image[0, 0] == n
    area = view.pixels[..., 0].astype(float).sum() / 255 * n**2
    assert area == pytest.approx(size[0] * size[1], rel=0.002)


def test_only_the_crops_own_shrinking_decides() -> None:
    for zoom in np.geomspace(0.01, 2, 200):
        n = reduction_for(zoom)
        assert n == 1 or n * zoom <= 1 / 1.5
        assert n == 8 or 2 * n * zoom > 1 / 1.5


@pytest.mark.parametrize(
    ("kind", "reducible"),
    [
        ("plain", True), ("gray", True), ("upright", True), ("upright big-endian", True), ("turned", False),
        ("broken exif", False), ("progressive", True), ("turned behind the frame", False), ("filled", True),
    ],
)  # fmt: skip
def test_what_may_be_decoded_small(kind: str, reducible: bool) -> None:
    image = np.full((30, 50, 3), 90, np.uint8)
    made = {
        "plain": lambda: jpeg(image),
        "gray": lambda: jpeg(image[..., 0]),
        "upright": lambda: jpeg(image, exif(1)),
        "upright big-endian": lambda: jpeg(image, exif(1, ">")),
        "turned": lambda: jpeg(image, exif(6)),
        "turned behind the frame": lambda: behind_the_frame(image, exif(6)),
        "filled": lambda: jpeg(image).replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1),
        "broken exif": lambda: jpeg(image, b"Exif\0\0II\x2a\0\xff\xff\xff\0"),
        "progressive": lambda: cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    }
    data = made[kind]()
    assert read_header(data) == JpegHeader((30, 50), reducible)
    assert decode_image(data, "a.jpg").shape == ((50, 30, 3) if "turned" in kind else (30, 50, 3))


def test_four_colours_and_other_files(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    pillow.new("CMYK", (50, 30)).save(file, "JPEG")
    assert read_header(file.getvalue()) == JpegHeader((30, 50), False)
    assert read_header(b"\x89PNG") is None
    assert read_header(b"\xff\xd8\xff") is None


def test_turned_and_deep_images_are_decoded_whole(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg(np.full((80, 120, 3), 90, np.uint8), exif(6)))
    view = read_view(path, lambda _: 0.1, "range")
    assert view.image_size == read_image(path).shape[:2] == (120, 80)
    assert np.array_equal(view.to_image, np.eye(3))
    path.write_bytes(jpeg(np.full((80, 120, 3), 90, np.uint8)))
    assert read_view(path, lambda _: 0.1, "range").to_image[0, 0] == 4
    assert read_view(path, lambda _: 0.1, "percentile").to_image[0, 0] == 1


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "no pixels"])
def test_errors_are_the_same(tmp_path: Path, damage: str) -> None:
    path, whole = tmp_path / "bad.jpg", jpeg(np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8))
    contents = {"empty": b"", "cut": whole[: len(whole) // 2], "no pixels": whole[:20] + b"\xff\xd9"}
    if damage in contents:
        path.write_bytes(contents[damage])
    said = []
    for read in (read_image, lambda p: read_view(p, lambda _: 0.1, "range")):
        with pytest.raises(ImageError) as caught:
            read(path)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_file_that_ends_anywhere_has_a_header_or_none() -> None:
    data = jpeg(np.zeros((8, 12, 3), np.uint8))
    headers = [read_header(data[:end]) for end in range(len(data) + 1)]
    assert set(headers) == {None, JpegHeader((8, 12), True)}
    assert headers[-1] is not None
