"""Weights from safetensors files, local or from the Hugging Face hub. Nothing here unpickles."""

import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from punctum.one_line import told

_PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w.-]+)*")
_SHOWN = 5


def load_weights(module: nn.Module, source: str) -> None:
    """Fill a module with pretrained weights; a classifier's (fc.*) are left out.

    Args:
        module: every parameter and buffer of it must be in the file, with its shape.
        source: a local .safetensors file, or a hub id "user/repo" or "user/repo/file.safetensors".
    Raises:
        ValueError: the file is not safetensors, or its names or shapes do not fit.
        OSError: the file does not exist or cannot be fetched.
    Example:
        >>> load_weights(nn.Linear(1, 1), "resnet18.pth")
        Traceback (most recent call last):
        ValueError: resnet18.pth is a pickle, which can run code when it is read. Convert it once: ...
    """
    path = find_weights(source)
    tensors = {name: tensor for name, tensor in read_safetensors(path).items() if not name.startswith("fc.")}
    load_state(module, tensors, source)


def find_weights(source: str) -> Path:
    """The file that `source` names, fetched from the hub where it is a hub id."""
    path = Path(source).expanduser()
    if path.suffix.lower() in _PICKLES:
        raise ValueError(
            f"{source} is a pickle, which can run code when it is read. Convert it once: state = torch.load("
            f"{path.name!r}, weights_only=True); safetensors.torch.save_file(state, "
            f"{path.with_suffix('.safetensors').name!r})"
        )
    if path.exists():
        return path
    parts = source.split("/")
    hub_id = _HUB_ID.fullmatch(source) and (len(parts) == 2) != source.endswith(".safetensors")
    if not hub_id or ".." in parts:
        raise FileNotFoundError(
            f"there is no file {source}, and it is no hub id 'user/repo' or 'user/repo/file.safetensors'"
        )
    return _fetch(source)


def _fetch(source: str) -> Path:
    """Download from the hub, or find in its cache."""
    user, name, *rest = source.split("/")
    repo, file = f"{user}/{name}", "/".join(rest) or "model.safetensors"
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise ModuleNotFoundError(
            f"weights {source!r} come from the Hugging Face hub: pip install 'punctum[hub]', or pass the path of a "
            "local .safetensors file"
        ) from error
    address = f"https://huggingface.co/{repo}/resolve/main/{file}"
    try:
        return Path(hf_hub_download(repo, file))
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise ConnectionError(
            f"there is no local file {source}, and {file} of {repo} could not be had from the Hugging Face hub "
            f"({told(error)}). If this machine is offline, download {address} elsewhere and pass "
            "the file's path as weights"
        ) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        ValueError: the file is truncated or of another format.
        OSError: it cannot be read.
    """
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    except (TypeError, KeyError, OverflowError, MemoryError, RuntimeError) as error:
        raise ValueError(f"{path} holds tensors that cannot be read: {told(error)}") from error


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Fill a module, or say in one error all that does not fit. `num_batches_tracked` may be absent.

    Raises:
        ValueError: names are missing or unexpected, shapes differ, or a value is not finite.
    """
    expected = module.state_dict()
    common = expected.keys() & tensors.keys()
    problems = {
        "missing": [name for name in expected if name not in tensors and not _is_counter(name)],
        "unexpected": [name for name in tensors if name not in expected and not _is_counter(name)],
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}"
            for name in expected
            if name in common and tensors[name].shape != expected[name].shape
        ],
    }
    problems["of values that are not finite"] = [n for n in common if not bool(tensors[n].isfinite().all())]
    found = [f"{len(names)} {what} ({_shorten(names)})" for what, names in problems.items() if names]
    if found:
        raise ValueError(f"the weights in {source} do not fit: {'; '.join(found)}")
    module.load_state_dict({name: tensors[name] for name in common}, strict=False)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
