"""Figure 6 of the hybrid paper, five DarkNets with and without separable layers: a Sacred experiment, one arm a run.

    python experiments/darknet.py with darknet_cifar smoke design.width=0.25 seed=0
    python experiments/darknet.py print_config with quick

`dsresearch run darknet` runs all arms and controls of the study, in parallel and resumable, and knows what is done.
"""

from dsresearch.ledger import experiment, run_commandline

ex = experiment("darknet")

if __name__ == "__main__":
    run_commandline(ex)
