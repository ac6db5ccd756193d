"""The torchmetrics classes: any split into batches or processes gives what the function gives on everything."""

import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.metrics import EPE, MRE, NME, PCK, PCKAUC, SDR, distances, epe, mre, nme, pck, pck_auc, sdr
from punctum.metrics.stateful import PointMetric

THRESHOLDS = [0.05, 0.3]


def data(n: int, k: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(n, k, 2, generator=generator) * 100
    visible = torch.rand(n, k, generator=generator) < 0.7
    return {
        "preds": target + torch.randn(n, k, 2, generator=generator) * 5,
        "target": torch.where(visible[..., None], target, torch.nan),
        "visible": visible,
        "lengths": torch.rand(n, generator=generator) * 30 + 5,
        "spacing": torch.rand(n, 2, generator=generator) + 0.1,
    }


def metrics() -> list[PointMetric]:
    return [EPE(), PCK(THRESHOLDS), PCK([0.1]), PCKAUC(0.5), NME(0.2), MRE(), SDR(), MRE(unit="px")]


def functions(batch: dict[str, torch.Tensor]) -> list[Any]:
    points = (batch["preds"], batch["target"], batch["visible"])
    d, mm, lengths = distances(*points), distances(*points, batch["spacing"]), batch["lengths"]
    results = [epe(d), pck(d, lengths, THRESHOLDS), pck(d, lengths, [0.1]), pck_auc(d, lengths, 0.5)]
    return [*results, nme(d, lengths, 0.2), mre(mm), sdr(mm), mre(d)]


def update(metric: PointMetric, batch: dict[str, torch.Tensor], rows: slice) -> None:
    extra = {PCK: "lengths", PCKAUC: "lengths", NME: "lengths", MRE: "spacing", SDR: "spacing"}.get(type(metric))
    if getattr(metric, "unit", None) == "px":
        extra = None
    keys = ["preds", "target", "visible", *([extra] if extra else [])]
    metric.update(**{key: batch[key][rows] for key in keys})


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 9), k=st.integers(1, 3), seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 9)))
def test_any_split_gives_what_the_function_gives(n, k, seed, cuts):
    batch = data(n, k, seed)
    edges = sorted({0, n, *(min(cut, n) for cut in cuts)})
    for metric, expected in zip(metrics(), functions(batch), strict=True):
        for start, stop in itertools.pairwise(edges):
            update(metric, batch, slice(start, stop))
        close(metric.compute(), expected)


def test_reset_forgets_and_an_empty_batch_is_harmless():
    first, second = data(4, 3), data(5, 2, seed=1)
    for metric, expected in zip(metrics(), functions(second), strict=True):
        update(metric, first, slice(None))
        metric.compute()
        metric.reset()
        update(metric, second, slice(0, 0))
        update(metric, second, slice(None))
        close(metric.compute(), expected)


def test_forward_returns_the_batch_and_keeps_the_rest():
    batch = data(6, 2)
    metric = EPE()
    halves = [{key: value[rows] for key, value in batch.items()} for rows in (slice(0, 3), slice(3, 6))]
    for half in halves:
        close(metric(half["preds"], half["target"], half["visible"]), functions(half)[0])
    close(metric.compute(), functions(batch)[0])


def test_nothing_to_measure_is_one_clear_error_and_no_warning():
    for metric in metrics():
        with pytest.raises(RuntimeError, match=rf"call {type(metric).__name__}.update\(\) first"):
            metric.compute()


def test_survives_pickle_and_a_change_of_precision():
    batch = data(4, 1)
    for metric, expected in zip(metrics(), functions(batch), strict=True):
        update(metric, batch, slice(0, 2))
        copy = pickle.loads(pickle.dumps(metric)).half().to("cpu")
        update(copy, batch, slice(2, 4))
        close(copy.compute(), expected)
        close(pickle.loads(pickle.dumps(copy)).compute(), expected)


def test_mistakes():
    batch = data(4, 3)
    metric = EPE()
    update(metric, batch, slice(None))
    with pytest.raises(ValueError, match="2 keypoints, those before had 3"):
        update(metric, data(4, 2), slice(None))
    with pytest.raises(ValueError, match="lengths must be"):
        PCK().update(batch["preds"], batch["target"], batch["visible"], lengths=torch.ones(3))
    with pytest.raises(ValueError, match="needs a spacing"):
        SDR().update(batch["preds"], batch["target"], batch["visible"])
    with pytest.raises(ValueError, match="takes no spacing"):
        MRE(unit="px").update(batch["preds"], batch["target"], batch["visible"], spacing=[1.0, 1.0])
    with pytest.raises(ValueError, match="unknown unit"):
        MRE(unit="cm")  # type: ignore[arg-type]
    for wrong in (lambda: PCK([]), lambda: NME(0), lambda: PCKAUC(-1), lambda: SDR([0])):
        with pytest.raises(ValueError, match="thresholds must be"):
            wrong()


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    batch = data(7, 2)
    rows = [[slice(0, 2), slice(2, 5)], [slice(5, 7)], []][rank]  # unequal, and one process without data
    results = []
    for metric in metrics():
        for part in rows:
            update(metric, batch, part)
        results.append(metric.compute())
    torch.distributed.destroy_process_group()
    torch.save([tuple(r) if isinstance(r, tuple) else {k: tuple(v) for k, v in r.items()} for r in results],
               f"{folder}/{rank}.pt")  # fmt: skip


@pytest.mark.slow
def test_three_processes_one_without_data_agree(tmp_path: Path):
    torch.multiprocessing.spawn(_process, (str(tmp_path),), nprocs=3)
    expected = functions(data(7, 2))
    expected = [tuple(r) if isinstance(r, tuple) else {k: tuple(v) for k, v in r.items()} for r in expected]
    for rank in range(3):
        close(torch.load(tmp_path / f"{rank}.pt"), expected)
