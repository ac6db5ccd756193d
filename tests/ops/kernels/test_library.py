import ctypes

import numpy as np
import pytest
import torch
from torch import Tensor

from punctum.ops.kernels import library

needs_library = pytest.mark.skipif(library.unavailable() is not None, reason=str(library.unavailable()))
LEVELS = (0, 1, 2)


class Arguments(ctypes.Structure):
    _fields_ = (("values", ctypes.c_void_p), ("results", ctypes.c_void_p))


def applied(name: str, values: np.ndarray) -> np.ndarray:
    padded = torch.from_numpy(np.pad(values, (0, -len(values) % 16)))
    results = torch.empty_like(padded)
    library.call(name, Arguments(library.pointer(padded), library.pointer(results)), len(padded) // 16, 1)
    return results.numpy()[: len(values)]


@pytest.fixture(params=LEVELS)
def level(request):
    loaded, _ = library._loaded()
    if loaded is None:
        pytest.skip(str(library.unavailable()))
    if loaded.punctum_use_level(ctypes.c_int64(request.param)) != request.param:
        pytest.skip("this machine lacks the instruction set")
    yield request.param
    loaded.punctum_use_level(ctypes.c_int64(max(LEVELS)))


def ulps(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How many units in the last place of the true value (a float64) the found one is off."""
    return np.abs(found.astype(np.float64) - true) / np.spacing(np.abs(true).astype(np.float32)).astype(np.float64)


def every_kind_of_float() -> np.ndarray:
    """Bit patterns of all exponents and both signs, NaN and infinity included."""
    words = np.arange(0, 2**32, 40961, dtype=np.uint32)
    return words.view(np.float32)


def test_exp(level):
    values = np.concatenate([np.linspace(-110, 95, 400_001, dtype=np.float32), every_kind_of_float()])
    with np.errstate(all="ignore"):
        true = np.exp(values.astype(np.float64))
        found = applied("exp_of", values)
        wide = true > np.finfo(np.float32).max
        assert (np.isnan(found) == np.isnan(values)).all()
        assert np.isinf(found[wide & (values > 88.73)]).all()
        told = ~np.isnan(values) & ~wide
        assert ulps(found[told], true[told]).max() < 1.5


def test_log(level):
    values = np.concatenate([np.geomspace(1e-45, 3e38, 400_001).astype(np.float32), every_kind_of_float()])
    with np.errstate(all="ignore"):
        true = np.log(values.astype(np.float64))
        found = applied("log_of", values)
    assert (np.isnan(found) == np.isnan(true)).all()
    assert (np.isinf(found) == np.isinf(true)).all()
    told = np.isfinite(true)
    assert ulps(found[told], true[told]).max() < 1.5


def test_log_near_one(level):
    values = (1 + np.linspace(-1e-3, 1e-3, 20_001)).astype(np.float32)
    assert ulps(applied("log_of", values), np.log(values.astype(np.float64))).max() < 1.5


def test_exp_of_shares(level):
    values = np.concatenate([np.linspace(-87, 88, 400_001, dtype=np.float32), [np.nan]]).astype(np.float32)
    found = applied("exp_share_of", values)
    assert ulps(found[:-1], np.exp(values[:-1].astype(np.float64))).max() < 1.5
    assert np.isnan(found[-1])
    beyond = -np.geomspace(87.01, 3e38, 10_001, dtype=np.float32)
    assert (applied("exp_share_of", np.concatenate([beyond, [-np.inf]]).astype(np.float32)) == 0).all()


def test_log_of_shares(level):
    values = np.geomspace(1.2e-38, 2, 400_001).astype(np.float32)
    true = np.log(values.astype(np.float64))
    assert (np.abs(applied("log_share_of", values) - true) < 1.2e-7 * (1 + np.abs(true))).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
@needs_library
def test_threads_share_all_of_the_work(threads):
    values = torch.linspace(-3, 3, 16 * 37)
    results = torch.full_like(values, torch.nan)
    loaded, _ = library._loaded()
    args = Arguments(library.pointer(values), library.pointer(results))
    loaded.punctum_exp_of(ctypes.byref(args), ctypes.c_int64(37), ctypes.c_int64(2), ctypes.c_int64(threads))
    torch.testing.assert_close(results, values.exp())


def test_library_is_loaded_or_says_why_not():
    reason = library.unavailable()
    assert reason is None or "GCC" in reason


def test_missing_library_says_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "PATH", tmp_path / "none.so")
    found, reason = library._loaded.__wrapped__()
    assert found is None
    assert "pip install" in reason


def test_broken_library_says_so(monkeypatch, tmp_path):
    path = tmp_path / "libpunctum.so"
    path.write_bytes(b"no library")
    monkeypatch.setattr(library, "PATH", path)
    found, reason = library._loaded.__wrapped__()
    assert found is None
    assert "does not load" in reason


@needs_library
def test_library_of_other_sources_is_refused(monkeypatch):
    monkeypatch.setattr(library, "VERSION", -1)
    found, reason = library._loaded.__wrapped__()
    assert found is None
    assert "other sources" in reason


def test_pointer_of_nothing_is_null():
    assert library.pointer(None).value is None
    assert isinstance(library.pointer(Tensor([1.0])).value, int)
