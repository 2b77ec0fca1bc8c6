"""ImageNet-sized work as a Sacred experiment: networks of the zoo, side by side on a folder of pictures.

    python experiments/imagenet.py with folder=PICTURES networks=xception,inception_v3 out=runs/imagenet steps=100000
    python experiments/imagenet.py enlarge with source=PICTURES.tar folder=PICTURES image=160
    python experiments/imagenet.py draw with out=runs/imagenet
    python experiments/imagenet.py feed with folder=PICTURES image=128 workers=2 steps=100

The first goes on where it was stopped; the second makes large pictures of small ones, where ImageNet is not at hand;
the third draws a finished run; the last measures how fast pictures come where nobody takes them.
"""

from dsresearch.imagenet.experiment import experiment
from dsresearch.ledger import run_commandline

ex = experiment()

if __name__ == "__main__":
    run_commandline(ex)
