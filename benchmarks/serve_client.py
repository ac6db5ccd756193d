"""A client that costs little: requests are bytes made beforehand, answers are kept as bytes and read later."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Reply:
    """One answer: its status, its body, and seconds from sending to the last byte."""

    status: int
    body: bytes
    seconds: float


def request(
    address: str,
    body: bytes,
    *,
    path: str = "/predict",
    kind: str = "image/jpeg",
    method: str = "POST",
    host: str = "",
) -> bytes:
    """An HTTP request as bytes."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {host or urlsplit(address).netloc}\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def send_all(address: str, requests: Sequence[bytes], connections: int) -> tuple[list[Reply], float]:
    """Answers in the requests' order, and the seconds that all took; so many are under way at a time."""

    async def run() -> tuple[list[Reply], float]:
        replies: list[Reply | None] = [None] * len(requests)
        left = iter(range(len(requests)))
        host, port = urlsplit(address).hostname, urlsplit(address).port
        # Connected first: what is measured is requests, not handshakes.
        streams = [await asyncio.open_connection(host, port) for _ in range(min(connections, len(requests)))]

        async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for i in left:
                started = time.perf_counter()
                writer.write(requests[i])
                replies[i] = Reply(*await _answer(reader), time.perf_counter() - started)

        started = time.perf_counter()
        await asyncio.gather(*(work(*stream) for stream in streams))
        seconds = time.perf_counter() - started
        for _, writer in streams:
            writer.close()
        return [reply for reply in replies if reply is not None], seconds

    return asyncio.run(run())


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    start = head.lower().index(b"content-length: ") + 16
    body = await reader.readexactly(int(head[start : head.index(b"\r", start)]))
    return int(head[9:12]), body


def latencies(replies: Sequence[Reply]) -> dict[str, float]:
    """Milliseconds."""
    seconds = [reply.seconds for reply in replies if reply.status == 200]
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}
