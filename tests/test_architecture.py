"""Which room may import which: the directions of the design, read from the source with `ast`.

    ops <- heads <- model <- train, evaluate, compare, predict, export <- serve, cli

Imports inside functions and under TYPE_CHECKING count: a room that needs another one only sometimes still needs it.
A room that the tables below do not name is free, but is no way round: what a room reaches through it counts too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import punctum
import punctum.data

ROOT = Path(punctum.__file__).parent

TOP = {"serve", "cli"}
APPLICATIONS = {
    "train", "training", "train_settings", "evaluate", "compare", "predict", "predict_write", "predict_files",
    "predict_layers", "scale", "score", "score_points", "score_oks", "check", "sigmas", "demo", "export", "diagnose",
    "terminal", "terminal_diagnosis", "predict_network", "predict_reading", "benchmark_run",
    "check_judge", "check_rank", "check_labels", "check_draw", "suggest", "suggest_looks", "suggest_choose",
    "model_density", "deploy", "loading", "convert", "stream", "predict_finder", "predict_scans", "write_layers",
} | TOP  # fmt: skip
MODEL = {"model"} | APPLICATIONS
HEADS = {"heads"} | MODEL

# room: the rooms that it must not reach, directly or through others
FORBIDDEN_ROOMS = {
    "heads": MODEL,
    "backbones": HEADS,
    "data": HEADS,
    "metrics": HEADS,
    "schema": HEADS,
    "model": APPLICATIONS,
    # A page is made from what a measurement left behind, by whoever did not measure it too.
    "report": {"backbones"} | MODEL - {"compare"},
    "evaluation": HEADS,
    "judging": HEADS,
    # Another package's names for ops, with nothing but torch behind them; settings as files.
    "compat": {"data", "metrics", "backbones"} | HEADS,
    # Arrays in, arrays out: anybody's predictions.
    "downstream": {"data", "metrics", "backbones"} | HEADS,
    "recipes": {"metrics", "backbones"} | HEADS,
    **dict.fromkeys(APPLICATIONS - TOP, TOP),
}
LIGHTNING = {"lightning", "lightning_fabric", "pytorch_lightning"}
NOWHERE = {"torchvision"}


def room_of(module: str) -> str:
    """`punctum.heads.dsnt` is in the room `heads`; `punctum` itself in none."""
    return [*module.split("."), ""][1]


def imports(module: str, source: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything a module imports, wherever in it the import stands."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from punctum import heads` names a room only together with what it imports.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            named = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from ((node.lineno, name) for name in named)


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What one module imports that its room must not, in words."""
    room = room_of(module)
    found = []
    for line, name in imports(module, source, is_package):
        top = name.split(".")[0]
        inner = room_of(name) if top == "punctum" else ""
        if room == "ops" and not _allowed_in_ops(module, name):
            reason = "ops imports torch, the standard library and ops"
        elif inner in FORBIDDEN_ROOMS.get(room, set()):
            reason = f"{room} must not import {inner}"
        elif top in LIGHTNING and not room.startswith("train"):
            reason = "only the training room imports Lightning"
        elif top == "jsonargparse" and not room.startswith("cli"):
            reason = "only cli imports jsonargparse"
        elif top in NOWHERE:
            reason = f"nothing imports {top}"
        else:
            continue
        found.append(f"{module}, line {line}: imports {name}, but {reason}")
    return found


def _allowed_in_ops(module: str, name: str) -> bool:
    top = name.split(".")[0]
    if top == "punctum":
        return room_of(name) == "ops"
    return top == "torch" or top in sys.stdlib_module_names or (top == "triton" and ".kernels" in module)


def source_files() -> dict[str, tuple[str, bool]]:
    """module: (source, is it a package) of everything under src/punctum."""
    files = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        files[".".join(parts[:-1] if is_package else parts)] = (path.read_text(encoding="utf-8"), is_package)
    return files


