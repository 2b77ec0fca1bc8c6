"""How well scores rank a picture's classes: error among the first k, and mean average precision (MAP@k)."""

import numpy as np


def top_k_wrong(scores: np.ndarray, labels: np.ndarray, k: int) -> int:
    """Pictures whose class is not among the k of highest score; [n, classes] and [n]. Of equal scores, the first."""
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return int((first != labels[:, None]).all(1).sum())


def mean_average_precision(
    scores: np.ndarray, relevant: np.ndarray, k: int, weights: np.ndarray | None = None
) -> float:
    """MAP@k of multi-label pictures, each class weighted (Chollet 2017, section 4.1: FastEval14k's metric).

    A picture's average precision is the mean, over its classes, of the precision among the scores down to that class;
    a class that is not among the first k brings 0, and of more than k classes the k best possible ones are counted.
    The paper weights «the contribution of each class» by how common it is, and gives no formula: here the mean over a
    picture's classes is weighted, and the mean over pictures is not. With equal weights this is MAP@k as usual.

    Args:
        scores: [n, classes], the higher the more likely; of equal scores the first class comes first.
        relevant: [n, classes], whether a picture has a class.
        k: how many of the first scores are looked at, 100 in the paper.
        weights: [classes], not negative; all alike where None.

    Returns:
        0 to 1.

    Raises:
        ValueError: shapes that do not fit, or no picture with a class of positive weight; others are left out.
    """
    relevant = np.asarray(relevant, bool)
    weights = np.ones(scores.shape[1]) if weights is None else np.asarray(weights, float)
    if relevant.shape != scores.shape or weights.shape != scores.shape[1:]:
        raise ValueError(f"shapes {scores.shape}, {relevant.shape} and {weights.shape} do not fit")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(relevant, order, 1)
    precision = np.cumsum(hits, 1) / np.arange(1, order.shape[1] + 1)
    best = -np.sort(-np.where(relevant, weights, 0.0), axis=1)[:, :k].sum(1)
    if not (best > 0).any():
        raise ValueError("no picture has a class of positive weight")
    gained = (precision * hits * weights[order]).sum(1)
    return float((gained[best > 0] / best[best > 0]).mean())
