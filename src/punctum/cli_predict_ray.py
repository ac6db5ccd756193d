"""`punctum predict --engine ray`: its options."""

from pathlib import Path
from typing import Any

from rich.console import Console

from punctum.cli_options import numbers


def add_ray(parser: Any) -> None:
    """The options that only this engine has."""
    parser.add_argument(
        "--engine",
        choices=["here", "ray"],
        default="here",
        help="here: in this process; ray: on the workers of a Ray cluster, into a folder of Parquet files "
        "(default: %(default)s)",
    )
    parser.add_argument("--shard", type=int, help="ray: pictures of a file (default: 512)")
    parser.add_argument(
        "--workers", type=int, help="ray: how many (default: one for each GPU of the cluster, else for each core)"
    )
    parser.add_argument(
        "--address",
        help="ray: auto or HOST:PORT for a cluster that is there, local for one of this machine's own (default: "
        "RAY_ADDRESS, else local)",
    )


def predict_on_ray(given: Any, console: Console) -> None:
    """Run the verb.

    Raises:
        ValueError: an option that this engine has no use for.
    """
    other = {
        "--draw": given.draw is not None,
        "--ellipses": given.ellipses,
        "--format": given.format not in (None, "parquet"),
    }
    if any(other.values()):
        what = ", ".join(name for name, is_given in other.items() if is_given)
        raise ValueError(f"{what}: not with --engine ray, which writes a folder of Parquet files")
    from punctum.decision import Decision
    from punctum.scale import predict_on_ray as ray_engine

    ray_engine.predict_on_ray(
        given.run,
        given.images,
        Path(given.out),
        **({} if given.shard is None else {"shard": given.shard}),
        workers=given.workers,
        address=given.address,
        boxes=given.boxes,
        on_error=given.on_error,
        spacing=None if given.spacing is None else numbers(given.spacing, "--spacing"),
        batch_size=given.batch_size,
        device=given.device,
        flip_test=given.flip_test,
        compile=given.compile,
        decision=None if given.decode is None else Decision.parse(given.decode),
        places=given.places,
        level=given.level,
        console=console,
    )
