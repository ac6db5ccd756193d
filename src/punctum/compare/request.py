"""What is to be compared: everything that decides the result, and nothing else."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from punctum.compare.cells import slug
from punctum.judging import Protocol
from punctum.settings import TrainSettings

# Minutes for everything where nothing is said: enough for six heads and three seeds on a few thousand pictures and
# two cores to differ; a verdict wants more.
BUDGET = 45.0


class Variant(NamedTuple):
    """A head at an output stride (None: the backbone's own), trained on so many images (0: all)."""

    head: str
    stride: int | None
    size: int


@dataclass(frozen=True)
class Request:
    """A comparison.

    Args:
        heads: label and settings of each; `out`, `max_epochs`, `seed` and `max_images` are set cell by cell.
        test: annotations to judge by; None: a part of the images.
        test_images: their folder, where it cannot be told.
        test_fraction: that part, held out of everything.
        test_seed: of its choice.
        seeds: trainings of each, from `settings.seed` on.
        strides: output strides to compare; none: the backbone's own.
        sizes: numbers of training images to compare; 0: all.
        budget: minutes for everything, where there is no `max_epochs`.
        max_epochs: passes over the largest training set.
        tune: give each head its own learning rate and schedule first.
        metric: nme, epe, or pck@THRESHOLD in units of the normalizer.
        protocol: how errors are judged.
    """

    heads: Mapping[str, TrainSettings]
    test: str | None = None
    test_images: str | None = None
    test_fraction: float = 0.2
    test_seed: int = 0
    seeds: int = 3
    strides: tuple[int, ...] = ()
    sizes: tuple[int, ...] = (0,)
    budget: float | None = BUDGET
    max_epochs: int | None = None
    tune: bool = True
    metric: str = "nme"
    protocol: Protocol = field(default_factory=Protocol)

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.test_fraction < 1:
            problems.append(f"--test-fraction must lie between 0 and 1, got {self.test_fraction}")
        if self.seeds < 1:
            problems.append(f"--seeds must be at least 1, got {self.seeds}")
        if (self.budget is None) == (self.max_epochs is None):
            problems.append("give --budget or --max-epochs, and not both")
        if self.budget is not None and not 0 < self.budget < float("inf"):
            problems.append(f"--budget must be a positive number of minutes, got {self.budget}")
        if self.max_epochs is not None and self.max_epochs < 1:
            problems.append(f"--max-epochs must be at least 1, got {self.max_epochs}")
        if self.test is None and self.test_images is not None:
            problems.append("--test-images goes with --test FILE")
        problems += _metric_problems(self.metric)
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def settings(self) -> TrainSettings:
        """What all heads share, and the first one's own."""
        return next(iter(self.heads.values()))

    @property
    def largest(self) -> int:
        """The largest number of training images; 0: all."""
        return 0 if 0 in self.sizes else max(self.sizes)

    @property
    def tuning_stride(self) -> int | None:
        """The stride that rates are tuned at: the backbone's own where it is compared, else the first."""
        own = self.settings.backbone.get("output_stride")
        return own if not self.strides or own in self.strides else self.strides[0]

    @property
    def seed_numbers(self) -> list[int]:
        return [self.settings.seed + i for i in range(self.seeds)]

    def variants(self) -> list[Variant]:
        """Every head at every stride and size; the largest sizes first, as they take longest."""
        sizes = sorted(self.sizes, key=lambda size: -(size or 10**12))
        return [
            Variant(head, stride, size) for size in sizes for stride in self.strides or (None,) for head in self.heads
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("heads", "protocol")
        }
        return json.loads(
            json.dumps(
                {
                    **values,
                    "protocol": asdict(self.protocol),
                    "heads": {label: _lasting(settings) for label, settings in self.heads.items()},
                }
            )
        )

    def title(self, variant: Variant) -> str:
        """How tables call it, among those of its training set: the stride where there are several."""
        return f"{variant.head} @ 1/{variant.stride}" if len(self.strides) > 1 else variant.head


def variant_settings(
    settings: TrainSettings, variant: Variant, seed: int, epochs: int, choice: Mapping[str, Any]
) -> TrainSettings:
    """The settings of one training: the head's own, with the tuned rate and schedule."""
    backbone = settings.backbone
    if variant.stride is not None:
        backbone = {**backbone, "output_stride": variant.stride}
    optimizer = replace(settings.optimizer, **choice)
    return replace(
        settings,
        backbone=backbone,
        optimizer=optimizer,
        seed=seed,
        max_images=variant.size,
        max_epochs=epochs,
        budget=None,
    )


def cell_name(variant: Variant, seed: int) -> str:
    """Folder of a cell, within the grid's.

    Example:
        >>> cell_name(Variant("dsnt:sigma=2", 8, 512), 1)
        'dsnt-sigma=2/stride8-images512-seed1'
    """
    stride = "" if variant.stride is None else f"stride{variant.stride}-"
    size = f"images{variant.size}-" if variant.size else ""
    return f"{slug(variant.head)}/{stride}{size}seed{seed}"


def differences(wanted: Mapping[str, Any], there: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What differs between two requests, in words; nested values by their dotted names.

    Example:
        >>> list(differences({"seeds": 3, "heads": {"dsnt": 1}}, {"seeds": 2, "heads": {}}))
        ['seeds was 2, now 3', 'heads.dsnt is new']
    """
    for key in dict.fromkeys([*wanted, *there]):
        name = f"{path}{key}"
        if key not in there:
            yield f"{name} is new"
        elif key not in wanted:
            yield f"{name} is gone"
        elif isinstance(wanted[key], dict) and isinstance(there[key], dict):
            yield from differences(wanted[key], there[key], f"{name}.")
        elif wanted[key] != there[key]:
            yield f"{name} was {there[key]}, now {wanted[key]}"


def _lasting(settings: TrainSettings) -> dict[str, Any]:
    """Where it runs may change from call to call."""
    left_out = ("out", "hardware", "max_epochs", "budget", "max_images")
    return {key: value for key, value in settings.to_dict().items() if key not in left_out}


def _metric_problems(metric: str) -> list[str]:
    name, _, threshold = metric.partition("@")
    if name == "pck":
        try:
            fits = 0 < float(threshold) < float("inf")
        except ValueError:
            fits = False
        if fits:
            return []
    return (
        [] if metric in ("nme", "epe") else [f"--metric must be nme, epe or pck@THRESHOLD (pck@0.5), got {metric!r}"]
    )
