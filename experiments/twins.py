"""One function in several formulations, and models one ulp apart, as a Sacred experiment.

One arm with all its trials is a run:

    python experiments/twins.py with hybrid trials=2 profile=smoke seed=0
    python experiments/twins.py print_config with hybrid quick

`dsresearch run twins` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("twins")

if __name__ == "__main__":
    run_commandline(ex)
