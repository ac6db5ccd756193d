"""A server in a process of its own, behind a real socket, asked as a user asks it."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from punctum.predict import load
from punctum.serve.run import address_of, hosts_for, is_loopback, listen
from serve.servers import Running, serving
from serve.uploads import encoded, spot


def test_a_picture(running: Running, scenes: Path, trained: Path) -> None:
    path = sorted((scenes / "images").glob("test_*"))[0]
    (wanted,) = load(trained).predict([path])
    response = httpx.post(
        f"{running.address}/predict", content=path.read_bytes(), headers={"content-type": "image/png"}
    )
    assert response.status_code == 200
    points = response.json()["images"][0]["instances"][0]["keypoints"]
    np.testing.assert_allclose([[point["x"], point["y"]] for point in points], wanted.keypoints, atol=1e-3)


def test_413_reaches_a_client_that_sends_on(running: Running) -> None:
    """Without a length, and far beyond the limit: the answer comes, and the server lives."""

    def much() -> Iterator[bytes]:
        for _ in range(32):
            yield bytes(2**19)

    for content in (bytes(6 * 2**20), much()):
        response = httpx.post(f"{running.address}/predict", content=content, headers={"content-type": "image/png"})
        assert response.status_code == 413
    assert httpx.get(f"{running.address}/health").status_code == 200


def test_a_client_that_leaves_is_no_trouble(running: Running) -> None:
    where = urlsplit(running.address)
    for _ in range(3):
        with socket.create_connection((where.hostname, where.port)) as client:
            client.sendall(
                b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\n"
                b"content-length: 999\r\n\r\nabc"
            )
    assert httpx.get(f"{running.address}/health").status_code == 200
    assert "punctum_requests_inside 0.0" in httpx.get(f"{running.address}/metrics").text


def test_what_it_is_called(running: Running) -> None:
    port = urlsplit(running.address).port
    assert httpx.get(f"http://localhost:{port}/health").status_code == 200
    assert httpx.get(f"{running.address}/health", headers={"host": "punctum.example"}).status_code == 421


def test_told_to_stop_it_stops(trained: Path) -> None:
    with serving(trained, ["--allow-host", "punctum.example"]) as server:
        assert httpx.get(f"{server.address}/health", headers={"host": "punctum.example"}).status_code == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        said = server.process.stdout.read() if server.process.stdout else ""
        assert said.strip() == "stopped"


def test_mistakes_are_one_message(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli(["serve", tmp_path / "nothing", "--port", "0"])
    assert done.returncode == 1
    assert "no such run folder" in done.stderr
    assert "Traceback" not in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli(["serve", tmp_path / "nothing", "--port", str(taken.getsockname()[1])])
    assert done.returncode == 1
    assert "cannot listen at 127.0.0.1" in done.stderr


def test_the_listener_does_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert address_of(listener).startswith("http://127.0.0.1:")
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_only_loopback_is_choosy_about_names() -> None:
    assert is_loopback("::1")
    assert not is_loopback("192.0.2.1")
    assert hosts_for("0.0.0.0", []) is None
    assert hosts_for("0.0.0.0", ["A.example"]) == ("localhost", "127.0.0.1", "::1", "0.0.0.0", "a.example")


def test_pictures_without_colour_and_with_16_bits(running: Running) -> None:
    deep = (spot()[..., 0].astype(np.uint16)) * 257
    for data in (encoded(deep), encoded(spot()[..., 0])):
        response = httpx.post(f"{running.address}/predict", content=data, headers={"content-type": "image/png"})
        assert response.status_code == 200
