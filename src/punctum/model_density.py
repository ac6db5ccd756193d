"""The density that a run's model puts its points in: by which labels are judged, and doubt is measured."""

from pathlib import Path

from punctum.calibration import Density
from punctum.model import KeypointModel
from punctum.predict import model_folder
from punctum.reading import load_calibration


def density_of(run: str | Path, model: KeypointModel) -> Density:
    """The calibrated density where `punctum calibrate` has left one, else the head's own map.

    Raises:
        ValueError: calibration.json is broken, or of other keypoints.
    """
    names = model.config.schema.names
    calibration = load_calibration(model_folder(run), names)
    return Density.default(len(names), model.dims) if calibration is None else calibration.fitted.density
