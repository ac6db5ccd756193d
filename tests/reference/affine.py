"""Affine maps of one point and one covariance, with NumPy's matrix product."""

import numpy as np


def point(x, matrix):
    return (matrix @ np.append(x, 1.0))[:-1]


def covariance(s, matrix):
    linear = matrix[:-1, :-1]
    return linear @ s @ linear.T
