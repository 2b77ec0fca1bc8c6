"""Figure 4 of the hybrid paper as a Sacred experiment: one arm with all its trials a run.

    python experiments/hybrid.py with setup=resnext trials=2 profile=smoke seed=0
    python experiments/hybrid.py with resnext smoke design.groups=2 -F runs/sacred
    python experiments/hybrid.py print_config with hybrid quick

`dsresearch run hybrid` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("hybrid")

if __name__ == "__main__":
    run_commandline(ex)
