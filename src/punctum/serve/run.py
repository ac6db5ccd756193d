"""`punctum serve`: a model, a socket, and a server on it until it is told to stop."""

import logging
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import numpy as np
from rich.console import Console

from punctum.serve.engine import Engine, Wanted, make_crop
from punctum.serve.limits import Limits

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# How long those who wait for an answer still get it, once the server is told to stop.
GRACE_SECONDS = 10


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allowed_hosts: Sequence[str] = (),
    limits: Limits | None = None,
    threads: int = 0,
    device: str | None = None,
    flip_test: bool = False,
    decode: str | None = None,
    console: Console | None = None,
) -> None:
    """Serve a model until interrupted.

    Args:
        model: a run folder, or an exported `.onnx` file.
        host: the address to listen at; the default is heard on this machine alone.
        port: 0 takes a free one.
        allowed_hosts: further names by which it may be called, a proxy's say.
        limits: of bytes, pixels, time and so on.
        threads: of the network; 0: as many as PyTorch or ONNX Runtime takes.
        device: where to compute; None: the GPU where there is one.
        flip_test, decode: as for `punctum predict`.
        console: where to report.
    Raises:
        ImportError: the extra `serve` is not installed.
        ValueError: the model is not one of points in pictures.
        OSError: there is no such model, or the port is taken.
    """
    console = console or Console(quiet=True)
    try:
        import uvicorn

        from punctum.serve.app import create_app
    except ImportError as error:
        raise ImportError(f"serve needs FastAPI and uvicorn: pip install punctum[serve] ({error})") from error
    limits = limits or Limits()
    # First what fails fast.
    listener = listen(host, port)
    try:
        engine = open_engine(model, threads=threads, device=device, flip_test=flip_test, decode=decode, limits=limits)
        warm_up(engine, limits)
        app = create_app(engine, limits, name=Path(model).name, hosts=hosts_for(host, allowed_hosts))
        address = address_of(listener)
        say_where(model, engine, address, host, console)
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=64 * 1024,
        )
        # Told to stop, it answers those who wait, and then raises what it was told by.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
    console.print("stopped")


def open_engine(
    model: str | Path,
    *,
    threads: int = 0,
    device: str | None = None,
    flip_test: bool = False,
    decode: str | None = None,
    limits: Limits | None = None,
) -> Engine:
    """The model, ready to predict.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not one of points in pictures.
    """
    path, batch = Path(model), (limits or Limits()).batch
    if not path.exists():
        raise FileNotFoundError(f"{model}: there is no such run folder or .onnx file")
    if path.suffix == ".onnx":
        return _onnx_engine(path, batch, threads, device, flip_test or decode is not None)
    return _torch_engine(path, batch, threads, device, flip_test, decode)


def _onnx_engine(path: Path, batch: int, threads: int, device: str | None, reads: bool) -> Engine:
    from punctum.deploy import OnnxPredictor
    from punctum.serve.engine_onnx import OnnxEngine

    if reads:
        raise ValueError(f"{path}: flip test and decode are for run folders; an exported file reads in one way")
    return OnnxEngine(OnnxPredictor(path, OnnxPredictor.providers_of(device), batch, threads=threads or None))


def _torch_engine(
    path: Path, batch: int, threads: int, device: str | None, flip_test: bool, decode: str | None
) -> Engine:
    import torch

    from punctum.predict import load, load_model
    from punctum.serve.engine_torch import TorchEngine

    if threads:
        torch.set_num_threads(threads)
    if load_model(path).dims == 1:
        raise ValueError(f"serve: {path} finds layers in scans; only points in pictures are served")
    predictor = load(path, device, flip_test=flip_test, decode=decode)
    predictor.batch_size = batch
    return TorchEngine(predictor)


def warm_up(engine: Engine, limits: Limits) -> float:
    """Run the smallest and the largest batch once, so that nobody's request pays for it; seconds of the second."""
    blank = make_crop(np.zeros((8, 8, 3), np.uint8), None, engine.crop)
    engine.run([blank], Wanted())
    started = time.perf_counter()
    engine.run([blank] * limits.batch, Wanted())
    return time.perf_counter() - started


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(
            f"cannot listen at {host}:{port}: {error.strerror or error}; --port 0 takes a free one"
        ) from None
    # Those that it accepts inherit this: an answer's head and body are two writes, and the second one would wait for
    # the first one's acknowledgement, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine can reach it.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_for(host: str, allowed: Sequence[str]) -> tuple[str, ...] | None:
    """The names in a request's Host header that are answered; None: any.

    Example:
        >>> hosts_for("127.0.0.1", ["punctum.example.org"])
        ('localhost', '127.0.0.1', '::1', 'punctum.example.org')
    """
    if is_loopback(host):
        return (*LOOPBACK, *(name.lower() for name in allowed))
    return (*LOOPBACK, host.lower(), *(name.lower() for name in allowed)) if allowed else None


def say_where(model: str | Path, engine: Engine, address: str, host: str, console: Console) -> None:
    """What is served, where, and who can reach it."""
    trust = f"calibrated, levels {', '.join(f'{v:g}' for v in engine.levels)}" if engine.levels else "not calibrated"
    console.print(
        f"{model}: {len(engine.schema.names)} points, {engine.kind}, {trust}", highlight=False, markup=False
    )
    if engine.crop.region == "box":
        console.print(
            "[yellow]note[/yellow] the model learned on boxes around each object: send boxes, or whole pictures "
            "are taken"
        )
    if not is_loopback(host):
        console.print(
            f"[yellow]warning[/yellow] listening at {host}: everybody who reaches this machine can use the server, "
            "which asks for no password and speaks no TLS; see docs/serving.md"
        )
    console.print(f"page: {address}/   pictures: POST {address}/predict   (Ctrl-C stops)", highlight=False)
