"""Videos made on the fly, and a model whose points are known: it finds the brightest spot."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from punctum import ops
from punctum.heads import Prediction
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema

CLOCK = Fraction(1, 1000)
LOSSLESS = {"crf": "0", "preset": "ultrafast"}


class BlobFinder(KeypointModel):
    """No network: the heatmap is the picture's brightness, so every error is the geometry's."""

    def __init__(self, size: tuple[int, int] = (48, 64), **preprocessing: object) -> None:
        config = ModelConfig(
            Schema(("blob",)), size, {"name": "resnet18", "width": 0.02}, {"name": "dsnt"}, dict(preprocessing)
        )
        super().__init__(config)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images.mean(1, keepdim=True)]

    def decode(self, outputs: list[torch.Tensor]) -> Prediction:
        heatmaps = ops.normalize(outputs[0], "relu")
        mean = ops.dsnt(heatmaps)
        return Prediction(mean, torch.ones(mean.shape[:2]), ops.covariance(heatmaps, mean), heatmaps)


def place(i: int) -> tuple[float, float]:
    """Where the blob is in picture i."""
    return 20.0 + 0.7 * i, 24.0 + 5 * np.sin(i / 3)


def picture(i: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """(H, W, 3), a bright Gaussian on black."""
    x, y = place(i)
    rows, columns = np.mgrid[: size[0], : size[1]]
    values = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return np.repeat(values.round().astype(np.uint8)[..., None], 3, -1)


def film(
    path: Path,
    pictures: Sequence[NDArray[np.uint8] | NDArray[np.uint16]],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """A video; `times` in milliseconds."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2] if pictures else (48, 64)
        stream.pix_fmt = pixels
        stream.options = options or (LOSSLESS if "x264" in codec else {})
        stream.codec_context.time_base = CLOCK
        file.start_encoding()
        for i, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="gray16le" if image.dtype == np.uint16 else "rgb24")
            frame.pts, frame.time_base = times[i] if times else 40 * i, CLOCK
            file.mux(stream.encode(frame))
        if pictures:
            file.mux(stream.encode(None))
    return path


def turned(path: Path, matrix: Sequence[int]) -> Path:
    """The same .mp4 with another display matrix (a, b, u, c, d, v, x, y, w), as ISO 14496-12 stores it."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = b"".join(int(v).to_bytes(4, "big", signed=True) for v in matrix)
    path.write_bytes(content)
    return path
