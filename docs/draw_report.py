"""Draw docs/images/report.png: the top of a report, of a run on made-up scenes, as Chromium shows it.

    python docs/draw_report.py [--work FOLDER]

A few minutes on one core; needs playwright and a Chromium. A work folder that holds the run already is used again.
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

from punctum.data import Augmentation
from punctum.data.crop import CropSettings
from punctum.data.synthetic import write_scenes
from punctum.evaluate import evaluate
from punctum.files import write_through
from punctum.settings import HardwareSettings, OptimizerSettings, TrainSettings
from punctum.train import train

OUT = Path(__file__).parent / "images" / "report.png"
WIDTH, MARGIN = 1180, 24
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def make_report(work: Path) -> Path:
    """Train on scenes, evaluate on others, and return the report."""
    run, test = work / "runs" / "scenes", work / "data" / "test.json"
    if not (run / "model").is_dir():
        data = write_scenes(work / "data", 700, seed=0, size=96, split="train")
        write_scenes(work / "data", 200, seed=1, size=96, split="test")
        settings = TrainSettings(
            data=str(data),
            out=str(run),
            val_fraction=0.05,
            head={"name": "heatmap"},
            backbone={"name": "resnet18", "width": 0.25},
            crop=CropSettings((96, 96), region="image"),
            augmentation=Augmentation(rotation=0.0, scale=0.0, colour=0.2),
            optimizer=OptimizerSettings(lr=4e-3),
            hardware=HardwareSettings(workers=0, accelerator="cpu"),
            batch_size=16,
            max_epochs=12,
        )
        train(settings, console=Console())
    evaluate(run, test, report=True, console=Console())
    return run / "report.html"


def photograph(page: Path) -> bytes:
    """The page down to its first row of pictures, as a PNG of few colours."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit(f"this needs one of {', '.join(BROWSERS)}")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        sheet = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        sheet.goto(page.resolve().as_uri())
        end = "document.querySelector('.gallery').getBoundingClientRect().bottom"
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": sheet.evaluate(end) + MARGIN}
        shot = sheet.screenshot(full_page=True, clip=clip)
        browser.close()
    file = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the scenes and the run (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        content = photograph(make_report(given.work or Path(temporary)))
    write_through(OUT, lambda path: path.write_bytes(content))
    print(f"{OUT}: {len(content) / 1024:.0f} KB")


if __name__ == "__main__":
    main()
