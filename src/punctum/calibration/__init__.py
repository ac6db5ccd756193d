"""Coordinates with a promise: densities fitted to held-out images, and regions that keep their word."""

from punctum.calibration.calibrate import LEVELS, calibrate, fit, images_to_fit
from punctum.calibration.calibrated import Calibrated, Flags
from punctum.calibration.calibration import FILE, Calibration
from punctum.calibration.density import Density
from punctum.calibration.fitted import Distance, Fitted
from punctum.calibration.maps import MapSet
from punctum.calibration.regions import KINDS, Kind, Regions

__all__ = [
    "FILE",
    "KINDS",
    "LEVELS",
    "Calibrated",
    "Calibration",
    "Density",
    "Distance",
    "Fitted",
    "Flags",
    "Kind",
    "MapSet",
    "Regions",
    "calibrate",
    "fit",
    "images_to_fit",
]
