"""What `punctum diagnose` says on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from punctum.terminal import print_notes


def print_diagnosis(result: dict[str, Any], console: Console) -> None:
    """A row for all points and for each level of each split; then the findings."""
    size = " x ".join(map(str, result["heatmap_size"]))
    console.print(
        f"\n{result['n']} points of {result['n_instances']} instances; head {result['head']['name']}, maps of "
        f"{size} cells, a cell is {result['cell_px']:.1f} px of the picture"
    )
    print_notes([f"heatmaps: {result['normalization']}", *result["notes"]], console)
    table = Table(
        Column("", no_wrap=True), "points", "error", "A(1)", "A(2)", "best sigma", "E argmax", "E mean", "flat %",
        "two %", "on partner %", "error / spread",
    )  # fmt: skip
    rows = {"all": result["all"]}
    for split, levels in result["splits"].items():
        rows |= {f"{level}, by {split}": part for level, part in levels.items()}
    for title, part in rows.items():
        table.add_row(title, str(part["n"]), *(cells(part) if part["n"] else []))
    console.print(table)
    console.print("errors and sigmas in cells; E: expected errors of Eqs. 7 and 8; error / spread: 1 is honest")
    if not result["findings"]:
        console.print("no findings")
    for number, finding in enumerate(result["findings"], start=1):
        console.print(Text.assemble((f"{number}. {finding['name']}: ", "bold yellow"), finding["advice"] + "."))


def cells(part: dict[str, Any]) -> list[str]:
    """The figures of one row, as they are read."""
    values = [
        (part["error"]["median"], ".2f"),
        (part["activation"][1], ".2f"),
        (part["a2"]["value"], ".2f"),
        (part["sigma"]["median"], ".2f"),
        (part["errors"]["expected"], ".2f"),
        (part["errors"]["mean"], ".2f"),
        (part["flat"], ".0%"),
        (part["two"], ".0%"),
        (part["partner"]["share"], ".0%"),
        (part["confidence"], ".2f"),
    ]
    return ["-" if value is None else format(value, form).rstrip("%") for value, form in values]
