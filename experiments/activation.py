"""The activation between the operations (Figure 10 of the Xception paper) as a Sacred experiment.

One arm with all its trials is a run:

    python experiments/activation.py with separable_relu trials=2 profile=smoke seed=0
    python experiments/activation.py print_config with separable_relu quick

`dsresearch run activation` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("activation")

if __name__ == "__main__":
    run_commandline(ex)