def detours(files: dict[str, tuple[str, bool]]) -> list[str]:
    """Forbidden rooms reached through rooms of which neither table speaks."""
    reaches: dict[str, set[str]] = {}
    for module, (source, is_package) in files.items():
        names = (name for _, name in imports(module, source, is_package) if name.split(".")[0] == "punctum")
        # The root package hands out everything, lazily; to import a name from it is not to import all of that.
        reaches.setdefault(room_of(module), set()).update(room for n in names if (room := _room_in(n, files)))
    found = []
    for start, forbidden in FORBIDDEN_ROOMS.items():
        seen, waiting = {start}, [(start, [start])]
        while waiting:
            room, way = waiting.pop()
            for following in reaches.get(room, set()) - seen:
                seen.add(following)
                waiting.append((following, [*way, following]))
                if following in forbidden:
                    found.append(" -> ".join([*way, following]))
    return found


def _room_in(name: str, files: dict[str, tuple[str, bool]]) -> str:
    """The room that an imported name lies in; "" for a value of the root package (`from punctum import load`)."""
    room = room_of(name)
    return room if f"punctum.{room}" in files else ""


FILES = source_files()


@pytest.mark.parametrize("module", FILES)
def test_module_imports_only_what_its_room_may(module):
    assert violations(module, *FILES[module]) == []


def test_no_room_reaches_a_forbidden_one_by_a_detour():
    assert detours(FILES) == []


def test_there_is_no_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "misc"}
    assert [module for module in FILES if module.split(".")[-1] in drawers] == []


FORBIDDEN = [
    ("punctum.ops.new", "import numpy"),
    ("punctum.ops.new", "def f():\n    from scipy import stats"),
    (
        "punctum.ops.new",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from punctum.heads.base import Head",
    ),
    ("punctum.ops.new", "from punctum import schema"),
    ("punctum.ops.new", "from ..heads import base"),
    ("punctum.ops.new", "from punctum import __version__"),
    ("punctum.ops.new", "import triton"),
    ("punctum.heads.new", "from punctum.model import KeypointModel"),
    ("punctum.heads.new", "from .. import model"),
    ("punctum.heads.new", "import lightning.pytorch as pl"),
    ("punctum.heads.new", "try:\n    import pytorch_lightning\nexcept ImportError:\n    pass"),
    ("punctum.heads.new", "import importlib\nimportlib.import_module('lightning')"),
    ("punctum.backbones.new", "from punctum.heads import base"),
    ("punctum.data.new", "import punctum.heads.base"),
    ("punctum.data.new", "class A:\n    def f(self):\n        from punctum import model"),
    ("punctum.metrics.new", "from punctum.model import load"),
    ("punctum.metrics.new", "from punctum.heads.base import Prediction"),
    ("punctum.model", "from punctum.train import fit"),
    ("punctum.model", "from punctum.predict import predict"),
    ("punctum.evaluate", "from punctum.cli import main"),
    ("punctum.evaluate", "import lightning"),
    ("punctum.train", "import jsonargparse"),
    ("punctum.compat.other", "from punctum.heads import base"),
    ("punctum.compat.other", "from punctum.model import KeypointModel"),
    ("punctum.recipes.more", "from punctum.train import train"),
    ("punctum.score", "from punctum.cli import main"),
    ("punctum.model", "from punctum.predict_layers import LayerPredictor"),
    ("punctum.compare", "from punctum.serve import app"),
    ("punctum.backbones.new", "from torchvision.models import resnet18"),
    ("punctum.train", "import torchvision"),
    ("punctum", "import lightning"),
]


@pytest.mark.parametrize(("module", "source"), FORBIDDEN)
def test_a_forbidden_import_is_caught(module, source):
    caught = violations(module, source)
    assert len(caught) == 1
    assert caught[0].startswith(f"{module}, line {len(source.splitlines())}:") or "try:" in source


