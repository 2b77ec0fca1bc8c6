"""Figure 5 of the hybrid paper, FractalNet with and without separable layers: a Sacred experiment, one arm a run.

    python experiments/fractalnet.py with fractalnet_separable smoke design.columns=2 seed=0
    python experiments/fractalnet.py print_config with quick

`dsresearch run fractalnet` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("fractalnet")

if __name__ == "__main__":
    run_commandline(ex)
