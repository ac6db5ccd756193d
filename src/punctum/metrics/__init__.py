"""How good are the coordinates? A pure function and a torchmetrics class for each metric, and `summarize` for all.

Points are in original-image pixels. `distances` turns predictions and truth into (N, K) distances with NaN where
a point does not count; every metric starts from those.
"""

from punctum.metrics.average_precision import average_precision
from punctum.metrics.bootstrap import bootstrap_interval, mean_interval, quantile_interval
from punctum.metrics.difficulty import difficulty
from punctum.metrics.distance import distances
from punctum.metrics.epe import EPE, epe
from punctum.metrics.landmarks import MRE, SDR, mre, sdr
from punctum.metrics.nme import NME, NMEResult, nme
from punctum.metrics.normalizer import Normalizer, normalized_distances
from punctum.metrics.oks import (
    OKS,
    SigmaEstimate,
    estimate_sigmas,
    instance_areas,
    keypoint_similarity,
    oks,
    sigmas_of,
)
from punctum.metrics.pck import PCK, PCKAUC, pck, pck_auc
from punctum.metrics.pckh import PCKh, PCKhResult, pckh
from punctum.metrics.pooling import Result
from punctum.metrics.ranking import rank_correlation, rank_correlation_interval
from punctum.metrics.summary import summarize

__all__ = [
    "EPE",
    "MRE",
    "NME",
    "OKS",
    "PCK",
    "PCKAUC",
    "SDR",
    "NMEResult",
    "Normalizer",
    "PCKh",
    "PCKhResult",
    "Result",
    "SigmaEstimate",
    "average_precision",
    "bootstrap_interval",
    "difficulty",
    "distances",
    "epe",
    "estimate_sigmas",
    "instance_areas",
    "keypoint_similarity",
    "mean_interval",
    "mre",
    "nme",
    "normalized_distances",
    "oks",
    "pck",
    "pck_auc",
    "pckh",
    "quantile_interval",
    "rank_correlation",
    "rank_correlation_interval",
    "sdr",
    "sigmas_of",
    "summarize",
]
