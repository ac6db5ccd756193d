"""The page as text: what is in it, that it asks for nothing, and that everything is escaped.

How a browser takes it is in test_report_in_chromium.py.
"""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from scipy import stats

from punctum.report import charts
from punctum.report.blocks import Column, Figure, Page, Picture, Section, Table, Text
from punctum.report.embed import svg
from punctum.report.grid import grid
from punctum.report.page import anchors, render, write_page
from report.pages import EVIL, evil_page, png, table_page

CELLS = {"script": 1, "style": 1, "svg": 0, "iframe": 0, "object": 0, "form": 0, "base": 0}


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def parsed(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    elements.close()
    return elements


@pytest.fixture(scope="module")
def evil() -> str:
    return render(evil_page())


def test_what_looks_like_markup_is_text(evil: str) -> None:
    elements = parsed(evil)
    tags = [tag for tag, _ in elements.found]
    assert {tag: tags.count(tag) for tag in CELLS} == CELLS
    assert not [(tag, name) for tag, attributes in elements.found for name in attributes if name.startswith("on")]
    sources = [attributes["src"] or "" for tag, attributes in elements.found if tag == "img"]
    assert len(sources) == 2 * 5
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", source) for source in sources)


def test_what_looks_like_markup_is_still_there(evil: str) -> None:
    text = "".join(parsed(evil).text)
    for word in EVIL[:-1]:
        assert text.count(word) > 10
    assert "{{ 7 * 7 }}" in text
    assert "49" not in re.sub(r"<script>.*?</script>|data:[^\"]*|sha256-[^']*", "", evil, flags=re.DOTALL)


def test_the_policy_knows_style_and_script_by_their_hashes_and_nothing_else(evil: str) -> None:
    policy = next(a["content"] for tag, a in parsed(evil).found if a.get("http-equiv"))
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", evil, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_a_page_is_the_same_twice(tmp_path: Path) -> None:
    first, second = (write_page(tmp_path / name, table_page()) for name in ("a.html", "deep/er/b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_drawings_are_well_formed_whatever_names_they_carry() -> None:
    names = [*EVIL, "a$b", "$\\alpha", "\\", "{", "\ud800", "\uffff", ""]
    drawing = charts.forest(names, *np.ones((3, len(names))), xlabel=" ".join(names))
    root = ElementTree.fromstring(svg(drawing))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {*EVIL[:-1], "a$b", "$\\alpha"} <= texts
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert not [name for element in root.iter() for name in element.attrib if name.lower().startswith("on")]


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    render(table_page())
    assert dict(matplotlib.rcParams) == before


def test_section_names_that_collide() -> None:
    titles = ["A b", "a-b", "A b 2", "a-b", "", "!?", "Größe"]
    names = anchors([Section(title, []) for title in titles])
    assert len(set(names)) == len(titles)
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


def test_a_table_emphasizes_its_best_and_knows_what_is_missing() -> None:
    columns = [Column("n"), Column("low", ".1f", "low"), Column("high", ".0%", "high"), Column("words", best="low")]
    rows = [["a", 2.0, 0.5, "x"], ["b", 1.0, float("nan"), None], ["c", 1.0, 0.25, "y"]]
    shown = grid(Table(columns, rows))
    assert [[cell.text for cell in row] for row in shown.rows] == [
        ["a", "2.0", "50%", "x"],
        ["b", "1.0", "–", "–"],
        ["c", "1.0", "25%", "y"],
    ]
    assert [[cell.best for cell in row] for row in shown.rows] == [
        [False, False, True, False],
        [False, True, False, False],
        [False, True, False, False],
    ]
    assert shown.numeric == [False, True, True, False]
    assert [row[2].number for row in shown.rows] == ["0.5", None, "0.25"]


def test_numbers_keep_all_their_digits_to_sort_by() -> None:
    values = [1e-9, 12345678.123456789, -0.0, float("inf"), True, 3]
    cells = [row[0] for row in grid(Table([Column("x", ".1f")], [[v] for v in values])).rows]
    assert [float((c.number or "").replace("Infinity", "inf")) for c in cells] == [float(v) for v in values]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (Table([Column("a")], [["x"], ["y", 1]], "Errors"), "table 'Errors': row 2 has 2 cells, and there are 1 col"),
        (Picture(b"GIF-like", "the picture", ""), "picture 'the picture': its content is no PNG, JPEG or GIF"),
        (Picture(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "one", ""), "no PNG, JPEG or GIF"),
    ],
)
def test_what_cannot_be_shown_is_named(tmp_path: Path, page: Table | Picture, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_page(tmp_path / "report.html", Page("t", "", [Section("s", [page])]))
    assert not list(tmp_path.iterdir())


def test_an_empty_table_and_an_empty_page() -> None:
    assert "<tbody>" in render(Page("t", "", [Section("s", [Table([Column("a")], [])])]))
    assert "<main" in render(Page("t", "", []))


def test_pictures_keep_their_size_and_kind() -> None:
    (image,) = [a for tag, a in parsed(render(_page(Picture(png(side=12), "c", "a")))).found if tag == "img"]
    assert (image["width"], image["height"], image["alt"]) == ("12", "12", "a")
    assert (image["src"] or "").startswith("data:image/png;base64,")


def _page(*blocks: Text | Picture | Figure) -> Page:
    return Page("t", "", [Section("s", blocks)])


# --- charts --------------------------------------------------------------------------------------------------------


def test_a_cdf_is_the_share_of_errors_up_to_x() -> None:
    errors = np.random.default_rng(0).gamma(2.0, 3.0, 500)
    (line,) = charts.error_cdf({"all": [*errors, np.nan]}, xlabel="px", log=True).axes[0].lines
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    np.testing.assert_allclose(y, stats.ecdf(errors).cdf.evaluate(x))


@pytest.mark.parametrize("values", [[], [np.nan], [0.0, 0.0], [5.0], [1e-30, 1e30]])
@pytest.mark.parametrize("log", [False, True])
def test_a_cdf_of_odd_errors_can_be_drawn(values: list[float], log: bool) -> None:
    assert svg(charts.error_cdf({"a": values, "b": [1.0]}, xlabel="px", log=log)).startswith("<?xml")


def test_intervals_that_miss_their_value_are_drawn() -> None:
    drawing = charts.bands([0.1, 0.2], {"a": ([1.0, np.nan], [1.1, np.nan], [1.2, np.nan])}, xlabel="x", ylabel="y")
    assert svg(drawing).startswith("<?xml")


def test_a_forest_needs_an_interval_for_each_row() -> None:
    with pytest.raises(ValueError, match="2 labels for 1 values, 1 lows and 1 highs"):
        charts.forest(["a", "b"], [1.0], [0.0], [2.0], xlabel="px")


def test_every_line_of_a_drawing_has_a_look_of_its_own() -> None:
    looks = [tuple(map(str, charts.line_style(i).values())) for i in range(28)]
    assert len(set(looks)) == 28
