"""Draw docs/images/serve-page.png: the page of `punctum serve`, with a made-up scene, as Chromium shows it.

    python docs/draw_serve.py [--work FOLDER]

A few minutes on one core; needs playwright and a Chromium. A work folder that holds the run already is used again.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

from punctum.calibrate import calibrate
from punctum.data import Augmentation
from punctum.data.crop import CropSettings
from punctum.data.synthetic import write_scenes
from punctum.files import write_through
from punctum.settings import HardwareSettings, OptimizerSettings, TrainSettings
from punctum.train import train

OUT = Path(__file__).parent / "images" / "serve-page.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def make_run(work: Path) -> Path:
    """Train on scenes, and calibrate on others."""
    run = work / "runs" / "scenes"
    if not (run / "model" / "calibration.json").is_file():
        data = write_scenes(work / "data", 900, seed=0, size=128, split="train")
        held_out = write_scenes(work / "data", 250, seed=1, size=128, split="held-out")
        write_scenes(work / "data", 8, seed=2, size=256, split="shown")
        settings = TrainSettings(
            data=str(data),
            out=str(run),
            val_fraction=0.05,
            head={"name": "density"},
            backbone={"name": "resnet18", "width": 0.25},
            crop=CropSettings((96, 96), region="image"),
            augmentation=Augmentation(rotation=0.0, scale=0.0, colour=0.2),
            optimizer=OptimizerSettings(lr=4e-3),
            hardware=HardwareSettings(workers=0, accelerator="cpu"),
            batch_size=16,
            max_epochs=14,
        )
        train(settings, console=Console())
        calibrate(run, held_out, console=Console())
    return run


def photograph(run: Path, picture: Path) -> bytes:
    """The page with the picture in it, as a PNG of few colours."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit(f"this needs one of {', '.join(BROWSERS)}")
    command = [sys.executable, "-m", "punctum.cli", "serve", str(run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = next(line for line in server.stdout or () if line.startswith("page: ")).split()[1]
        with sync_playwright() as running:
            browser = running.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1180, "height": 1160}, color_scheme="light")
            page.goto(address)
            page.locator("#file").set_input_files(picture)
            page.locator("tbody tr").first.wait_for()
            page.locator("tbody button", has_text="left_knee").click()
            page.mouse.move(0, 0)
            page.evaluate("scrollTo(0, 0)")
            shot = page.screenshot()
            browser.close()
    finally:
        server.terminate()
        server.wait()
    file = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the scenes and the run (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        run = make_run(work)
        content = photograph(run, sorted((work / "data" / "images").glob("shown_*"))[0])
    write_through(OUT, lambda path: path.write_bytes(content))
    print(f"{OUT}: {len(content) / 1024:.0f} KB")


if __name__ == "__main__":
    main()
