"""What the paper of the hybrid hypothesis reports of itself (Ghosh 2017, arXiv:1701.04489), and how it was measured.

Its Figures 5 and 6 stand among the training results (`references.training`).
"""

from collections.abc import Mapping

# Figure 4: absolute difference of test error from the baseline on CIFAR-10, percentage points.
DIFFERENCES: Mapping[str, float] = {
    "separable": 0.0,
    "inception": 0.83,
    "resnext": 0.62,
    "inception_reformulated": 0.71,
    "separable_strict": 0.08,
    "hybrid": 0.12,
}
RIVALS = ("inception", "resnext", "inception_reformulated")  # that the hybrid is said to be nearer than
GAPS: Mapping[str, float] = {name: DIFFERENCES[name] for name in RIVALS}

EPOCHS, TRIALS = 190, 10
TESTED = 6_000  # pictures in its test set (its section on Figure 4), under either reading of which

# The profiles that train so long: trials and test pictures of each, on CIFAR-10.
DESIGNS: Mapping[str, tuple[int, int]] = {"paper": (TRIALS, TESTED), "confirm": (20, 10_000)}
