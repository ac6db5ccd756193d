"""A recorded graph as a file: ONNX, or torch.export's own."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from punctum.deploy.description import KEY, Description
from punctum.export.graph import Exported

OPSET = 18
PT2_ENTRY = "punctum.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def write_onnx(exported: Exported, path: Path) -> None:
    """The graph as one ONNX file, weights inside.

    Raises:
        ImportError: the packages that write ONNX are missing.
        ValueError: an operation of the model has no ONNX form.
    """
    onnx = _onnx()
    with quiet():
        try:
            program = torch.onnx.export(
                exported.program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(exported.inputs),
                output_names=list(exported.outputs),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = next((line for line in str(error).splitlines() if "No ONNX function" in line), str(error)[:300])
            raise ValueError(f"this model has no ONNX form: {reason}") from error
    proto = program.model_proto  # type: ignore[union-attr]
    _name_axes(proto)
    onnx.save(proto, str(path))


def describe_onnx(path: Path, description: Description) -> None:
    """Write the description into the file's metadata."""
    onnx = _onnx()
    proto = onnx.load(str(path))
    others = {entry.key: entry.value for entry in proto.metadata_props if entry.key != KEY}
    onnx.helper.set_model_props(proto, {**others, KEY: description.to_json()})
    onnx.save(proto, str(path))


def write_pt2(exported: Exported, path: Path, description: Description) -> None:
    """The graph as torch.export's archive, for `torch.export.load` and AOTInductor."""
    with quiet():
        torch.export.save(exported.program, str(path), extra_files={PT2_ENTRY: description.to_json()})


def _name_axes(proto: Any) -> None:
    """`batch`, `height` and `width` instead of torch's symbols, wherever they stand."""
    image = next(value for value in proto.graph.input if value.name == "image")
    sides = image.type.tensor_type.shape.dim
    known = ((sides[0], "batch"), (sides[2], "height"), (sides[3], "width"))
    names = {dim.dim_param: name for dim, name in known if dim.dim_param}
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda m: names.get(m.group(), m.group()), dim.dim_param)


@contextmanager
def quiet() -> Iterator[None]:
    """The exporters' talk about optional packages, deprecations and preprocessing is not for users."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", None)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _onnx() -> Any:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(f"exporting to ONNX needs {', '.join(missing)}: pip install 'punctum[export]'")
    import onnx

    return onnx
