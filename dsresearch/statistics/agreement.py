"""How far two trained models agree picture by picture: evidence about the mechanism that an error rate cannot give."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Agreement(NamedTuple):
    """Agreement of two models on the same pictures.

    Attributes:
        discordance: share of the pictures that exactly one of the two gets wrong.
        disagreement: share of the pictures on which the two predict different classes.
        kappa: error consistency, the agreement in being right beyond what the two error rates give by chance (Geirhos,
            Meding and Wichmann 2020, arXiv:2006.16736); NaN where both are always right or both always wrong.
    """

    discordance: float
    disagreement: float
    kappa: float


def agreement(predicted: npt.ArrayLike, reference: npt.ArrayLike, label: npt.ArrayLike) -> Agreement:
    """Agreement of two vectors of predicted classes on pictures of the given labels.

    Raises ValueError where the three are not of one length, or empty.
    """
    one, two, true = (np.asarray(values) for values in (predicted, reference, label))
    if one.shape != two.shape or one.shape != true.shape or one.ndim != 1 or not one.size:
        raise ValueError(f"pictures {one.shape}, {two.shape}, {true.shape} are not those of one test set")
    right_one, right_two = one == true, two == true
    together = float(np.mean(right_one == right_two))
    return Agreement(1 - together, float(np.mean(one != two)), _kappa(together, right_one, right_two))


def _kappa(together: float, right_one: npt.NDArray[Any], right_two: npt.NDArray[Any]) -> float:
    p, q = float(right_one.mean()), float(right_two.mean())
    chance = p * q + (1 - p) * (1 - q)
    return float("nan") if chance == 1.0 else (together - chance) / (1 - chance)
