"""The page as a reader meets it: in a real Chromium, on a phone, on a desk and on paper."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from punctum.report.folder import write_report
from punctum.report.page import render, write_page
from report.pages import EVIL, evil_page, table_page, write_calibrated, write_evaluation

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install punctum[test]"
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed"
)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_evaluation(folder / "run")
    write_calibrated(folder / "calibrated")
    return {
        "run": write_report(folder / "run"),
        "calibrated": write_report(folder / "calibrated"),
        "evil": write_page(folder / "evil.html", evil_page()),
        "table": write_page(folder / "table.html", table_page()),
    }


@contextmanager
def opened(browser: Any, path: Path, viewport: dict[str, int] = DESK, **options: Any) -> Iterator[Any]:
    """The page, which must not say a word, ask for anything, or open a dialog."""
    context = browser.new_context(viewport=viewport, **options)
    said: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(path.as_uri())
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    finally:
        context.close()


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("name", ["run", "calibrated", "evil", "table"])
def test_nothing_is_wider_than_the_window(browser: Any, files: dict[str, Path], name: str, viewport: Any) -> None:
    with opened(browser, files[name], viewport) as page:
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        # Body text and table text are not too small to read.
        sizes = page.evaluate(
            "[...document.querySelectorAll('p, td, th, dd')].map(e => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 13
        broken = "[...document.images].filter((i) => !(i.complete && i.naturalWidth > 0)).length"
        assert page.evaluate(broken) == 0


def test_what_looks_like_markup_stays_text(browser: Any, files: dict[str, Path]) -> None:
    for name in ("evil", "run"):
        with opened(browser, files[name]) as page:
            page.wait_for_timeout(100)
            assert page.locator("img[onerror], svg, [onmouseover], [onload], [onerror]").count() == 0
            assert page.locator("script").count() == page.locator("style").count() == 1
            shown = page.evaluate("document.body.textContent")
            assert EVIL[0] in shown
            assert EVIL[1] in shown
            assert page.locator("img:not([alt])").count() == 0


def test_even_unescaped_markup_does_not_run(browser: Any, tmp_path: Path) -> None:
    """The second wall: the policy stops what the escaping would have let through."""
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script><style>body{display:none}</style>"
    html = render(table_page()).replace("for the tests", bad)
    path = tmp_path / "bad.html"
    path.write_text(html, encoding="utf-8")
    context = browser.new_context()
    try:
        page, said = context.new_page(), []
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        page.wait_for_timeout(200)
        assert said == []
        assert page.evaluate("getComputedStyle(document.body).display") != "none"
    finally:
        context.close()


# --- tables --------------------------------------------------------------------------------------------------------


def column(page: Any, index: int) -> list[str]:
    script = (
        "(i) => [...document.querySelector('tbody').rows].filter(r => !r.hidden).map(r => r.cells[i].textContent)"
    )
    return page.evaluate(script, index)


def sorted_numbers(falling: bool) -> list[str]:
    numbers = sorted(((-1) ** i * 1.5 * i for i in range(20) if i % 7 != 3), reverse=falling)
    return [f"{v:.1f}" for v in numbers] + ["–"] * 3


def test_numbers_sort_as_numbers_and_gaps_come_last_both_ways(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["table"]) as page:
        heading = page.locator("thead th").nth(1)
        assert heading.get_attribute("aria-sort") is None
        heading.get_by_role("button").click()
        assert column(page, 1) == sorted_numbers(falling=False)
        assert heading.get_attribute("aria-sort") == "ascending"
        heading.get_by_role("button").click()
        assert column(page, 1) == sorted_numbers(falling=True)
        assert heading.get_attribute("aria-sort") == "descending"


def test_words_sort_by_the_numbers_in_them_and_the_keyboard_will_do(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["table"]) as page:
        first = page.locator("thead th").first
        page.locator("thead th").nth(1).get_by_role("button").click()
        first.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert column(page, 0) == [f"point {i}" for i in range(20)]
        page.keyboard.press("Space")
        assert column(page, 0) == [f"point {i}" for i in reversed(range(20))]
        assert page.locator("thead").first.locator("[aria-sort]").count() == 1
        # Whoever goes by keyboard sees where they are.
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_long_table_can_be_filtered(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["table"], PHONE) as page:
        assert page.get_by_label("Filter").count() == 1  # of two tables, one is long
        count = page.locator("output").first
        assert count.text_content() == "20 rows"
        page.get_by_label("Filter").fill("POINT 13")
        assert column(page, 0) == [f"point {i}" for i in (9, 13)]  # 9 is 13.5 off
        assert count.text_content() == "2 of 20 rows"
        page.locator("thead th").first.get_by_role("button").click()
        page.locator("thead th").first.get_by_role("button").click()
        assert column(page, 0) == ["point 13", "point 9"]
        page.get_by_label("Filter").fill("")
        assert len(column(page, 0)) == 20


def test_headings_stay_in_sight_while_a_table_scrolls(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["table"], PHONE) as page:
        scroll = page.locator(".scroll").first
        scroll.evaluate("(box) => { box.scrollTop = 300; }")
        top = "(e) => e.getBoundingClientRect().top"
        assert page.locator("thead th").first.evaluate(top) == pytest.approx(scroll.evaluate(top), abs=2)


# --- parts ---------------------------------------------------------------------------------------------------------


def test_the_contents_lead_everywhere_and_open_what_is_folded(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["run"]) as page:
        links = page.locator("nav a")
        targets = [links.nth(i).get_attribute("href") for i in range(links.count())]
        assert [page.locator(target).count() for target in targets] == [1] * len(targets)
        page.locator("nav a", has_text="Environment").click()
        page.locator("#environment table").wait_for(state="visible", timeout=2000)


def test_on_paper_everything_is_open(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["table"]) as page:
        settings = page.locator("details pre")
        assert not settings.is_visible()
        page.emulate_media(media="print")
        settings.wait_for(state="visible", timeout=2000)
        page.emulate_media(media="screen")
        settings.wait_for(state="hidden", timeout=2000)
        page.evaluate(
            "addEventListener('beforeprint', () => { window.opened = document.querySelector('details').open; })"
        )
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        assert page.evaluate("window.opened") is True
        assert not settings.is_visible()


def test_a_printed_table_is_whole(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["run"], {"width": 794, "height": 1123}) as page:
        page.emulate_media(media="print")
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll')].every((b) => b.scrollHeight <= b.clientHeight + 1)"
        )
        assert not page.locator(".tools, nav").first.is_visible()


def test_paper_is_wide_enough(browser: Any, files: dict[str, Path]) -> None:
    """A4 less its margins at 96 dpi; a wide table of short columns fits, one of 24 columns need not."""
    with opened(browser, files["run"], {"width": 680, "height": 1000}) as page:
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") == 680


def test_without_scripts_everything_can_be_read(browser: Any, files: dict[str, Path]) -> None:
    with opened(browser, files["table"], java_script_enabled=False) as page:
        assert page.locator("tbody tr").first.is_visible()
        page.locator("summary").click()
        assert page.locator("details pre").is_visible()


def luminance(colour: str) -> float:
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_paper(browser: Any, files: dict[str, Path], scheme: Any) -> None:
    """WCAG's contrast of at least 4.5 for text, in either scheme; drawings stand on white in both."""
    with opened(browser, files["evil"], color_scheme=scheme) as page:
        page.locator("summary").click()
        paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (paper > 0.5) == (scheme == "light")
        for what in (
            "p",
            ".lead",
            "td",
            "td strong",
            "thead th",
            "figcaption",
            "nav a",
            ".facts dt",
            ".aside",
            "footer",
        ):
            ink = luminance(page.locator(what).first.evaluate("(e) => getComputedStyle(e).color"))
            low, high = sorted((ink, paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, what
        sheet = page.locator(".drawing .sheet").first.evaluate("(e) => getComputedStyle(e).backgroundColor")
        assert luminance(sheet) > 0.9
