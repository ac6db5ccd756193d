"""Every kind of image file that is promised comes out as upright RGB; every broken one is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from punctum.data.images import ImageError, image_size, intensity_range, read_image, to_unit

FORMATS = ["png", "jpg", "tiff", "bmp"]


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    """Blocks of colour, 32 x 48, so that JPEG keeps them nearly exactly."""
    return np.kron(rng.integers(0, 256, (2, 3, 3)), np.ones((16, 16, 1))).astype(np.uint8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """What the EXIF standard says a viewer must do, from where row 0 and column 0 of the file belong."""
    sides = {
        1: lambda a: a,  # row 0 at the top, column 0 at the left
        2: lambda a: a[:, ::-1],  # top, right
        3: lambda a: a[::-1, ::-1],  # bottom, right
        4: lambda a: a[::-1],  # bottom, left
        5: lambda a: a.swapaxes(0, 1),  # left, top
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],  # right, top
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: lambda a: a.swapaxes(0, 1)[::-1],  # left, bottom
    }
    return sides[orientation](image)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, picture: np.ndarray, mode: str, suffix: str) -> None:
    image = Image.fromarray(picture)
    if mode in ("RGBA", "LA") and suffix != "tiff":
        image.putalpha(Image.fromarray(picture[..., 0]))  # OpenCV blends a transparent TIFF with black
    image = image.convert(mode)
    try:
        image.save(tmp_path / f"i.{suffix}", **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    except OSError:
        pytest.skip(f"{suffix} has no mode {mode}")
    expected = np.asarray(image.convert("RGBA"))[..., :3] if mode == "RGBA" else np.asarray(image.convert("RGB"))
    got = read_image(tmp_path / f"i.{suffix}")
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= (3 if suffix == "jpg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "mode"), [("jpg", "RGB"), ("jpg", "L"), ("png", "RGB"), ("png", "P"), ("tiff", "L")]
)
def test_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int, suffix: str, mode: str) -> None:
    image = Image.fromarray(picture).convert(mode)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"i.{suffix}", exif=exif)
    expected = upright(np.asarray(image.convert("RGB")), orientation)
    got = read_image(tmp_path / f"i.{suffix}")
    assert got.shape == expected.shape
    assert np.median(np.abs(got.astype(int) - expected)) <= 3
    assert image_size(tmp_path / f"i.{suffix}") == expected.shape[:2]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay(tmp_path: Path, rng: np.random.Generator, channels: int, suffix: str) -> None:
    image = rng.integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"i.{suffix}"), image)  # OpenCV writes BGR
    got = read_image(tmp_path / f"i.{suffix}")
    assert got.dtype == np.uint16
    assert np.array_equal(got, np.repeat(image, 3, 2) if channels == 1 else image[..., 2::-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_tiff(tmp_path: Path, rng: np.random.Generator, dtype: type, channels: int) -> None:
    image = rng.random((20, 30, channels)).astype(dtype)
    cv2.imwrite(str(tmp_path / "i.tiff"), image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])  # 1: none; the default loses
    got = read_image(tmp_path / "i.tiff")
    assert got.dtype == np.float32
    assert np.array_equal(got, np.broadcast_to(image[..., ::-1], (20, 30, 3)).astype(np.float32))


def test_names_with_other_letters(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "Mäuse 鼠.png")
    assert image_size(tmp_path / "Mäuse 鼠.png") == (32, 48)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_truncated_files_are_named(tmp_path: Path, rng: np.random.Generator, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ImageError, match=rf"cut.{suffix}: .*(empty|truncated)"):
        read_image(path)


def test_truncated_jpeg_with_a_whole_thumbnail(tmp_path: Path, picture: np.ndarray) -> None:
    """The thumbnail inside the EXIF segment ends properly; that must not pass for the image's end."""
    small = tmp_path / "small.jpg"
    Image.fromarray(picture[:16, :16]).save(small)
    path = tmp_path / "big.jpg"
    Image.fromarray(picture).save(path)
    thumbnail, whole = small.read_bytes(), path.read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path.write_bytes(whole[:2] + segment + whole[2:])
    assert image_size(path) == (32, 48)
    path.write_bytes((whole[:2] + segment + whole[2:])[:-20])
    with pytest.raises(ImageError, match=r"truncated"):
        read_image(path)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image at all")
    with pytest.raises(ImageError, match=r"text.png: not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ImageError, match=r"none.png: there is no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match=r"cannot be read"):
        read_image(tmp_path)
    cv2.imwrite(str(tmp_path / "signed.tiff"), np.zeros((4, 4), np.int16))
    with pytest.raises(ImageError, match=r"signed.tiff: int16 pixels; convert"):
        read_image(tmp_path / "signed.tiff")


def test_an_image_beyond_opencvs_limit_is_an_image_error(tmp_path: Path) -> None:
    """A PNG header may claim 60,000 x 60,000 pixels in 40 bytes; OpenCV raises its own error then."""
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(ImageError, match=r"bomb.png"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_range_divides_by_the_types_maximum(dtype: type, top: float) -> None:
    image = np.array([[[0, top, top / 5]]], dtype)
    assert to_unit(image).dtype == np.float32
    assert to_unit(image).ravel().tolist() == pytest.approx([0, 1, 0.2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_percentiles_agree_with_sorting(rng: np.random.Generator, dtype: type) -> None:
    image = (rng.gamma(2, 20, (101, 103, 3)) if dtype != np.float32 else rng.normal(50, 400, (101, 103, 3))).astype(
        dtype
    )
    ordered = np.sort(image.ravel())
    low, high = intensity_range(image, "percentile")
    assert low == pytest.approx(ordered[round(0.001 * ordered.size)], rel=0.05, abs=1)
    assert high == pytest.approx(ordered[round(0.999 * ordered.size)], rel=0.05, abs=1)
    unit = to_unit(image, "percentile")
    assert (unit.min(), unit.max()) == (0, 1)


def test_percentiles_are_those_of_a_picture_counted_at_once(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.integers(0, 4096, (31, 17, 3)).astype(np.uint16)
    whole = intensity_range(image, "percentile")
    monkeypatch.setattr("punctum.data.images._COUNTED", 100)
    assert intensity_range(image, "percentile") == whole


def test_twelve_bits_in_sixteen(rng: np.random.Generator) -> None:
    image = rng.integers(0, 4096, (64, 64, 3), dtype=np.uint16)
    assert to_unit(image).max() < 0.07
    assert to_unit(image, "percentile").mean() == pytest.approx(0.5, abs=0.01)


def test_a_flat_image_is_finite() -> None:
    assert to_unit(np.full((4, 4, 3), 7, np.uint8), "percentile").max() == 0


def test_intensities_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"spans \[0, 4095\], not \[0, 1\]: use intensity 'percentile'"):
        to_unit(np.array([[[0, 1, 4095]]], np.float32))
    with pytest.raises(ValueError, match=r"not finite"):
        to_unit(np.array([[[0, np.nan, 1]]], np.float32), "percentile")
    with pytest.raises(ValueError, match=r"'range' or 'percentile', got 'auto'"):
        to_unit(np.zeros((1, 1, 3), np.uint8), "auto")  # type: ignore[arg-type]
