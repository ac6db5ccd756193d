"""What the documentation says is tried: Python runs, commands parse, the example of a head keeps every promise."""

import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

import punctum.benchmark_run
import punctum.calibrate
import punctum.check
import punctum.check_labels
import punctum.compare.run
import punctum.convert
import punctum.demo
import punctum.deploy.predict_onnx
import punctum.diagnose
import punctum.evaluate
import punctum.export.run
import punctum.info
import punctum.predict_files
import punctum.recipes
import punctum.report.folder
import punctum.scale.predict_on_ray
import punctum.score
import punctum.serve.run
import punctum.sigmas
import punctum.suggest
import punctum.train
from conformance import SIZES, HeadCase, HeadConformance, TrainedHeadConformance
from punctum import cli, heads
from punctum.data.synthetic import write_scenes
from punctum.settings import TrainSettings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
PAGES += sorted((ROOT / "docs" / "methods").glob("*.md"))
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)

real_train = punctum.train.train


def blocks(page: Path, *languages: str) -> list[str]:
    """The page's code blocks in these languages, without the indentation of a list they may stand in."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, kind, code in found if kind in languages]


def commands(page: Path) -> list[list[str]]:
    """The arguments of every call of punctum in the page's shell blocks."""
    lines = "\n".join(blocks(page, "bash", "console", "sh")).replace("\\\n", " ").splitlines()
    found = [re.search(r"(?:-m punctum\.cli|(?:^|\s|/)punctum) (?=[a-z-])(.*)", line) for line in lines]
    calls = [shlex.split(match[1], comments=True) for match in found if match]
    return [words for words in calls if words and words[0] in cli.COMMANDS]


def python_pages() -> list[Path]:
    return [page for page in PAGES if blocks(page, "python") and page.name != "CONTRIBUTING.md"]


def small_train(settings: TrainSettings, **options: Any) -> punctum.train.TrainResult:
    """`train` as the pages call it, but for one epoch of a tiny network."""
    backbone = {**settings.backbone, "width": 0.0625}
    hardware = replace(settings.hardware, accelerator="cpu", workers=0)
    return real_train(replace(settings, max_epochs=1, budget=None, backbone=backbone, hardware=hardware), **options)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, onnx_file: Path) -> Path:
    """A folder with what the pages speak of: data/train.json, data/test.json, data/images, runs/first, run.yaml, and
    model.onnx."""
    folder = tmp_path_factory.mktemp("docs")
    data = write_scenes(folder / "data", 8, seed=0)
    write_scenes(folder / "data", 4, seed=1, split="test")
    small_train(TrainSettings(data=str(data), out=str(folder / "runs" / "first")))
    shutil.copy(onnx_file, folder / "model.onnx")
    (folder / "run.yaml").write_text(blocks(ROOT / "docs" / "training.md", "yaml")[0])
    return folder


@pytest.fixture(scope="module")
def example_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The head of CONTRIBUTING.md as one more file of the package `punctum.heads`; its name."""
    (code,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    folder = tmp_path_factory.mktemp("heads")
    (folder / f"{EXAMPLE}.py").write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "__path__", [*heads.__path__, str(folder)])
        importlib.invalidate_caches()
        heads._found.cache_clear()
        yield EXAMPLE
    heads._found.cache_clear()


EXAMPLE = re.findall(r'^    name = "(\w+)"$', (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)[0]


@pytest.mark.parametrize("page", python_pages(), ids=lambda page: page.name)
def test_python_of_the_page_runs(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(punctum.train, "train", small_train)
    names: dict[str, Any] = {"__name__": "docs"}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)
    plt.close("all")


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_of_the_page_parse(
    page: Path,
    workplace: Path,
    example_head: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    called = []
    for module, name in [
        (punctum.check, "check"),
        (punctum.check_labels, "check_labels"),
        (punctum.suggest, "suggest"),
        (punctum.train, "train"),
        (punctum.convert, "convert"),
        (punctum.compare.run, "compare"),
        (punctum.evaluate, "evaluate"),
        (punctum.diagnose, "diagnose"),
        (punctum.score, "score"),
        (punctum.calibrate, "calibrate"),
        (punctum.predict_files, "predict_files"),
        (punctum.scale.predict_on_ray, "predict_on_ray"),
        (punctum.deploy.predict_onnx, "predict_onnx"),
        (punctum.export.run, "export"),
        (punctum.sigmas, "estimate"),
        (punctum.demo, "demo"),
        (punctum.info, "print_info"),
        (punctum.benchmark_run, "benchmark"),
        (punctum.recipes, "print_recipes"),
        (punctum.report.folder, "write_report"),
        (punctum.serve.run, "serve"),
    ]:
        monkeypatch.setattr(module, name, lambda *args, **options: called.append(args))
    for words in commands(page):
        code = cli.main(words)
        assert code == 0, f"punctum {shlex.join(words)}\n{capsys.readouterr().err}"
    assert len(called) == sum("--help" not in words for words in commands(page))


def test_commands_are_found() -> None:
    """The two tests above would pass on pages they cannot read."""
    verbs = {words[0] for page in PAGES for words in commands(page)}
    assert {"check", "train", "evaluate", "predict"} <= verbs
    assert {"index.md", "coordinates.md", "measuring.md"} <= {page.name for page in python_pages()}


def test_example_head_is_found_by_itself(example_head: str) -> None:
    assert example_head in heads.available()


@pytest.mark.usefixtures("example_head")
@pytest.mark.parametrize("case", [HeadCase(EXAMPLE, size) for size in SIZES], ids=str)
class TestExampleHead(HeadConformance):
    pass


@pytest.mark.usefixtures("example_head")
@pytest.mark.parametrize("case", [HeadCase(EXAMPLE, size) for size in SIZES], ids=str)
class TestTrainedExampleHead(TrainedHeadConformance):
    pass


@pytest.mark.parametrize("package", ["punctum.ops", "punctum.heads", "punctum.data", "punctum.metrics"])
def test_every_public_name_is_on_an_api_page(package: str) -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, flags=re.MULTILINE))
    public = importlib.import_module(package)
    homes = {name: getattr(public, name).__module__ for name in public.__all__}
    missing = [name for name, home in homes.items() if not {package, home, f"{home}.{name}"} & shown]
    assert not missing, f"docs/api shows no {', '.join(missing)}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []
