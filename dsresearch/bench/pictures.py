"""Synthetic pictures of CIFAR's kind: how fast a step is does not depend on what they show."""

import numpy as np

from dsresearch.bench.cases import Case

SCORED = 500  # pictures a batch of evaluation: `train.EVALUATION_BATCH`, said again for the side without jax


def pictures_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [n, H, W, C] and labels int32 [n]: an epoch's, or two batches of evaluation."""
    rng = np.random.default_rng(0)
    n = 2 * SCORED if case.mode == "inference" else case.n_train
    images = rng.integers(0, 256, (n, case.image, case.image, case.channels), np.uint8)
    return images, rng.integers(0, case.classes, n).astype(np.int32)
