"""Pages and evaluations that the tests of the report share: made by hand, with names that try to be markup."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from punctum.evaluation import Evaluation
from punctum.metrics import Normalizer, summarize
from punctum.metrics.calibration import Outcomes, summarize_trust
from punctum.report import charts
from punctum.report.blocks import (
    Code,
    Column,
    Fact,
    Facts,
    Figure,
    Gallery,
    Page,
    Picture,
    Section,
    Table,
    Text,
)
from punctum.schema import Schema

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "</style><script>alert(4)</script>",
    "--></title><svg onload=alert(5)>",
    "{{ 7 * 7 }} {% raw %} $\\frac$ &amp; \x00\x1b \udc80 日本",
)


def png(value: int = 100, side: int = 8) -> bytes:
    return cv2.imencode(".png", np.full((side, side, 3), value, np.uint8))[1].tobytes()


def evil_page() -> Page:
    """Every block there is, with evil text at every place that takes one."""
    evil = " ".join(EVIL)
    rows = [[text, float(i) if i != 2 else None, text] for i, text in enumerate(EVIL * 3)]
    drawing = charts.error_cdf({text: [1.0, 2.0] for text in EVIL}, xlabel=evil, ylabel=evil)
    dots = charts.scatter([1.0, 2.0], [1.0, 2.0], EVIL[:2], xlabel=evil, ylabel=evil)
    picture = Picture(png(), evil, evil)
    blocks = [
        Facts([Fact(text, text, text) for text in EVIL]),
        *[Text(evil, tone) for tone in ("plain", "good", "warning")],
        Code(evil, evil),
        Table([Column(evil), Column(evil, ".1f", "low"), Column(evil)], rows, evil),
        Figure(drawing, evil, evil),
        Figure(dots, evil, evil, raster=True),
        picture,
        Gallery([picture, picture], evil),
    ]
    return Page(evil, evil, [Section(evil, blocks), Section(evil, blocks, folded=True)])


def table_page(rows: int = 20) -> Page:
    """One table with numbers that sort otherwise as words, and gaps."""
    numbers = [None if i % 7 == 3 else (-1) ** i * 1.5 * i for i in range(rows)]
    cells = [[f"point {i}", numbers[i], "left" if i % 2 else "right"] for i in range(rows)]
    table = Table([Column("keypoint"), Column("error, px", ".1f", "low"), Column("side")], cells, "All of them")
    wide = Table([Column(f"column {i}") for i in range(24)], [[i * 1.25 for i in range(24)]] * 3)
    drawing = charts.forest(["a", "b"], [1.0, 2.0], [0.5, 1.0], [1.5, 3.0], xlabel="px", reference=0)
    settings = Code("a_setting_without_a_space: " + 200 * "x", "Settings")
    sections = [
        Section("Table", [table, wide]),
        Section("Figures", [Figure(drawing, "A forest", "a 1, b 2"), Gallery([Picture(png(), "one", "one")] * 3)]),
        Section("Settings", [settings], folded=True),
    ]
    return Page("A page", "for the tests", sections)


def write_evaluation(
    folder: Path,
    *,
    images: int = 9,
    per_image: int = 1,
    dims: int = 2,
    spread: float | None = 4.0,
    names: tuple[str, ...] = ("nose", EVIL[0], EVIL[1]),
    seed: int = 0,
    file_names: tuple[str, ...] = ("<script>alert(1)<script>.png", "a&b.png"),
) -> Evaluation:
    """metrics.json and evaluation.npz of made-up errors with a standard deviation of 2 px, on small gray pictures."""
    rng = np.random.default_rng(seed)
    n, k = images * per_image, len(names)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(images):
        path = folder / (file_names[i] if i < len(file_names) else f"{i}.png")
        path.write_bytes(png(5 * i % 256, 64))
        paths += [str(path)] * per_image
    target = rng.uniform(10, 54, (n, k, dims))
    errors = rng.normal(0, 2.0, (n, k, dims))
    if n * k > 1:
        target[0, 0] = np.nan
    covariance = None if spread is None else np.broadcast_to(spread * np.eye(dims), (n, k, dims, dims)).copy()
    boxes = np.full((n, 2 * dims), np.nan)
    size = np.linalg.norm(errors, axis=-1)
    found = Evaluation(
        names=np.array(names),
        images=np.array(paths),
        ids=np.array([f"id {i}" for i in range(n)]),
        keypoints=np.nan_to_num(target, nan=30.0) + errors,
        target=target,
        score=1 / (1 + size),
        lengths=np.full(n, 32.0),
        normalizer=np.array("image (longer side of the image)"),
        covariance=covariance,
        boxes=boxes,
    )
    found.save(folder)
    visible = np.isfinite(target).all(-1)
    schema = Schema(names)
    metrics = summarize(
        torch.from_numpy(found.keypoints),
        torch.from_numpy(np.nan_to_num(target)),
        torch.from_numpy(visible),
        names=names,
        normalizer=Normalizer.parse("image", schema),
        lengths=torch.from_numpy(found.lengths),
        thresholds=(0.05, 0.1),
        image_ids=torch.from_numpy(np.unique(found.images, return_inverse=True)[1]),
        score=torch.from_numpy(found.score),
        n_resamples=50,
    )
    facts = {"data": EVIL[3] + "/test.json", "notes": [EVIL[4]], "flip_test": False}
    (folder / "metrics.json").write_text(json.dumps({**facts, **metrics}), encoding="utf-8")
    return found


def write_calibrated(
    folder: Path,
    *,
    images: int = 60,
    believed: float = 1.0,
    names: tuple[str, ...] = ("nose", EVIL[0], EVIL[1]),
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """`write_evaluation` of a calibrated model: errors are Gaussian of a known spread, `believed` times which is what
    the model says. The first picture is unlike all others, and most of its points are flagged."""
    evaluation = write_evaluation(folder, images=images, names=names, seed=seed, **options)
    rng = np.random.default_rng(seed)
    n, k = evaluation.score.shape
    spread = np.exp(rng.normal(0.5, 0.6, (n, k)))
    away = spread[..., None] * rng.normal(size=(n, k, 2))
    keypoints = np.nan_to_num(evaluation.target, nan=30.0) + away
    said = torch.from_numpy(believed * spread)
    errors = torch.from_numpy(np.where(np.isfinite(evaluation.target).all(-1), np.linalg.norm(away, axis=-1), np.nan))
    levels = (0.5, 0.8, 0.9, 0.95)
    radius = said[..., None] * torch.tensor([np.sqrt(-2 * np.log(1 - p)) for p in levels])
    level = 1 - torch.exp(-((errors / said) ** 2) / 2)
    regions = {
        kind: Outcomes(
            torch.where(errors.isnan()[..., None], torch.nan, (errors[..., None] <= radius * grown).double()),
            np.pi * (radius * grown) ** 2 * larger,
        )
        for kind, grown, larger in (("ball", 1.02, 1.4), ("ellipse", 1.01, 1.1), ("hdr", 1.0, 1.0))
    }
    # As large as k independent points need: so that all of them hold.
    all_of = said[..., None] * torch.tensor([np.sqrt(-2 * np.log(1 - p ** (1 / k))) for p in levels])
    every = (errors.nan_to_num()[..., None] <= all_of).double().amin(1, keepdim=True)
    whole = {kind: Outcomes(every, np.pi * all_of**2) for kind in regions}
    flags = rng.random((n, k, 3)) < 0.03
    flags[0, :, 0] = True
    flag_names = ("wide", "two_places", "flat")
    trust = summarize_trust(
        errors,
        1 - torch.exp(-((2.0 / said) ** 2) / 2),
        names=evaluation.names.tolist(),
        lengths=torch.ones(n),
        distance=2.0,
        image_ids=torch.from_numpy(np.unique(evaluation.images, return_inverse=True)[1]),
        levels=levels,
        regions=regions,
        joint=whole,
        level=level,
        log_prob=torch.log(1 - level) - torch.log(2 * torch.pi * said**2),
        crps=errors / 2,
        energy=errors / 3,
        flags={name: torch.from_numpy(flags[..., f]) for f, name in enumerate(flag_names)},
        n_resamples=50,
    )
    typical = np.append(0.001, rng.uniform(0.06, 1, n - 1))
    Evaluation(
        **{
            **vars(evaluation),
            "keypoints": keypoints,
            "level": level.numpy(),
            "typical": typical,
            "flags": flags,
            "flag_names": np.array(flag_names),
        }
    ).save(folder)
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text()) | {
        "trust": {"normalizer": "pixels", "calibration_images": [100, 60], **trust}
    }
    path.write_text(json.dumps(metrics))
    return Evaluation.load(folder)
