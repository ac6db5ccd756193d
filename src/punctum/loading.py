"""One door to everything that predicts: run folders, and exported models where torch is not installed."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from punctum.deploy import OnnxPredictor
    from punctum.predict import Predictor


def load(
    run: str | Path,
    device: "str | torch.device | None" = None,
    *,
    flip_test: bool = False,
    decode: str | None = None,
    places: int = 0,
) -> "Predictor | OnnxPredictor":
    """Load what predicts: a run folder (or its `model` folder), with its calibration if any, or an exported model.

    Args:
        run: what `punctum train --out` made, or a `.onnx` file of `punctum export`.
        device: where to compute; None: the GPU where there is one.
        flip_test: average each prediction with that of the mirrored picture; of run folders only, as what follows.
        decode: which place of the density to say, as `punctum predict --decode` has it.
        places: how many likely places of each point to tell.
    Raises:
        FileNotFoundError: there is no model.
        ValueError: the model's files are broken, or cannot do what is asked.
        ImportError: an exported model, and ONNX Runtime is not installed.
    Example:
        >>> predictor = load("model.onnx")  # doctest: +SKIP
        >>> predictor.predict(["a.jpg", "b.png"])[0].keypoints  # doctest: +SKIP
    """
    if Path(run).suffix == ".onnx":
        from punctum.deploy import OnnxPredictor

        if flip_test or decode is not None or places:
            raise ValueError(f"{run}: flip_test, decode and places are for run folders: a graph says what is in it")
        return OnnxPredictor(run, OnnxPredictor.providers_of(None if device is None else str(device)))
    from punctum.predict import load as load_run

    return load_run(run, device, flip_test=flip_test, decode=decode, places=places)
