"""A cell's trials, from their seeds to what is recorded of them."""

from dsresearch.trials.result import Result, tree_sha256
from dsresearch.trials.start import enlarged, seeds_of
from dsresearch.trials.training import Training

__all__ = ["Result", "Training", "enlarged", "seeds_of", "tree_sha256"]
