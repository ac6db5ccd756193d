"""What a long prediction costs, from what one core (or one GPU) was measured to do.

python -m punctum.scale.cost --rate 40 --images 1e6 --workers 64 --points 68 --price 0.05
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

# Measured were 37, of models that are not calibrated: benchmarks/results/scaling-out.json.
BYTES_PER_POINT = 40.0
HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """Of all pictures together.

    Args:
        core_hours: of one worker alone.
        hours: on the wall, with all workers.
        gigabytes: of Parquet (10^9 bytes).
        price: in the currency of an hour's; None where that is not known.
    """

    core_hours: float
    hours: float
    gigabytes: float
    price: float | None


def cost(
    images: float,
    rate: float,
    *,
    workers: int = 1,
    efficiency: float = 1.0,
    points: int = 1,
    bytes_per_point: float = BYTES_PER_POINT,
    price: float | None = None,
) -> Cost:
    """What it costs: images / (rate x 3600) hours of one worker.

    On the wall these are divided by workers x efficiency; paid for are workers x the hours on the wall.

    Args:
        images: pictures, or instances where pictures have several.
        rate: images a second of one worker, alone on its core or GPU.
        workers: how many work at once.
        efficiency: what is left of `rate` with all of them at work: 1 where none waits for disk or network.
        points: of each image.
        bytes_per_point: of Parquet.
        price: of an hour of what one worker needs.
    Raises:
        ValueError: a number is not above zero.
    Example:
        >>> found = cost(1e6, 40, workers=64, points=68, price=0.05)
        >>> print(f"{found.core_hours:.1f} core-hours, {found.hours * 60:.1f} minutes, {found.price:.2f}")
        6.9 core-hours, 6.5 minutes, 0.35
    """
    given = {"images": images, "rate": rate, "workers": workers, "efficiency": efficiency, "points": points}
    wrong = [f"{name} must be above 0, got {value}" for name, value in given.items() if not value > 0]
    if wrong:
        raise ValueError("; ".join(wrong))
    core_hours = images / rate / HOUR
    hours = core_hours / (workers * efficiency)
    gigabytes = images * points * bytes_per_point / 1e9
    return Cost(core_hours, hours, gigabytes, None if price is None else workers * hours * price)


def main(words: Sequence[str] | None = None) -> None:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m punctum.scale.cost", description="What a long prediction costs.")
    parser.add_argument("--rate", type=float, required=True, help="images a second of one worker")
    parser.add_argument("--images", type=float, default=1e6, help="default: a million")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--efficiency", type=float, default=1.0, help="what is left of the rate with all at work")
    parser.add_argument("--points", type=int, default=1, help="of each image")
    parser.add_argument("--bytes-per-point", type=float, default=BYTES_PER_POINT, help="of Parquet")
    parser.add_argument("--price", type=float, help="of an hour of one worker")
    given = vars(parser.parse_args(words))
    try:
        found = cost(given.pop("images"), given.pop("rate"), **given)
    except ValueError as error:
        parser.error(str(error))
    print(f"{found.core_hours:,.1f} hours of one worker; {found.hours:,.2f} hours on {given['workers']:,}")
    print(f"{found.gigabytes:,.1f} GB of Parquet")
    if found.price is not None:
        print(f"price: {found.price:,.2f}")


if __name__ == "__main__":
    main()
