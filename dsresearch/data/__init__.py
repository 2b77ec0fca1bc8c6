"""Pictures as arrays: the embedded digits, CIFAR-10 without TensorFlow, the user's own, and the splits of a trial.

Importing this room takes numpy alone; scikit-learn, Pillow and tensorflow-datasets are imported where they are needed.
"""

from dsresearch.data.importing import import_pictures
from dsresearch.data.official import prepare_cifar10
from dsresearch.data.sets import Info, available, development_pictures, load
from dsresearch.data.splits import split
from dsresearch.data.store import Pictures, home

__all__ = [
    "Info",
    "Pictures",
    "available",
    "development_pictures",
    "home",
    "import_pictures",
    "load",
    "prepare_cifar10",
    "split",
]
