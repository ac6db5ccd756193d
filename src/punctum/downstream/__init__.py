"""What covariances in original pixels are good for: geometry from several views, motion from many frames.

Both functions weigh every measurement by its own covariance, and say how exact what comes out is. They take arrays:
predictions of punctum, or anybody's.
"""

from punctum.downstream.smoothing import Smoothed, smooth
from punctum.downstream.triangulation import Triangulation, triangulate

__all__ = ["Smoothed", "Triangulation", "smooth", "triangulate"]
