"""Residual connections and depth (Figure 9 of the Xception paper) as a Sacred experiment.

One arm with all its trials is a run:

    python experiments/residual.py with separable_residual trials=2 profile=smoke seed=0
    python experiments/residual.py print_config with separable_residual quick

`dsresearch run residual` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("residual")

if __name__ == "__main__":
    run_commandline(ex)
