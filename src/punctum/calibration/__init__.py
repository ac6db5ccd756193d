"""How far to trust a point: densities, covariances, regions and scores that held-out images have made honest."""

from punctum.calibration.calibrated import Calibrated
from punctum.calibration.calibration import Calibration, check_images, check_levels
from punctum.calibration.conformal import needed, quantile
from punctum.calibration.density import Density
from punctum.calibration.files import load, save
from punctum.calibration.isotonic import IsotonicMap
from punctum.calibration.maps import MapSet
from punctum.calibration.regions import KINDS, Regions
from punctum.calibration.spread import Spread

__all__ = [
    "KINDS",
    "Calibrated",
    "Calibration",
    "Density",
    "IsotonicMap",
    "MapSet",
    "Regions",
    "Spread",
    "check_images",
    "check_levels",
    "load",
    "needed",
    "quantile",
    "save",
]
