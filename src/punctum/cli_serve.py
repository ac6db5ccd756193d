"""The options of `punctum serve`."""

from rich.console import Console

from punctum.cli_words import underscored


def serve(args: list[str], console: Console) -> None:
    """Parse, and serve until interrupted."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="punctum serve",
        description="Serve a model on this machine: POST pictures to /predict, or open the page and drop one.",
    )
    add = parser.add_argument
    add("model", help="a run folder that `punctum train` made, or a .onnx file that `punctum export` made")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (default: this machine alone)")
    add("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    add("--allow_host", action="append", metavar="NAME", help="a further name in requests' Host, a proxy's say")
    add("--max_mib", type=float, default=32.0, help="of one request, MiB (default: %(default)s)")
    add("--max_memory", type=float, default=512.0, help="of all waiting requests, MiB (default: %(default)s)")
    add("--max_pixels", type=float, default=50.0, help="of one picture, millions (default: %(default)s)")
    add("--max_images", type=int, default=64, help="of one request (default: %(default)s)")
    add("--max_boxes", type=int, default=256, help="of one request (default: %(default)s)")
    add("--timeout", type=float, default=30.0, help="seconds for one request (default: %(default)s)")
    add("--queue", type=int, default=1024, help="requests at a time, waiting ones counted (default: %(default)s)")
    add(
        "--max_batch",
        type=int,
        default=32,
        help="objects that go through the network together (default: %(default)s)",
    )
    add("--max_wait", type=float, default=2.0, help="ms that an idle network waits for more (default: %(default)s)")
    add("--readers", type=int, default=2, help="threads that decode pictures (default: %(default)s)")
    add("--threads", type=int, default=0, help="of the network (default: all cores)")
    add("--device", help="cpu, cuda, ... (default: the GPU where there is one)")
    add("--flip_test", action="store_true", help="average each prediction with that of the mirrored picture")
    add("--decode", help="which place to say, as for `punctum predict` (default: as calibrated, else head)")
    given = parser.parse_args(underscored(args))
    from punctum.serve.limits import MIB, Limits
    from punctum.serve.run import serve as run_server

    limits = Limits(
        body_bytes=int(given.max_mib * MIB),
        held_bytes=int(given.max_memory * MIB),
        pixels=int(given.max_pixels * 1e6),
        pictures=given.max_images,
        instances=given.max_boxes,
        requests=given.queue,
        seconds=given.timeout,
        batch=given.max_batch,
        wait_seconds=given.max_wait / 1000,
        readers=given.readers,
    )
    run_server(
        given.model,
        host=given.host,
        port=given.port,
        allowed_hosts=given.allow_host or (),
        limits=limits,
        threads=given.threads,
        device=given.device,
        flip_test=given.flip_test,
        decode=given.decode,
        console=console,
    )
