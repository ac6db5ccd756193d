"""8-bit integers in the backbone of an ONNX file, their ranges taken from the user's own pictures."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from punctum.deploy.onnx_predictor import as_bytes
from punctum.export.files import quiet
from punctum.export.samples import Samples

BATCH = 8
# The head and the decoding stay in float32: a heatmap's sums need more than 256 values.
QUANTIZED_SCOPE = "model.backbone"


def quantize(path: Path, samples: Samples, inputs: tuple[str, ...], *, uint8: bool = False) -> int:
    """Quantize the backbone's convolutions in place: weights by channel, activations by the samples' ranges.

    Args:
        path: of the float32 ONNX file.
        samples: pictures that the ranges are taken from.
        inputs: names of the graph's inputs.
        uint8: its crops are bytes.
    Returns:
        How many convolutions are in integers now.
    Raises:
        ValueError: the graph has no convolution that can be quantized.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = _feeds(samples, inputs, uint8)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    nodes = _convolutions(onnx.load(str(path)))
    if not nodes:
        raise ValueError("int8: the graph has no convolutions of a backbone, so there is nothing to quantize")
    with quiet(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        result = Path(folder) / "int8.onnx"
        quantize_static(
            str(path),
            str(result),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
        )
        result.replace(path)
    return len(nodes)


def _convolutions(proto: Any) -> list[str]:
    """Names of the backbone's convolutions."""
    found = []
    for node in proto.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key.endswith("name_scopes")), "")
        if node.op_type in ("Conv", "ConvTranspose") and QUANTIZED_SCOPE in scopes:
            found.append(node.name)
    return found


def _feeds(samples: Samples, inputs: tuple[str, ...], uint8: bool) -> Iterator[dict[str, Any]]:
    for rows in samples.batches(BATCH):
        crops = samples.crops[rows].numpy()
        every = {
            "image": as_bytes(crops) if uint8 else crops,
            "to_image": samples.to_image[rows].numpy().astype(np.float32),
            "length": np.full(len(crops), np.nan, dtype=np.float32),
        }
        yield {name: every[name] for name in inputs}
