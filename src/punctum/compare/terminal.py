"""The plan and the result of a comparison, as tables and sentences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from punctum.compare.judge import written
from punctum.compare.plan import TUNING_RUNS
from punctum.compare.request import Request
from punctum.data.errors import counted
from punctum.training.callbacks import duration

if TYPE_CHECKING:
    from punctum.compare.run import Plan

FEW_EPOCHS = 10


def print_plan(request: Request, plan: "Plan", console: Console) -> None:
    """What will be trained, and how long that takes."""
    strides = f" x {len(request.strides)} strides" if request.strides else ""
    sizes = f" x {len(request.sizes)} training sets" if len(request.sizes) > 1 else ""
    over = "the largest training set" if len(request.sizes) > 1 else "the training set"
    lines = [
        f"images: {plan.train_pictures} to train on, {plan.test_pictures} held out to judge by",
        f"grid: {counted(len(request.heads), 'head')}{strides}{sizes} x {counted(request.seeds, 'seed')} = "
        f"{counted(len(plan.cells), 'training')}",
        f"each: {counted(plan.epochs, 'epoch')} of {over}, {counted(plan.steps, 'step')} for every head"
        + (" and every training set" if len(request.sizes) > 1 else ""),
    ]
    if request.tune:
        most = TUNING_RUNS * len(request.heads)
        lines.append(
            f"before: each head's rate and schedule, at most {most} trials of {counted(plan.tuning_epochs, 'epoch')}"
        )
        if plan.tuning_images:
            lines[-1] += f" on {counted(plan.tuning_images, 'image')}"
    if plan.seconds is not None:
        lines.append(f"expected: {duration(plan.seconds)}, {counted(plan.jobs, 'training')} at a time")
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)
    too_long = plan.seconds is not None and request.budget is not None and plan.seconds > request.budget * 60
    if too_long:
        _note(f"that is over the budget of {request.budget:g} minutes: less does not fit", console)
    if request.max_epochs is None and plan.epochs < FEW_EPOCHS:
        _note(
            f"{counted(plan.epochs, 'epoch')} can be too few: heads that learn slowly come out worse than they are",
            console,
        )


def print_comparison(result: Mapping[str, Any], console: Console) -> None:
    """Each group's table, what failed, and the recommendation."""
    metric = result["metric"]
    console.print(f"\n{metric['name']} by {metric['normalizer']}, on {result['test']['images']} images", markup=False)
    for group in result["groups"]:
        entries = [entry for entry in result["variants"] if entry["train_images"] == group["train_images"]]
        if len(result["groups"]) > 1:
            console.print(f"\ntrained on {training_set(group['train_images'])}")
        console.print(_table(entries, group, metric["name"], result["recommendation"]["title"]))
    for row in result["failed"]:
        console.print(Text.assemble(("  failed ", "red"), f"{row['name']}: {row['error']}"), soft_wrap=True)
    if result["failed"]:
        failed = counted(len(result["failed"]), "training")
        console.print(f"  {failed} failed; called again, the same command tries again")
    console.print()
    for sentence in result["recommendation"]["sentences"]:
        console.print(sentence, highlight=False, markup=False)


def training_set(size: int) -> str:
    """What a number of training images is called.

    Example:
        >>> training_set(0), training_set(128)
        ('all images', '128 images')
    """
    return f"{size} images" if size else "all images"


def _table(entries: Sequence[Mapping[str, Any]], group: Mapping[str, Any], metric: str, recommended: str) -> Table:
    against = {row["title"]: row for row in group["against_best"]}
    table = Table(
        Column("head", no_wrap=True), metric, "95 % interval", "from the best", "told apart", "ms", "MiB", "M param."
    )
    for entry in sorted(entries, key=lambda e: group["ranking"].index(e["title"])):
        row = against.get(entry["title"])
        ends, cost = entry["interval_95"], entry["cost"]
        table.add_row(
            Text(entry["title"], style="bold" if entry["title"] == recommended else ""),
            written(entry["value"], metric),
            "-" if ends is None else f"{written(ends[0], metric)} - {written(ends[1], metric)}",
            "" if row is None else written(row["difference"], metric),
            "best" if row is None else "yes" if row["told_apart"] else "no",
            "-" if cost is None else f"{cost['picture_ms']:.1f}",
            "-" if cost is None else f"{cost['step_mib']:.0f}",
            "-" if cost is None else f"{cost['parameters'] / 1e6:.2f}",
        )
    return table


def _note(text: str, console: Console) -> None:
    console.print(Text.assemble(("  note ", "yellow"), text))
