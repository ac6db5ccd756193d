"""Batches for training and validation."""

import torch
from torch.utils.data import DataLoader

from punctum.data import Annotations, EpochSampler, Windows, collate, dataset_of
from punctum.settings import TrainSettings
from punctum.training.hardware import worker_count


def build_loader(
    data: Annotations,
    settings: TrainSettings,
    *,
    training: bool,
    windows: Windows | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """Batches of crops: shuffled and varied for training, plain for validation.

    Training's are drafts, for `data.develop` on the device. Validation decodes in full and finishes its pictures, as
    prediction does.
    """
    hardware = settings.hardware
    if training:
        dataset = dataset_of(
            data,
            settings.crop,
            settings.augmentation,
            seed=settings.seed,
            windows=windows,
            hand_over="windows" if hardware.warp == "device" else "bytes",
            reduced=hardware.decode == "reduced",
        )
    else:
        dataset = dataset_of(data, settings.crop, seed=settings.seed)
    sampler = EpochSampler(len(dataset), settings.seed, shuffle=training, rank=rank, world_size=world_size)
    workers = worker_count(hardware)
    return DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers if training else min(workers, 1),
        persistent_workers=training and workers > 0,
        pin_memory=torch.cuda.is_available(),
        # A last batch of one picture would make batch normalization divide by nothing.
        drop_last=training and len(dataset) // world_size > settings.batch_size,
    )
