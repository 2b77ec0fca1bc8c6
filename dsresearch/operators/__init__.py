"""The arithmetic of the study: spatial convolution at any group count, pointwise products, BatchNorm, pooling.

Pictures are NHWC, spatial kernels HWIO with shape (k, k, C / groups, outputs).
"""

from dsresearch.operators.blocks import with_moments
from dsresearch.operators.convolution import path_conv, spatial_conv
from dsresearch.operators.normalise import (
    Affine,
    Moments,
    activate,
    apply_affine,
    moments,
    standardise,
    statistics,
)
from dsresearch.operators.pooling import avg_pool, max_pool
from dsresearch.operators.products import join_paths, pointwise

__all__ = [
    "Affine",
    "Moments",
    "activate",
    "apply_affine",
    "avg_pool",
    "join_paths",
    "max_pool",
    "moments",
    "path_conv",
    "pointwise",
    "spatial_conv",
    "standardise",
    "statistics",
    "with_moments",
]
