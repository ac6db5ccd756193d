"""The files of the corpus.

    python tests/corpus/make.py

writes the small and stable ones into `files/`, where they are committed; the tests make the others, which are large,
or none that a repository can hold (links, folders), in their own folder.
"""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
SIDE = 24


class Trap:
    """What unpickling it would do is seen in the environment."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.putenv, ("PUNCTUM_TRAPPED", "yes")


def picture(height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """Noise."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(ending: str, image: NDArray[Any]) -> bytes:
    """A picture file's contents."""
    return cv2.imencode(ending, image)[1].tobytes()


def saved(image: Any, kind: str, **options: Any) -> bytes:
    """The same by Pillow, of an array or its own image."""
    from PIL import Image

    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says so, and holds a few rows of it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes(4 * (width + 1)), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def small_pictures() -> dict[str, bytes]:
    """By name."""
    from PIL import Image

    noise = picture()
    png, jpg, gif, tif, bmp = (encoded(e, noise) for e in (".png", ".jpg", ".gif", ".tif", ".bmp"))
    frames = [Image.fromarray(np.full((SIDE, SIDE, 3), v, np.uint8)) for v in (10, 200)]
    moving = {"save_all": True, "append_images": frames[1:]}
    frame = jpg.index(b"\xff\xc0")
    exif = Image.Exif()
    exif[0x0112] = 3
    size = struct.pack("<ii", 100_000, 100_000)
    return {
        "empty.png": b"",
        "truncated.png": png[: len(png) // 2],
        "truncated.jpg": jpg[: len(jpg) // 2],
        "text.png": b"<!DOCTYPE html><title>404 Not Found</title>\n",
        "header_only.png": b"\x89PNG\r\n\x1a\n",
        "pickle.png": pickle.dumps(Trap()),
        "bomb.jpg": jpg[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + jpg[frame + 9 :],
        "bomb.gif": gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:],
        "bomb.bmp": bmp[:18] + size + bmp[26:],
        "bomb.ppm": b"P6\n# a comment\n100000 100000\n255\n" + bytes(100),
        "bomb.tif": _with_size(tif, 100_000),
        "jpeg_named.png": jpg,
        "one_pixel.png": encoded(".png", noise[:1, :1]),
        "one_column.png": encoded(".png", noise[:, :1]),
        "cmyk.jpg": saved(Image.fromarray(noise).convert("CMYK"), "JPEG"),
        "palette.png": saved(Image.fromarray(noise).quantize(8), "PNG"),
        "transparent.png": encoded(".png", np.dstack([noise, noise[..., :1]])),
        "one_bit.png": saved(Image.fromarray(noise).convert("1"), "PNG"),
        "sixteen_bits.png": encoded(".png", noise.astype(np.uint16) * 257),
        "animated.gif": saved(frames[0], "GIF", **moving),
        "animated.webp": saved(frames[0], "WEBP", **moving),
        "animated.png": saved(frames[0], "PNG", **moving),
        "upside_down.jpg": saved(noise, "JPEG", exif=exif),
        "nan.tif": encoded(".tif", np.full((SIDE, SIDE), np.nan, np.float32)),
        "bright.tif": encoded(".tif", np.full((SIDE, SIDE), 1000, np.float32)),
        "signed.tif": encoded(".tif", np.zeros((SIDE, SIDE), np.int16)),
    }


def _with_size(tif: bytes, side: int) -> bytes:
    """A TIFF whose first directory says another width and height."""
    changed = bytearray(tif)
    (start,) = struct.unpack_from("<I", tif, 4)
    (count,) = struct.unpack_from("<H", tif, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", tif, entry)[0] in (256, 257):
            struct.pack_into("<HII", changed, entry + 2, 4, 1, side)
    return bytes(changed)


def small_volumes() -> dict[str, bytes]:
    """By name."""
    volume = np.zeros((4, 5, 6), np.uint8)
    npz = _npz(volume=volume)
    hidden = bytearray(npz)
    hidden[6] |= 1  # "encrypted", in the entry's header and in the zip's directory
    hidden[npz.index(b"PK\x01\x02") + 8] |= 1
    return {
        "empty.npy": b"",
        "pickle.npy": _npy(np.array([Trap()], dtype=object)),
        "pickle.npz": _npz(volume=np.array([Trap()], dtype=object)),
        "lying.npy": _npy(volume).replace(b"(4, 5, 6), }      ", b"(4, 5, 9000000), }"),
        "truncated.npz": npz[: len(npz) // 2],
        "encrypted.npz": bytes(hidden),
        "no_volume.npz": _npz(other=volume),
        "no_array.npz": _zipped("volume.npy", b"no array"),
        "flat.npy": _npy(volume[0]),
        "words.npy": _npy(np.full((2, 2, 2), "x")),
    }


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # Of a fixed date, as all files here are.
        archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def small_tables() -> dict[str, bytes]:
    """Annotations that are no text."""
    import h5py

    def h5(write: Callable[[Any], object]) -> bytes:
        file = io.BytesIO()
        with h5py.File(file, "w") as opened:
            write(opened)
        return file.getvalue()

    def elsewhere(file: Any) -> None:
        for name in ("imgname", "part"):
            file.create_dataset(name, (4,), "u1", external=[("/etc/passwd", 0, 4)])

    whole = h5(lambda file: file.create_dataset("imgname", data=np.zeros((40, 40))))
    return {
        "pickle.h5": pickle.dumps(Trap()),
        "truncated.h5": whole[: len(whole) // 2],
        "elsewhere.h5": h5(elsewhere),
        "bomb.h5": h5(lambda f: f.create_dataset("imgname", (10**6, 10**6), "f8", chunks=(10**3, 10**3))),
        "truncated.mat": b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + bytes(40),
    }


# --- what a repository does not hold -----------------------------------------------------------------------------


def make_others(folder: Path) -> None:
    """Large files, links, folders: beside the small ones, in a copy of `files/`."""
    pictures, annotations = folder / "pictures", folder / "annotations"
    (pictures / "bomb.png").write_bytes(png_header(60_000, 60_000))
    cv2.imwrite(str(pictures / "wide.png"), np.zeros((8, 30_000, 3), np.uint8))
    np.save(pictures / "volume.npy", np.zeros((4, 5, 6), np.uint8))
    (pictures / "folder.png").mkdir()
    (pictures / "loop.png").symlink_to("loop.png")
    os.mkfifo(pictures / "fifo.png")
    _write_bomb(folder / "volumes" / "bomb.npz")
    cv2.imwrite(str(folder / "secret.png"), picture())
    for folder_of_good in (annotations, folder / "tools"):
        cv2.imwrite(str(folder_of_good / "good.png"), picture())
    (annotations / "link.png").symlink_to(folder / "secret.png")
    (annotations / "loop.png").symlink_to("loop.png")
    from corpus.texts import named

    (annotations / "link_out.json").write_bytes(named("link.png"))
    (annotations / "link_loop.json").write_bytes(named("loop.png"))
    part = {"part_of": str(annotations / "part_of_itself.json"), "images": None, "names": ["good.png"]}
    (annotations / "part_of_itself.json").write_text(json.dumps(part))


def _write_bomb(path: Path) -> None:
    """An .npz whose directory says, and whose entry would hold, three thousand times what the file does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("volume.npy", _npy(np.zeros((200, 200, 200), np.uint8)))
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02") + 24
    path.write_bytes(content[:at] + struct.pack("<I", 4_000_000_000) + content[at + 4 :])


def main() -> None:
    """Write `files/`."""
    sys.path.insert(0, str(HERE.parent))
    from corpus.other_tools import boxes, tools
    from corpus.texts import annotations, predictions
    from corpus.videos import videos

    kinds = {
        "pictures": small_pictures(),
        "volumes": small_volumes(),
        "annotations": {**annotations(), **small_tables()},
        "predictions": {**predictions(), "pickle.csv": pickle.dumps(Trap())},
        "tools": tools(),
        "boxes": boxes(),
        "videos": videos(),
    }
    for kind, files in kinds.items():
        (HERE / "files" / kind).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (HERE / "files" / kind / name).write_bytes(content)
            if len(content) > 20_000:
                print(f"{name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