ALLOWED = [
    (
        "punctum.ops.new",
        "import math\nimport torch.nn.functional as F\nfrom punctum.ops import coords\nfrom . import coords",
    ),
    ("punctum.ops.kernels.triton", "import triton.language as tl"),
    ("punctum.heads.new", "from punctum import ops\nfrom punctum.schema import Schema\nfrom .base import Head"),
    ("punctum.model", "from punctum import backbones, heads\nfrom punctum.data import annotations"),
    ("punctum.data.new", "import cv2\nimport numpy\nfrom punctum.ops import transform_points"),
    ("punctum.train", "import lightning\nfrom punctum.model import KeypointModel"),
    ("punctum.training.callbacks", "from lightning.pytorch.callbacks import Callback"),
    ("punctum.train_callbacks", "from lightning.pytorch.callbacks import Callback"),
    ("punctum.cli", "import jsonargparse\nfrom punctum import train"),
    ("punctum.compat.other", "import math\nfrom punctum import ops"),
    ("punctum.recipes.more", "import yaml\nfrom punctum.settings import TrainSettings"),
    ("punctum", "def load(path):\n    from punctum.model import KeypointModel"),
]


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_an_allowed_import_is_let_through(module, source):
    assert violations(module, source) == []


def test_relative_imports_of_a_package_count_from_itself():
    assert violations("punctum.heads", "from . import dsnt", is_package=True) == []
    assert violations("punctum.heads", "from ..model import KeypointModel", is_package=True) != []


def test_a_detour_is_caught_and_shown():
    files = {
        "punctum": ("def load(p):\n    from punctum.model import KeypointModel", True),
        "punctum.data": ("from punctum.extras import thing\nfrom punctum import __version__", True),
        "punctum.extras": ("from punctum.heads.base import Head", False),
        "punctum.heads": ("", True),
        "punctum.metrics": ("from punctum import __version__", True),
        "punctum.model": ("from punctum import heads", False),
    }
    assert detours(files) == ["data -> extras -> heads"]


# What predicts with an exported model, and all that it loads when it is imported.
LEAN = ["punctum.cli_predict_onnx", "punctum.deploy.predict_onnx", "punctum.loading", "punctum.serve.engine_onnx"]
BROUGHT = {"numpy", "cv2", "rich", "onnxruntime"}


def loaded(module: str, files: dict[str, tuple[str, bool]]) -> Iterator[str]:
    """Full names of what is loaded with a module: what is imported in functions, or for types alone, is not."""
    source, is_package = files[module]
    body = [node for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom, ast.Try))]
    for _, name in imports(module, ast.unparse(ast.Module(body, [])), is_package):
        yield name
        yield name.rpartition(".")[0]
        # `punctum.data` hands out its names lazily: each from a module of its own.
        home = punctum.data._HOME_OF.get(name.removeprefix("punctum.data."))
        if home is not None and name.startswith("punctum.data."):
            yield f"punctum.data.{home}"


def heavy(start: str, files: dict[str, tuple[str, bool]]) -> list[str]:
    """The ways from a module to packages that need not be there where exported models predict."""
    ways, found = [[start]], []
    seen = {start}
    while ways:
        way = ways.pop()
        for name in loaded(way[-1], files):
            top = name.split(".")[0]
            if name in files and name not in seen:
                seen.add(name)
                ways.append([*way, name])
            elif top and top != "punctum" and top not in BROUGHT | sys.stdlib_module_names:
                found.append(" -> ".join([*way, top]))
    return found


@pytest.mark.parametrize("module", [*LEAN, *(name for name in FILES if room_of(name) in ("stream", "deploy"))])
def test_exported_models_predict_without_torch(module):
    assert heavy(module, FILES) == []


def test_a_way_to_torch_is_caught_and_shown():
    files = {
        "punctum.deploy": ("from punctum.extras import thing\nif True:\n    pass", True),
        "punctum.extras": ("import numpy\nimport torch\n\n\ndef f():\n    import yaml", False),
    }
    assert heavy("punctum.deploy", files) == ["punctum.deploy -> punctum.extras -> torch"]


def test_importing_punctum_loads_nothing_heavy():
    """In a fresh interpreter, since this one has loaded nearly everything."""
    heavy = ["lightning", "pytorch_lightning", "matplotlib", "cv2", "torchmetrics", "jsonargparse", "tensorboard"]
    code = f"import sys, punctum; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT.parent)}
    )
    assert result.stdout.strip() == "[]"
