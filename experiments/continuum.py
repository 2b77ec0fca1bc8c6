"""The continuum from a regular to a separable convolution as a Sacred experiment.

One arm with all its trials is a run:

    python experiments/continuum.py with g4 trials=2 profile=smoke seed=0
    python experiments/continuum.py print_config with g4 quick

`dsresearch run continuum` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("continuum")

if __name__ == "__main__":
    run_commandline(ex)
