"""Xception and an Inception V3 of its size: a Sacred experiment, one arm a run.

    python experiments/xception.py with xception_jft smoke recipe.epochs=1 seed=0
    python experiments/xception.py print_config with quick

`dsresearch run xception` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("xception")

if __name__ == "__main__":
    run_commandline(ex)
