"""Requests that come alone go through the network together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from punctum.serve.limits import Limits, RequestError

Item = TypeVar("Item")
Key = TypeVar("Key")
Found = TypeVar("Found")


class Watch(Protocol):
    """Who is told how the queue fares."""

    def queued(self, count: int) -> None:
        """So many items wait."""

    def ran(self, count: int, seconds: float) -> None:
        """So many items were answered together, in so many seconds."""


@dataclass(eq=False)
class _Job(Generic[Item, Key, Found]):
    item: Item
    key: Key
    arrived: float
    answer: "asyncio.Future[Found]"


class Batcher(Generic[Item, Key, Found]):
    """Gathers what arrives, and runs it in one thread of its own.

    While the thread is busy, items pile up and go together next. When it is idle, the first one waits a moment for
    others. Items whose waiter has given up are not run.

    Args:
        run: items of one key to as many answers; called in the thread.
        limits: `batch` and `wait_seconds`.
        watch: told of queue and batches.
    """

    def __init__(
        self, run: Callable[[Sequence[Item], Key], Sequence[Found]], limits: Limits, watch: Watch | None = None
    ) -> None:
        self._run, self._limits, self._watch = run, limits, watch
        self._waiting: deque[_Job[Item, Key, Found]] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether items are taken."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Take items from now on."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Take none any more; whoever waits is told so."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while self._waiting:
            job = self._waiting.popleft()
            if not job.answer.done():
                job.answer.set_exception(_stopping())
        await asyncio.to_thread(self._thread.shutdown)

    async def answer(self, items: Sequence[Item], key: Key) -> list[Found]:
        """What is said of the items, in their order.

        Args:
            items: of one request.
            key: only items of one key go together.
        Raises:
            RequestError: 503, the server stops.
            Exception: whatever `run` raised of one of them.
        """
        if not self.running:
            raise _stopping()
        loop, now = asyncio.get_running_loop(), perf_counter()
        jobs = [_Job(item, key, now, loop.create_future()) for item in items]
        self._waiting.extend(jobs)
        self._tell()
        self._arrived.set()
        if len(self._waiting) >= self._limits.batch:
            self._full.set()
        try:
            return list(await asyncio.gather(*(job.answer for job in jobs)))
        finally:
            # One failed, or the request ran out of time: nobody asks for the others any more.
            for job in jobs:
                job.answer.cancel()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await self._linger()
            jobs = self._next_batch()
            if not jobs:
                continue
            try:
                await loop.run_in_executor(self._thread, self._answer_all, jobs, loop)
            except BaseException:
                for job in jobs:
                    if not job.answer.done():
                        job.answer.set_exception(_stopping())
                raise

    async def _linger(self) -> None:
        """Until the oldest item has waited long enough, or a batch is full."""
        if not self._waiting:
            return
        left = self._waiting[0].arrived + self._limits.wait_seconds - perf_counter()
        if left > 0 and len(self._waiting) < self._limits.batch:
            self._full.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), left)

    def _next_batch(self) -> list[_Job[Item, Key, Found]]:
        """The oldest items of the oldest one's key; the others keep their order."""
        batch: list[_Job[Item, Key, Found]] = []
        left: deque[_Job[Item, Key, Found]] = deque()
        while self._waiting:
            job = self._waiting.popleft()
            if job.answer.done():
                continue
            if len(batch) < self._limits.batch and (not batch or job.key == batch[0].key):
                batch.append(job)
            else:
                left.append(job)
        self._waiting = left
        if not left:
            self._arrived.clear()
        self._tell()
        return batch

    def _answer_all(self, jobs: Sequence[_Job[Item, Key, Found]], loop: asyncio.AbstractEventLoop) -> None:
        started = perf_counter()
        answers: list[tuple[_Job[Item, Key, Found], Found | Exception]]
        try:
            answers = list(zip(jobs, self._run([job.item for job in jobs], jobs[0].key), strict=True))
        except Exception:
            # One item that breaks the run shall not take down those beside it.
            answers = [(job, self._answer_one(job)) for job in jobs]
        seconds = perf_counter() - started
        loop.call_soon_threadsafe(self._hand_out, answers, seconds)

    def _answer_one(self, job: _Job[Item, Key, Found]) -> Found | Exception:
        try:
            return self._run([job.item], job.key)[0]
        except Exception as error:
            return error

    def _hand_out(
        self, answers: "Sequence[tuple[_Job[Item, Key, Found], Found | Exception]]", seconds: float
    ) -> None:
        if self._watch is not None:
            self._watch.ran(len(answers), seconds)
        for job, answer in answers:
            if job.answer.done():
                continue
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)

    def _tell(self) -> None:
        if self._watch is not None:
            self._watch.queued(len(self._waiting))


def _stopping() -> RequestError:
    return RequestError(503, "the server is stopping", retry_after=5)
