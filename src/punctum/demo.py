"""The whole way on made-up scenes: annotated pictures, training, accuracy, coordinates, a picture to look at."""

from pathlib import Path

from rich.console import Console

from punctum.data import Augmentation, read
from punctum.data.crop import CropSettings
from punctum.data.synthetic import write_scenes
from punctum.evaluate import evaluate
from punctum.image_prediction import ImagePrediction
from punctum.overlays import write_sheet
from punctum.predict_files import predict_files
from punctum.settings import HardwareSettings, OptimizerSettings, TrainSettings
from punctum.train import train

TRAIN_SCENES, TEST_SCENES, EPOCHS = 1500, 300, 16


def demo(out: str | Path = "demo", *, seed: int = 0, console: Console | None = None) -> Path:
    """Make scenes, train, evaluate on unseen ones, predict, and draw: about two minutes on two cores.

    Args:
        out: folder for everything; must not hold an earlier demo.
        seed: of scenes and training.
        console: where to report; None is silent.
    Returns:
        The picture with predictions and truth.
    Raises:
        OSError: the folder holds something already, or cannot be written.
    """
    console = console or Console(quiet=True)
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} exists and is not empty: remove it, or choose another --out")
    data, run = out / "data", out / "run"
    console.rule("1. scenes")
    train_file = write_scenes(data, TRAIN_SCENES, seed=seed, split="train")
    test_file = write_scenes(data, TEST_SCENES, seed=seed + 1, split="test")
    console.print(f"{TRAIN_SCENES} to train on: {train_file}\n{TEST_SCENES} unseen: {test_file}")
    console.rule("2. training")
    train(
        TrainSettings(
            data=str(train_file),
            out=str(run),
            val_fraction=0.05,
            # The head that gets furthest in a minute or two; integral losses need longer.
            head={"name": "heatmap"},
            backbone={"name": "resnet18", "width": 0.25},
            crop=CropSettings(region="image"),
            augmentation=Augmentation(rotation=0.0, scale=0.0, colour=0.2),
            optimizer=OptimizerSettings(lr=4e-3),
            # One process: on two cores a loader beside it would cost more than it saves.
            hardware=HardwareSettings(workers=0),
            batch_size=16,
            max_epochs=EPOCHS,
            seed=seed,
        ),
        console=console,
    )
    console.rule("3. accuracy on unseen scenes")
    metrics = evaluate(run, test_file, console=console, report=True)
    console.rule("4. coordinates")
    predictions = predict_files(run, [test_file], out / "predictions.csv", console=console)
    points = [p for p in predictions if isinstance(p, ImagePrediction)]
    picture = write_sheet(read(test_file), points, out / "predictions.png")
    console.rule("done")
    console.print(
        f"median error on unseen scenes: [bold]{metrics['epe_px']['median']:.2f} px[/bold] at 128 x 128\n"
        f"the picture to look at:   {picture}\ncoordinates:              {out / 'predictions.csv'}\n"
        f"the page to pass on:      {run / 'report.html'}\nmodel, curves, metrics:   {run}"
    )
    return picture
