"""Does a prediction know how good it is? Outcomes, densities and scores against the truth.

Values are (N, K) with NaN where a point does not count; intervals resample images. `summarize_trust` is all of it as
what metrics.json holds.
"""

from punctum.metrics.calibration.correlation import linear_correlation, linear_correlation_interval
from punctum.metrics.calibration.densities import nll, pit_chance, pit_distance, pit_histogram
from punctum.metrics.calibration.regions import NOMINAL, Outcomes, coverage_and_size, coverage_and_size_interval
from punctum.metrics.calibration.reliability import (
    ECE,
    brier,
    ece,
    groups_by_score,
    reliability,
    squared_gap_interval,
)
from punctum.metrics.calibration.rescoring import rescored, rescored_average_precision
from punctum.metrics.calibration.risk import AURC, aurc, aurc_interval, excess_aurc, risk_coverage
from punctum.metrics.calibration.scoring import crps, energy_score
from punctum.metrics.calibration.summary import summarize_trust

__all__ = [
    "AURC",
    "ECE",
    "NOMINAL",
    "Outcomes",
    "aurc",
    "aurc_interval",
    "brier",
    "coverage_and_size",
    "coverage_and_size_interval",
    "crps",
    "ece",
    "energy_score",
    "excess_aurc",
    "groups_by_score",
    "linear_correlation",
    "linear_correlation_interval",
    "nll",
    "pit_chance",
    "pit_distance",
    "pit_histogram",
    "reliability",
    "rescored",
    "rescored_average_precision",
    "risk_coverage",
    "squared_gap_interval",
    "summarize_trust",
]
