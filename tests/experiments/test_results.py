"""Intervals against SciPy's own, tables and files."""

import doctest
import json

import pytest
from scipy import stats

import results


def test_the_interval_is_students() -> None:
    values = [3.1, 2.9, 4.0, 3.3]
    mean, half = results.interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert half is not None
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert results.interval([5.0]) == (5.0, None)


def test_files_are_plain_json(tmp_path) -> None:
    path = results.write_result(tmp_path / "new" / "a.json", {"a": (1.0, float("nan")), 2: "ü"})
    assert json.loads(path.read_text()) == {"a": [1.0, None], "2": "ü"}
    assert results.read_result(path) == {"a": [1.0, None], "2": "ü"}
    assert results.read_result(tmp_path / "none.json") is None
    with pytest.raises(TypeError):
        results.write_result(path, {"a": object()})


def test_the_environment_says_where_and_how() -> None:
    found = results.environment()
    assert found["device"]
    assert {"python", "punctum", "torch"} <= found["versions"].keys()
    json.dumps(found)


def test_examples_run() -> None:
    assert doctest.testmod(results).failed == 0
