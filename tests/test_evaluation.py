"""evaluation.npz: what is written is what is read, and strangers' files are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from punctum.data import read
from punctum.evaluate import evaluate
from punctum.evaluation import Evaluation
from punctum.judging import Protocol


def test_an_evaluation_holds_what_its_metrics_were_made_of(trained: Path, scenes: Path, tmp_path: Path) -> None:
    metrics = evaluate(trained, scenes / "test.json", out=tmp_path, protocol=Protocol(normalizer="pixels"))
    found, truth = Evaluation.load(tmp_path), read(scenes / "test.json")
    assert tuple(found.names) == truth.schema.names
    assert [Path(p) for p in found.images] == list(truth.images)
    assert (np.isfinite(found.target).all(-1) == truth.labelled).all()
    assert np.nanmean(found.errors) == pytest.approx(metrics["epe_px"]["mean"])
    assert np.nanmedian(found.errors) == pytest.approx(metrics["epe_px"]["median"])
    assert (found.lengths == 1).all()
    assert str(found.normalizer) in json.dumps(metrics["normalizer"])
    assert found.covariance is not None
    assert found.covariance.shape == (*found.score.shape, 2, 2)


def test_what_is_not_there_or_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="punctum evaluate"):
        Evaluation.load(tmp_path)
    path = tmp_path / "evaluation.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match="not what"):
        Evaluation.load(tmp_path)
    np.savez(path, names=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not what"):
        Evaluation.load(tmp_path)
