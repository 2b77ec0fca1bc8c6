"""Operating characteristics of the verdict: how often a design reaches each word under a stated truth."""

from collections.abc import Mapping

import numpy as np

from dsresearch.references.hybrid import GAPS
from dsresearch.statistics.power import PLANNED_ERROR, run_sd
from dsresearch.statistics.verdict import gates, relations, word

_RESAMPLES = 1_999  # random sign patterns above the trials that are counted exactly
_BLOCK = 2_000  # studies at once


def chances(
    trials: int,
    n_test: int,
    margin: float,
    alpha: float = 0.05,
    *,
    candidate: float = 0.0,
    rivals: Mapping[str, float] = GAPS,
    error: float = PLANNED_ERROR,
    studies: int = 2_000,
    seed: int = 0,
) -> dict[str, float]:
    """Share of simulated studies that reach SUPPORTED (before the cap), NOT SUPPORTED and UNDECIDED.

    Assumed: every arm and both gated controls independent and normal around their true mean error, of standard
    deviation sqrt(err/2n); the candidate `candidate` and the rivals `rivals` percentage points from the baseline;
    INVALID is counted as undecided. The Monte-Carlo error of a share p is sqrt(p(1 - p)/studies).
    """
    rng = np.random.default_rng(seed)
    spread = run_sd(n_test, error)
    means = np.array([0.0, candidate, *rivals.values(), 0.0, 0.0])
    words: list[str] = []
    for start in range(0, studies, _BLOCK):
        size = min(_BLOCK, studies - start)
        errors = rng.normal(means[:, None, None], spread, (len(means), size, trials))
        d = errors[1:] - errors[0]
        relation = relations(d[0], d[1:-2], alpha, _RESAMPLES)[2]
        words += list(word(gates(d[0], d[1:-2], d[-2:], relation, margin, alpha)))
    shares = {name: words.count(name) / studies for name in ("SUPPORTED", "NOT SUPPORTED")}
    return {**shares, "UNDECIDED": 1 - sum(shares.values())}
