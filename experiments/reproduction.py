"""The papers' claims beside what the experiments found: the table of docs/reproduction.md, from their results.

    python experiments/reproduction.py

A claim says that one variant is better than another. It holds here (yes) or its opposite does (no) where the 95 %
interval of their difference over seeds leaves zero out, and nobody can tell where it does not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import difference
from results import interval, markdown

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "results"
# Of the table of all heads, in docs/benchmarks.md.
HEADS, EVERY_HEAD = "heads-", "[every head](benchmarks.md#every-head)"
DOCUMENT = Path(__file__).parents[1] / "docs" / "reproduction.md"
BEGIN, END = "<!-- table: python experiments/reproduction.py -->", "<!-- end of table -->"
LOWER = ("NME %", "median px", "px, epoch 1", "px, epoch 2")


@dataclass(frozen=True)
class Claim:
    """That the first variant is better than the second, in one column of one experiment.

    Args:
        paper: table or figure.
        text: what it says.
        theirs: its numbers.
        experiment: the result file.
        column: the figure that decides.
        first: the variant said to be better.
        second: the variant said to be worse.
    """

    paper: str
    text: str
    theirs: str
    experiment: str
    column: str
    first: str
    second: str


def claims(*rows: Sequence[Any], paper: str, experiment: str, column: str) -> list[Claim]:
    """Several claims about one experiment: (text, theirs, first, second[, column])."""
    return [Claim(paper, text, theirs, experiment, *(rest or [column]), a, b) for text, theirs, a, b, *rest in rows]


KL2 = "integral + KL, sigma 2"
CLAIMS = [
    *claims(
        ("softmax is better than abs", "86.81 > 86.48 PCKh", "softmax", "abs"),
        ("softmax is better than relu", "86.81 > 86.69", "softmax", "relu"),
        ("softmax is better than sigmoid", "86.81 > 86.71", "softmax", "sigmoid"),
        paper="Nibali, Table 2",
        experiment="activations",
        column="NME %",
    ),
    *claims(
        ("JS is better than none", "87.59 > 86.86 PCKh", "JS, sigma 1", "none"),
        ("none is better than variance", "86.86 > 84.58", "none", "variance, sigma 1"),
        ("none is better than KL", "86.86 > 84.67", "none", "KL, sigma 1"),
        ("JS: sigma 1 is better than 2", "87.59 > 86.71", "JS, sigma 1", "JS, sigma 2"),
        paper="Nibali, Table 3",
        experiment="regularizers",
        column="NME %",
    ),
    *claims(
        ("coarsest maps: DSNT beats heatmap matching", "+ 90.5 % (7 px)", "dsnt, 3 px", "heatmap, 3 px"),
        ("the next: DSNT beats heatmap matching", "(14 px)", "dsnt, 6 px", "heatmap, 6 px"),
        ("finest: DSNT + JS beats heatmap matching", "+ 2.0 % (56 px)", "dsnt + JS, 12 px", "heatmap, 12 px"),
        ("coarsest: JS does harm", "(7 px)", "dsnt, 3 px", "dsnt + JS, 3 px"),
        ("finest: JS helps", "(56 px)", "dsnt + JS, 12 px", "dsnt, 12 px"),
        ("finest: fully connected is worse than DSNT", "(56 px)", "dsnt, 12 px", "fully_connected, 12 px"),
        ("finest: ... and than heatmap matching", "(56 px)", "heatmap, 12 px", "fully_connected, 12 px"),
        paper="Nibali, Figure 7",
        experiment="resolution",
        column="NME %",
    ),
    *claims(
        ("few images: FC is worse than DSNT", "22 % (FC, 1,024)", "dsnt, 128 images", "fully_connected, 128 images"),
        ("few images: FC is worse than matching", "22 %", "heatmap, 128 images", "fully_connected, 128 images"),
        ("more images: FC is worse than DSNT", "", "dsnt, 1024 images", "fully_connected, 1024 images"),
        paper="Nibali, Figure 11",
        experiment="training_size",
        column="NME %",
    ),
    *claims(
        ("few people: FC is worse than DSNT", "22 % (FC, 1,024)", "dsnt, 128 images", "fully_connected, 128 images"),
        ("few people: FC is worse than matching", "22 %", "heatmap, 128 images", "fully_connected, 128 images"),
        paper="Nibali, Figure 11",
        experiment="training_size_lspet",
        column="PCKh@0.5 %",
    ),
    *claims(
        ("JS is better than none, on people", "87.59 > 86.86 PCKh", "dsnt+js", "dsnt"),
        ("fully connected is worse than DSNT, on people", "(56 px)", "dsnt", "fully_connected"),
        paper="Nibali, Table 3, Figure 7",
        experiment="heads-lspet",
        column="PCKh@0.5 %",
    ),
    *claims(
        ("sampling beats soft-argmax, on people", "69.8 > 64.5 AP", "sampling", "dsnt"),
        ("its peak knows more", ".432 > .233", "sampling", "dsnt", "score corr."),
        ("CRPS, its closed form, beats soft-argmax", "(ours)", "sampling:crps", "dsnt"),
        ("... and its peak knows more", "(ours)", "sampling:crps", "dsnt", "score corr."),
        paper="Li, Tables 1 and 2",
        experiment="heads-lspet",
        column="PCKh@0.5 %",
    ),
    *claims(
        ("sampling beats soft-argmax, on faces", "3.18 > 2.94 (MTFL)", "sampling", "dsnt"),
        ("its peak knows more, on faces", ".432 > .233", "sampling", "dsnt", "score corr."),
        paper="Li, Tables 1 and 2",
        experiment="heads-helen",
        column="NME %",
    ),
    *claims(
        ("the same loss, L1: sampling beats soft-argmax", "69.8 > 64.5 AP", "sampling, triangular", "soft-argmax"),
        ("the triangular basis beats the uniform", "69.8 > 68.2", "sampling, triangular", "sampling, uniform"),
        paper="Li, Tables 1 and 2",
        experiment="sampling",
        column="NME %",
    ),
    *claims(
        ("variance harms soft-argmax", "64.5 > 60.6 AP", "none", "variance, sigma 1"),
        ("a Gaussian prior harms it", "64.5 > 55.6", "none", "KL, sigma 1"),
        ("variance's peak knows less", ".233 > .158", "none", "variance, sigma 1", "score corr."),
        ("a Gaussian's less still", ".158 > .082", "variance, sigma 1", "KL, sigma 1", "score corr."),
        paper="Li, Tables 1 and 2",
        experiment="regularizers",
        column="NME %",
    ),
    *claims(
        ("all: detection beats integral", "71.3 > 67.1 AP", "detection", "integral"),
        ("easy: detection beats integral", "74.3 > 70.4", "detection", "integral", "easy PCKh@0.5 %"),
        ("hard: integral beats detection", "44.7 > 43.2", "integral", "detection", "hard PCKh@0.5 %"),
        ("all: a KL prior (sigma 2) mends it", "71.4 > 67.1", KL2, "integral"),
        ("hard: a KL prior helps too", "47.4 > 44.7", KL2, "integral", "hard PCKh@0.5 %"),
        ("... and beats detection on all", "71.4 > 71.3", KL2, "detection"),
        ("a KL prior of the same width in the picture", "71.4 > 67.1", "integral + KL, sigma 0.5", "integral"),
        ("easy: integral's maps are narrower than detection's", "Figure 2b", "integral", "detection", "A(2), easy"),
        ("a prior of sigma 2 widens them", "A(2) .65 > .54", "integral", KL2, "A(2), easy"),
        paper="Gu, Table 1",
        experiment="integral",
        column="PCKh@0.5 %",
    ),
    *claims(
        ("detection learns faster: epoch 1", "figure", "detection", "integral", "px, epoch 1"),
        ("detection learns faster: epoch 2", "figure", "detection", "integral", "px, epoch 2"),
        paper="Gu, Figure 4b",
        experiment="integral",
        column="px, epoch 1",
    ),
]


def verdict(claim: Claim, result: Mapping[str, Any]) -> tuple[str, str, str]:
    """What the two variants reached, and whether the claim holds."""
    if any(claim.column not in result.get(label, {}) for label in (claim.first, claim.second)):
        return "-", "-", "not run"
    first, second = (result[label][claim.column] for label in (claim.first, claim.second))
    found = difference(first["seeds"], second["seeds"])
    if found is None:
        return _shown(first), _shown(second), "not measured"
    better = found["mean"] * (-1 if claim.column in LOWER else 1)
    if abs(found["mean"]) <= found["half_width"]:
        return _shown(first), _shown(second), "can't tell"
    return _shown(first), _shown(second), "**yes**" if better > 0 else "**no**"


def _shown(value: Mapping[str, Any]) -> str:
    mean, half = interval(value["seeds"])
    digits = 2 if abs(mean) >= 1.5 else 3
    return f"{mean:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def found_of(experiment: str) -> dict[str, Any]:
    """Every variant's figures by the name of their column, of an experiment or of the table of all heads."""
    path = RESULTS / f"{experiment}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["results"]
    path = BENCHMARKS / f"{experiment}.json"
    if not experiment.startswith(HEADS) or not path.is_file():
        return {}
    table = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {label: row["figures"] for label, row in table.items()}


def table() -> str:
    """Every claim, a row."""
    header = [
        "claim",
        "paper",
        "their numbers",
        "measured",
        "the better, it says",
        "the worse",
        "holds",
        "experiment",
    ]
    rows = []
    for claim in CLAIMS:
        result = found_of(claim.experiment)
        row = [claim.text, claim.paper, claim.theirs or "-", claim.column, *verdict(claim, result)]
        ours = f"`{claim.experiment.removesuffix('_lspet')}.py`"
        rows.append([*row, EVERY_HEAD if claim.experiment.startswith(HEADS) else ours])
    return markdown(header, rows)


def commands() -> str:
    """What printed the figures, as the results tell it."""
    paths = [path for path in sorted(RESULTS.glob("*.json")) if path.stem in {claim.experiment for claim in CLAIMS}]
    told = [json.loads(path.read_text(encoding="utf-8"))["command"] for path in paths]
    return "\n".join(["The commands:", "", "```bash", *told, "```"])


def main() -> None:
    """Put the table and its commands into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{commands()}\n\n{END}{after}", encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main()
