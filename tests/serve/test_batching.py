"""What goes together, what does not, and who is answered when something breaks."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from punctum.serve.batching import Batcher
from punctum.serve.limits import Limits, RequestError


class Double:
    """Doubles numbers, once `free`; keeps the batches."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.batches: list[tuple[str, list[int]]] = []

    def __call__(self, items: Sequence[int], key: str) -> list[int]:
        self.free.wait(10)
        self.batches.append((key, list(items)))
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


def run(test: Any, **limits: Any) -> tuple[Double, Any]:
    double = Double()

    async def whole() -> Any:
        batcher: Batcher[int, str, int] = Batcher(double, Limits(**limits))
        await batcher.start()
        try:
            return await asyncio.wait_for(test(batcher, double), 10)
        finally:
            double.free.set()
            await batcher.stop()

    return double, asyncio.run(whole())


async def asked(batcher: Any, *items: int, key: str = "a") -> asyncio.Task[Any]:
    task = asyncio.create_task(batcher.answer(items, key))
    await asyncio.sleep(0.02)
    return task


def test_what_arrives_while_the_network_is_busy_goes_together() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        tasks = [await asked(batcher, n) for n in (1, 2, 3, 4, 5, 6)]
        double.free.set()
        return await asyncio.gather(*tasks)

    double, answers = run(test, batch=4, wait_seconds=0)
    assert answers == [[2], [4], [6], [8], [10], [12]]
    assert double.batches == [("a", [1]), ("a", [2, 3, 4, 5]), ("a", [6])]


def test_the_first_waits_a_moment_and_a_full_batch_does_not() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        double.free.set()
        started = asyncio.get_running_loop().time()
        tasks = [await asked(batcher, n) for n in (1, 2, 3)]
        answers = await asyncio.gather(*tasks)
        return answers, asyncio.get_running_loop().time() - started

    double, (answers, seconds) = run(test, batch=3, wait_seconds=5)
    assert answers == [[2], [4], [6]]
    assert double.batches == [("a", [1, 2, 3])]
    assert seconds < 3


def test_different_wishes_do_not_mix_and_none_starves() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        tasks = [await asked(batcher, n, key=key) for n, key in enumerate("xababa")]
        double.free.set()
        return await asyncio.gather(*tasks)

    double, answers = run(test, batch=8, wait_seconds=0)
    assert answers == [[0], [2], [4], [6], [8], [10]]
    assert double.batches == [("x", [0]), ("a", [1, 3, 5]), ("b", [2, 4])]


def test_one_that_breaks_takes_no_other_down() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        tasks = [await asked(batcher, n) for n in (1, 13, 3)]
        double.free.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    _, (first, broken, third) = run(test, batch=3, wait_seconds=5)
    assert (first, third) == ([2], [6])
    assert isinstance(broken, ValueError)


def test_who_has_given_up_is_not_run() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        first, second = await asked(batcher, 1), await asked(batcher, 2, 3)
        second.cancel()
        third = await asked(batcher, 4)
        double.free.set()
        return await first, await third

    double, answers = run(test, batch=8, wait_seconds=0)
    assert answers == ([2], [8])
    assert double.batches == [("a", [1]), ("a", [4])]


def test_a_request_larger_than_a_batch() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        double.free.set()
        return await batcher.answer(list(range(7)), "a")

    double, answers = run(test, batch=3, wait_seconds=0)
    assert answers == [0, 2, 4, 6, 8, 10, 12]
    assert [len(items) for _, items in double.batches] == [3, 3, 1]


def test_stopping_tells_those_who_wait() -> None:
    async def test(batcher: Any, double: Double) -> Any:
        tasks = [await asked(batcher, n) for n in (1, 2)]
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0.02)
        double.free.set()
        await stopping
        with pytest.raises(RequestError, match="stopping"):
            await batcher.answer([3], "a")
        return await asyncio.gather(*tasks, return_exceptions=True)

    _, answers = run(test, batch=1, wait_seconds=0)
    assert [error.status for error in answers] == [503, 503]
