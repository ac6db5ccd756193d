"""The page as people meet it: in a real Chromium, by mouse, by keyboard, by what a screen reader is told."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from punctum.predict import load
from serve.servers import Running

playwright = pytest.importorskip("playwright.sync_api", reason="pip install punctum[test]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed"
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
DESK, PHONE = {"width": 1240, "height": 900}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, running: Running, viewport: dict[str, int] = DESK, **options: Any) -> Iterator[Any]:
    """The page, which must not say a word on the console, and ask nobody but its server."""
    context = browser.new_context(viewport=viewport, **options)
    said: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    context.on("request", lambda request: asked.append(request.url))
    page.quiet = said
    try:
        page.goto(running.address)
        page.locator("#model", has_text="14 points").wait_for()
        yield page
        assert [url for url in asked if not url.startswith((running.address, "blob:" + running.address))] == []
        assert said == []
    finally:
        context.close()


@pytest.fixture(scope="module")
def picture(scenes: Path) -> Path:
    return sorted((scenes / "images").glob("test_*"))[0]


def drop(page: Any, picture: Path) -> None:
    page.locator("#file").set_input_files(picture)
    page.locator("#status", has_text="14 points").wait_for()


def test_a_dropped_picture_gives_the_points_that_the_command_gives(
    browser: Any, running: Running, picture: Path, trained: Path, tmp_path: Path
) -> None:
    (wanted,) = load(trained).predict([picture])
    with opened(browser, running) as page:
        content = list(picture.read_bytes())
        page.evaluate(
            """([bytes, name]) => { const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true})); }""",
            [content, picture.name],
        )
        page.locator("#status", has_text="14 points").wait_for()
        assert page.locator("tbody th").all_text_contents() == list(wanted.names)
        shown = [
            [float(text) for text in page.locator(f"tbody td:nth-child({i})").all_text_contents()] for i in (2, 3)
        ]
        np.testing.assert_allclose(np.array(shown).T, wanted.keypoints, atol=0.006)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Points as CSV").click()
        waiting.value.save_as(tmp_path / "points.csv")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="as JSON").click()
        waiting.value.save_as(tmp_path / "points.json")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Picture as PNG").click()
        waiting.value.save_as(tmp_path / "points.png")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "points.csv").read_text())))
    np.testing.assert_allclose([[float(row["x"]), float(row["y"])] for row in rows], wanted.keypoints, atol=1e-3)
    covariance = [[float(row[name]) for name in ("cov_xx", "cov_xy", "cov_yy")] for row in rows]
    np.testing.assert_allclose(covariance, wanted.covariance[:, [0, 0, 1], [0, 1, 1]], rtol=1e-3, atol=1e-3)
    (frame,) = json.loads((tmp_path / "points.json").read_text())
    assert [point["name"] for point in frame["keypoints"]] == list(wanted.names)
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")


def pixels(page: Any) -> int:
    """A fingerprint of what is drawn."""
    return hash(page.evaluate("document.getElementById('stage').toDataURL()"))


def box_asked(request: Any) -> list[float]:
    (text,) = parse_qs(urlsplit(request.url).query)["box"]
    return [float(number) for number in text.split(",")]


def test_every_control_changes_the_drawing(browser: Any, running: Running, picture: Path) -> None:
    with opened(browser, running) as page:
        drop(page, picture)
        seen = [pixels(page)]
        for act in (
            lambda: page.get_by_label("Skeleton").uncheck(),
            lambda: page.get_by_label("Ellipses", exact=True).check(),
            lambda: page.get_by_label("Names").check(),
            lambda: page.get_by_label("Heatmap", exact=True).select_option("All points"),
            lambda: page.get_by_label("Heatmap's opacity").fill("20"),
            lambda: page.locator("tbody button").nth(2).click(),
            lambda: page.get_by_label("Least score").fill("1"),
        ):
            act()
            seen.append(pixels(page))
            assert seen[-1] != seen[-2]
        assert page.locator("tbody tr.below").count() == 14
        assert "0 of 14 points drawn" in page.locator("#summary").text_content()


def test_a_box_by_numbers_and_by_mouse(browser: Any, running: Running, picture: Path) -> None:
    with opened(browser, running) as page:
        drop(page, picture)
        page.locator("summary").click()
        for label, value in (("x", "8"), ("y", "10"), ("Width", "40"), ("Height", "44")):
            page.get_by_role("spinbutton", name=label, exact=True).fill(value)
        with page.expect_request("**/predict?*") as waiting:
            page.get_by_role("button", name="Look there").click()
        assert box_asked(waiting.value) == [8, 10, 40, 44]
        page.locator("#status", has_text="14 points").wait_for()
        page.locator("#stage").scroll_into_view_if_needed()
        edge = page.locator("#stage").bounding_box()
        page.mouse.move(edge["x"] + 0.25 * edge["width"], edge["y"] + 0.25 * edge["height"])
        page.mouse.down()
        page.mouse.move(edge["x"] + 0.75 * edge["width"], edge["y"] + 0.5 * edge["height"])
        with page.expect_request("**/predict?*") as waiting:
            page.mouse.up()
        # 64 px wide: from 15.5 to 47.5, and down to 31.5.
        assert box_asked(waiting.value) == pytest.approx([15.5, 15.5, 32, 16], abs=0.6)
        page.locator("#status", has_text="14 points").wait_for()


def test_mistakes_are_told(browser: Any, running: Running, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with opened(browser, running) as page:
        page.locator("#file").set_input_files(bad)
        page.get_by_role("alert").wait_for()
        assert "header is damaged" in page.get_by_role("alert").text_content()
        # Chromium itself notes a failed request.
        assert all("422" in line for line in page.quiet)
        page.quiet.clear()


def test_by_keyboard_alone(browser: Any, running: Running, picture: Path) -> None:
    with opened(browser, running) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        assert page.locator("#drop").evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"
        chosen: list[Any] = []
        page.on("filechooser", lambda chooser: chosen.append(chooser))
        # Of a page that is still being drawn Chromium may lose the key.
        for _ in range(5):
            page.keyboard.press("Space")
            page.wait_for_timeout(1000)
            if chosen:
                break
        chosen[0].set_files(picture)
        page.locator("#status", has_text="14 points").wait_for()
        order = []
        for _ in range(40):
            page.keyboard.press("Tab")
            here = page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
            order.append(here)
            if here == "pelvis" or len(order) > 16:
                break
        wanted = ["skeleton", "ellipses", "names", "level", "least", "heat", "opacity", "Look at a part only"]
        assert order[: len(wanted)] == wanted
        assert order[len(wanted) : len(wanted) + 3] == ["csv", "json", "png"]
        page.locator("tbody button").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("tbody button").first.get_attribute("aria-pressed") == "true"
        # What is pressed keeps the focus: the table is not built anew under one's hands.
        page.keyboard.press("Enter")
        assert page.locator("tbody button").first.get_attribute("aria-pressed") == "false"


def test_what_a_screen_reader_is_told(browser: Any, running: Running, picture: Path) -> None:
    with opened(browser, running) as page:
        drop(page, picture)
        nameless = """() => [...document.querySelectorAll("input, select, button, a, canvas, progress")]
            .filter((e) => !e.closest("[hidden]"))
            .filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-labelledby")))
            .map((e) => e.outerHTML)"""
        assert page.evaluate(nameless) == []
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.locator("h1").count() == 1
        assert page.locator("[role=status]").count() == page.locator("[role=alert]").count() == 1
        assert page.locator("table caption").text_content()
        assert page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count() == 0
        assert "14 of 14 points drawn" in page.get_by_role("img", name=picture.name).get_attribute(
            "aria-labelledby"
        ) + (page.locator("#summary").text_content())
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
        assert page.locator("img:not([alt])").count() == 0


@pytest.mark.parametrize("viewport", [DESK, PHONE, {"width": 320, "height": 640}], ids=["desk", "phone", "narrow"])
def test_nothing_is_wider_than_the_window(browser: Any, running: Running, picture: Path, viewport: Any) -> None:
    with opened(browser, running, viewport) as page:
        drop(page, picture)
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def luminance(colour: str) -> float:
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser: Any, running: Running, picture: Path, scheme: Any) -> None:
    """WCAG's contrast of at least 4.5, each text against the ground that it stands on."""
    with opened(browser, running, color_scheme=scheme) as page:
        drop(page, picture)
        page.locator("tbody button").first.click()
        page.mouse.move(0, 0)
        found = page.evaluate(
            """() => { const style = (e) => getComputedStyle(e);
            return [...document.querySelectorAll("h1,h2,p,label,button,th,td,a,figcaption,output,summary,.link")]
            .filter((e) => e.offsetParent && !e.querySelector(":disabled") && e.textContent.trim())
            .map((e) => { let g = e;
                while (style(g).backgroundColor === "rgba(0, 0, 0, 0)") g = g.parentElement;
                return [e.outerHTML.slice(0, 80), style(e).color, style(g).backgroundColor]; }); }"""
        )
        assert len(found) > 40
        for what, ink, ground in found:
            low, high = sorted((luminance(ink), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, what


def test_a_video_is_looked_at_frame_by_frame(browser: Any, running: Running, scenes: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV writes the video: pip install punctum[video]")
    import cv2

    path = tmp_path / "film.webm"
    pictures = sorted((scenes / "images").glob("test_*"))[:3]
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libvpx", rate=2)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(cv2.imread(str(picture)), format="bgr24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    with opened(browser, running) as page:
        page.locator("#step").evaluate("(e) => { e.value = '2'; }")
        page.locator("#file").set_input_files(path)
        page.locator("#status", has_text="points in 3 frames").wait_for()
        first = page.locator("tbody").text_content()
        page.get_by_label("Frame", exact=True).fill("0")
        assert page.locator("#time").text_content() == "0.25 s"
        assert page.locator("#frame").get_attribute("aria-valuetext") == "frame 1 of 3, 0.25 seconds"
        assert page.locator("tbody").text_content() != first
        before = pixels(page)
        with page.expect_response("**/predict?heatmaps=true"):
            page.get_by_label("Heatmap", exact=True).select_option("All points")
        page.wait_for_timeout(300)
        assert pixels(page) != before
        page.get_by_role("button", name="Play").click()
        assert page.get_by_role("button", name="Pause").get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="Pause").click()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Points as CSV").click()
        waiting.value.save_as(tmp_path / "film.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "film.csv").read_text())))
    assert [row["time"] for row in rows] == [f"{t:.4f}" for t in (0.25, 0.75, 1.25) for _ in range(14)]
