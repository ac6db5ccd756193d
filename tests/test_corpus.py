"""Bad and hostile input: one clear message each, exit 1, nothing half written; what is only unusual works."""

import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpus import make
from corpus.exports import broken_export
from corpus.manifest import CASES, FINE, Case
from corpus.runs import broken
from corpus.texts import GOOD
from privileges import without_override
from punctum.cli import main
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema

LONGEST = 600
TRIALS = [(case, verb) for case in CASES for verb in case.verbs]


@pytest.fixture(scope="session")
def run(trained: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is calibrated and evaluated."""
    from punctum.calibrate import calibrate
    from punctum.data.synthetic import write_scenes
    from punctum.evaluate import evaluate

    folder = tmp_path_factory.mktemp("corpus-run")
    data = write_scenes(folder, 24, seed=5, size=64, split="held")
    copy = Path(shutil.copytree(trained, folder / "run"))
    calibrate(copy, data, levels=(0.5, 0.8), device="cpu")
    evaluate(copy, data, device="cpu", report=False)
    return copy


@pytest.fixture(scope="session")
def box_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that looks at boxes."""
    backbone = {"name": "resnet18", "width": 0.0625}
    model = KeypointModel(ModelConfig(Schema(("nose",)), (32, 32), backbone, {"name": "dsnt"}, {"region": "box"}))
    run = tmp_path_factory.mktemp("boxes") / "run"
    model.save(run / "model")
    return run


@pytest.fixture(scope="session")
def corpus(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files, and what the verbs need beside them."""
    folder = tmp_path_factory.mktemp("corpus")
    shutil.copytree(make.HERE / "files", folder, dirs_exist_ok=True)
    make.make_others(folder)
    return folder


@contextmanager
def no_space() -> Iterator[None]:
    """Every write to a file fails, as on a full disk: the system's own error, whichever library writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder in which nothing can be made or changed: for root, too, whom modes alone do not stop."""
    folder.chmod(0o555)
    try:
        with without_override():
            yield
    finally:
        folder.chmod(0o755)


def placed(case: Case, out: Path) -> AbstractContextManager[None]:
    """What is wrong with the place where a case writes."""
    if case.file == "read_only":
        return read_only(out)
    return no_space() if case.file == "full_disk" else nullcontext()


def listing(folder: Path) -> dict[str, int]:
    """Every file below a folder, with its size."""
    return {str(p.relative_to(folder)): p.lstat().st_size for p in sorted(folder.rglob("*")) if not p.is_dir()}


@dataclass(frozen=True)
class Kit:
    """What commands need beside a case's file."""

    corpus: Path
    run: Path
    other_run: Path | None
    scenes: Path
    tiny: list[str]


@pytest.fixture
def kit(case: Case, corpus: Path, run: Path, scenes: Path, tiny: list[str], request: pytest.FixtureRequest) -> Kit:
    others = {"exports": "onnx_file", "boxes": "box_run"}
    other = request.getfixturevalue(others[case.kind]) if case.kind in others else None
    return Kit(corpus, run, other, scenes, tiny)


def words_of(case: Case, verb: str, kit: Kit, out: Path) -> list[str]:
    """The command that gets the case's file."""
    corpus, run, scenes, tiny = kit.corpus, kit.run, kit.scenes, kit.tiny
    if case.kind == "outputs":
        return writing(verb, kit, out / "into" if case.file == "file_as_folder" else out)
    good = corpus / "annotations" / "good.png"
    file = corpus / case.kind / case.file
    run = kit.other_run or run
    if case.kind == "exports":
        run, file = broken_export(run, out.parent, case.file), good
    if case.kind in ("models", "runs"):
        run, file = broken(run, out.parent, case.file), good
    data = corpus / "annotations" / "with_mark.json"
    if case.kind == "pictures" and verb == "check":
        content = {**GOOD, "images": [{"id": 1, "file_name": case.file}]}
        file = out.parent / "picture.json"
        file.write_text(json.dumps(content))
        return ["check", str(file), "--images", str(corpus / "pictures"), "--out", str(out / "check")]
    if case.kind == "models" and verb in ("evaluate", "calibrate"):
        file = scenes / "test.json"
    points = ["--out", out / "points.csv", "--device", "cpu"]
    commands = {
        "predict": ["predict", run, file, *points],
        "predict-boxes": ["predict", run, good, "--boxes", file, *points],
        "convert": ["convert", file, out / "there.json"],
        "check": ["check", file, "--out", out / "check"],
        "train": ["train", file, "--out", out / "run", "--max-epochs", "1", *tiny],
        "evaluate": ["evaluate", run, file, "--out", out / "measured", "--device", "cpu"],
        "calibrate": ["calibrate", run, file, "--device", "cpu"],
        "calibrate-run": ["calibrate", run, "--device", "cpu"],
        "score": ["score", file, data, "--metric", "epe", "--out", out / "score.json"],
        "train-config": ["train", "--config", run / "config.yaml", "--out", out / "run"],
        "resume": ["train", "--out", run, "--resume"],
        "report": ["report", run, "--out", out / "report.html"],
    }
    return [str(word) for word in commands[verb]]


def writing(verb: str, kit: Kit, out: Path) -> list[str]:
    """A command whose only fault is where it writes."""
    corpus, run, scenes, tiny = kit.corpus, kit.run, kit.scenes, kit.tiny
    picture, data = corpus / "annotations" / "good.png", corpus / "annotations" / "with_mark.json"
    commands = {
        "predict": ["predict", run, picture, "--out", out / "points.csv", "--device", "cpu"],
        "draw": ["predict", run, picture, "--out", out / "a.csv", "--draw", out / "drawn", "--device", "cpu"],
        "train": ["train", scenes / "train.json", "--out", out / "run", "--max-epochs", "1", *tiny],
        "evaluate": ["evaluate", run, scenes / "test.json", "--out", out / "m", "--no-report", "--device", "cpu"],
        "check": ["check", data, "--out", out / "check"],
        "suggest": ["suggest", run, picture, scenes / "images", "-n", "1", "--out", out / "s.csv", "--device", "cpu"],
        "report": ["report", run, "--out", out / "report.html"],
        "score": ["score", corpus / "predictions" / "far.csv", data, "--metric", "epe", "--out", out / "score.json"],
        "sigmas": ["sigmas", data, data, "--out", out / "sigmas.json"],
        "export": ["export", run, "--out", out / "model.onnx"],
        "convert": ["convert", data, out / "there.csv"],
        "compare": ["compare", scenes / "train.json", "--out", out / "c", "--heads", "dsnt,heatmap", *tiny],
    }
    return [str(word) for word in commands[verb]]


@pytest.mark.parametrize(("case", "verb"), TRIALS, ids=lambda value: value.name if isinstance(value, Case) else value)
def test_case(case: Case, verb: str, kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "into").write_text("a file")
    words = words_of(case, verb, kit, out)
    before = listing(tmp_path), listing(kit.corpus)
    with placed(case, out):
        code = main(words)
    said = capsys.readouterr()
    assert "PUNCTUM_TRAPPED" not in os.environ
    if case.words == FINE:
        assert (code, said.err) == (0, "")
        assert listing(out)
        return
    assert code == 1, said.err or said.out
    assert said.err.startswith("punctum: ")
    assert "Traceback" not in said.err.replace("\\nTraceback", "")
    assert all(word in said.err for word in case.words), said.err
    assert len(said.err) <= LONGEST + len(str(tmp_path)) * said.err.count(str(tmp_path)), said.err
    assert said.err.removesuffix("\n").replace("\n  ", "").isprintable(), repr(said.err)
    assert (listing(tmp_path), listing(kit.corpus)) == before
