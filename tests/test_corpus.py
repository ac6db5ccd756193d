"""Bad and hostile input: one clear message each, exit 1, nothing half written; what is only unusual works."""

import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from corpus import make
from corpus.manifest import CASES, FINE, Case
from corpus.runs import broken
from corpus.texts import GOOD
from punctum.cli import main

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


def placed(case: Case) -> AbstractContextManager[None]:
    """What is wrong with the place where a case writes."""
    return no_space() if case.file == "full_disk" else nullcontext()


def listing(folder: Path) -> dict[str, int]:
    """Every file below a folder, with its size."""
    return {str(p.relative_to(folder)): p.lstat().st_size for p in sorted(folder.rglob("*")) if not p.is_dir()}


def words_of(case: Case, verb: str, corpus: Path, run: Path, out: Path, scenes: Path, tiny: list[str]) -> list[str]:
    """The command that gets the case's file."""
    if case.kind == "outputs":
        return writing(verb, corpus, run, out / "into" if case.file == "file_as_folder" else out, scenes, tiny)
    file = corpus / case.kind / case.file
    if case.kind in ("models", "runs"):
        run, file = broken(run, out.parent, case.file), corpus / "annotations" / "good.png"
    data = corpus / "annotations" / "with_mark.json"
    if case.kind == "pictures" and verb == "check":
        content = {**GOOD, "images": [{"id": 1, "file_name": case.file}]}
        file = out.parent / "picture.json"
        file.write_text(json.dumps(content))
        return ["check", str(file), "--images", str(corpus / "pictures"), "--out", str(out / "check")]
    if case.kind == "models" and verb in ("evaluate", "calibrate"):
        file = scenes / "test.json"
    commands = {
        "predict": ["predict", run, file, "--out", out / "points.csv", "--device", "cpu"],
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


def writing(verb: str, corpus: Path, run: Path, out: Path, scenes: Path, tiny: list[str]) -> list[str]:
    """A command whose only fault is where it writes."""
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
def test_case(
    case: Case,
    verb: str,
    corpus: Path,
    run: Path,
    scenes: Path,
    tiny: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "into").write_text("a file")
    words = words_of(case, verb, corpus, run, out, scenes, tiny)
    before = listing(tmp_path), listing(corpus)
    with placed(case):
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
    assert (listing(tmp_path), listing(corpus)) == before
