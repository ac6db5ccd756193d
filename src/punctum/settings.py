"""Every setting of a training run. The command line, `config.yaml` and Python calls are made from these classes."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from punctum.data.augment import Augmentation
from punctum.data.crop import CropSettings


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights move.

    Args:
        name: adamw, adam, or rmsprop as in Nibali et al. 2018.
        lr: learning rate; the highest one where the schedule changes it.
        weight_decay: decoupled in adamw, L2 in adam and rmsprop; biases and normalization layers have none.
        schedule: one_cycle (up for 30 %, then down by a cosine), cosine (after a short warm-up),
            step (a tenth at each of the milestones) or constant.
        clip: largest gradient norm; 0 does not clip.
        milestones: of the schedule "step", as parts of the training, ascending: 0.5 and 0.75 are Nibali et al.'s
            60 and 90 of 120 epochs.
    """

    name: Literal["adamw", "adam", "rmsprop"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.01
    schedule: Literal["one_cycle", "cosine", "step", "constant"] = "one_cycle"
    clip: float = 1.0
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"optimizer.lr must be positive, got {self.lr}")
        if self.weight_decay < 0 or self.clip < 0:
            raise ValueError("optimizer.weight_decay and optimizer.clip must not be negative")
        if not all(0 < part < 1 for part in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"optimizer.milestones are ascending parts of the training, within 0 and 1, got {self.milestones}"
            )


@dataclass(frozen=True)
class HardwareSettings:
    """Where training runs: Lightning's own words and meanings.

    Args:
        accelerator: auto, cpu, gpu, mps, ...
        devices: auto, a number of devices.
        num_nodes: machines.
        strategy: auto, ddp, fsdp, ...
        precision: 32, bf16 or 16 (automatic mixed precision); auto is bf16 where the hardware computes in it.
        sync_batchnorm: normalize over the batches of all devices.
        workers: processes that load images; -1: up to 8 beside a GPU, a quarter of the cores beside the CPU.
        cache: keep the training images decoded: none, ram (shared by all workers of a process) or disk (a file that
            is mapped, and used again by later runs while nothing has changed). Not for volumes and scans.
        cache_dir: folder of disk caches; by default `cache` in the run folder.
        warp: cpu, where workers cut the crops; or device: cached windows travel, and are cut out by the batch.
        decode: reduced decodes a JPEG at 1/2, 1/4 or 1/8 of its size where the crop shrinks it by 1.5 times that or
            more; full never does.
        channels_last: memory order of the weights; auto: yes on CUDA.
        compile: torch.compile the backbone.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    sync_batchnorm: bool = False
    workers: int = -1
    cache: Literal["none", "ram", "disk"] = "none"
    cache_dir: str | None = None
    warp: Literal["cpu", "device"] = "cpu"
    decode: Literal["reduced", "full"] = "reduced"
    channels_last: Literal["auto", "yes", "no"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.warp == "device" and self.cache == "none":
            raise ValueError("hardware.warp device cuts crops out of cached windows: add --cache ram or --cache disk")


@dataclass(frozen=True)
class TrainSettings:
    """One training run.

    Args:
        data: annotations to train on: COCO keypoints JSON, DeepLabCut csv, a file of MPII, landmarks of volumes in
            JSON or csv, layers of scans in JSON, or a folder with one JSON or csv.
        out: the run folder, made here.
        val: annotations to validate on; without it, a part of the training images.
        images: folder of the training images, where it cannot be told from `data`.
        val_images: folder of the validation images, likewise.
        val_fraction: share of the training images held out when there is no `val`; split by image.
        max_images: train on no more than so many images, drawn by the seed once validation has its own; 0: on all.
        head: the head's name and options.
        backbone: the backbone's name and options.
        crop: how a picture becomes the network's input.
        augmentation: how training pictures are varied.
        optimizer: how weights move.
        hardware: where training runs.
        batch_size: pictures per step and device.
        max_epochs: passes over the training images.
        budget: minutes that training may take; sets max_epochs from the speed measured on this machine.
        early_stopping: stop when the validation error has not fallen for this many epochs, and keep the best
            weights; 0 trains to the end and keeps the last ones.
        seed: of the weights, the split, the order of pictures and their variation.
        recipe: the paper's settings that these started from: `punctum recipes` lists them. On the command line they
            take the place of the defaults; from Python use `punctum.recipes.settings`, as here it is a note alone.
    """

    data: str
    out: str
    val: str | None = None
    images: str | None = None
    val_images: str | None = None
    val_fraction: float = 0.1
    max_images: int = 0
    head: dict[str, Any] = field(default_factory=lambda: {"name": "dsnt"})
    backbone: dict[str, Any] = field(default_factory=lambda: {"name": "resnet18"})
    crop: CropSettings = field(default_factory=CropSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    hardware: HardwareSettings = field(default_factory=HardwareSettings)
    batch_size: int = 32
    max_epochs: int = 60
    budget: float | None = None
    early_stopping: int = 0
    seed: int = 0
    recipe: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.batch_size < 1 or self.max_epochs < 1:
            problems.append("batch_size and max_epochs must be at least 1")
        if self.budget is not None and not self.budget > 0:
            problems.append(f"budget must be a positive number of minutes, got {self.budget}")
        if not 0 < self.val_fraction < 1:
            problems.append(f"val_fraction must lie between 0 and 1, got {self.val_fraction}")
        if self.max_images < 0:
            problems.append(f"max_images must not be negative, got {self.max_images}")
        if self.early_stopping < 0:
            problems.append("early_stopping must not be negative")
        problems += [f"{key} has no name" for key in ("head", "backbone") if "name" not in getattr(self, key)]
        if problems:
            raise ValueError("; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `config.yaml` holds them."""
        values = asdict(self)
        values["crop"]["input_size"] = list(self.crop.input_size)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainSettings":
        """The inverse of `to_dict`."""
        values = dict(values)
        crop = dict(values.get("crop", {}))
        if "input_size" in crop:
            crop["input_size"] = tuple(int(n) for n in crop["input_size"])
        values["crop"] = CropSettings(**crop)
        values["augmentation"] = Augmentation(**values.get("augmentation", {}))
        values["optimizer"] = OptimizerSettings(**values.get("optimizer", {}))
        values["hardware"] = HardwareSettings(**values.get("hardware", {}))
        return cls(**values)
