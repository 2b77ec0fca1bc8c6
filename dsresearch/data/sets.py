"""The data sets by name: scikit-learn's digits, CIFAR-10, and what the user has imported."""

import gzip
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsresearch.data import importing, official, store
from dsresearch.design import InputError, nearest

_DIGITS_SCALE = 15  # scikit-learn's grey values are 0..16; times 15 they are 0..240, and dividing gives them back


@dataclass(frozen=True)
class Info:
    """A row of `dsresearch data info`; a set that cannot be read has a note and no figures.

    Attributes:
        name: for `--data`.
        label: what tables print.
        shape: (height, width, channels).
        n_train, n_test: pictures of its own splits.
        classes: how many.
        fingerprint: of the pictures.
        where: the folder or package that holds it.
        note: why it cannot be used and what to do, or nothing.
    """

    name: str
    label: str
    shape: tuple[int, ...] = ()
    n_train: int = 0
    n_test: int = 0
    classes: int = 0
    fingerprint: str = ""
    where: str = ""
    note: str = ""


def load(name: str) -> store.Pictures:
    """The set that `--data` names. Raises InputError where there is none, with what to do."""
    if name == "digits":
        return _digits()
    if name == "cifar10":
        return official.load_cifar10()
    return store.read(_imported_folder(name))


def available() -> list[Info]:
    """What there is: the digits, CIFAR-10 (with a note where it is not prepared) and the imports by name."""
    return [_info(name) for name in (*importing.RESERVED, *importing.imported())]


def development_pictures() -> Path | None:
    """The folder of pictures that tests use: $DSRESEARCH_PICTURES, else ../shared/data; None where it is missing."""
    folder = Path(os.environ.get("DSRESEARCH_PICTURES") or "../shared/data")
    return folder if folder.is_dir() else None


def _imported_folder(name: str) -> Path:
    names = importing.imported()
    if name not in names:
        allowed = (*importing.RESERVED, *names)
        raise InputError(
            f"data={name!r} is not there, allowed: {', '.join(allowed)}{nearest(name, allowed)}; "
            f"`dsresearch data import DIR_OR_TAR --name N` adds a set"
        )
    return importing.folder(name)


def _info(name: str) -> Info:
    where = {"digits": "scikit-learn", "cifar10": str(official.tfds_home())}.get(name, str(importing.folder(name)))
    try:
        pictures = load(name)
    except InputError as error:
        return Info(name, name, where=where, note=str(error))
    n = len(pictures.labels)
    shape = pictures.images.shape[1:]
    counts = (pictures.n_train, n - pictures.n_train, len(pictures.classes))
    return Info(name, pictures.label, shape, *counts, pictures.fingerprint, where)


def _digits() -> store.Pictures:
    """1,797 handwritten digits of 8 x 8 pixels (UCI optdigits, its test part), in scikit-learn's order."""
    table = _digits_table()
    images = (table[:, :64] * _DIGITS_SCALE).reshape(-1, 8, 8, 1)
    classes = tuple(str(digit) for digit in range(10))
    return store.pictures("digits", "digits", images, table[:, 64], len(table), classes)


def _digits_table() -> np.ndarray:
    """uint8 [1797, 65]: 64 grey values of 0..16, then the digit."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise InputError("data='digits' needs the Python package scikit-learn, which is not installed here")
    # the file itself: importing scikit-learn for it takes a second of every cell
    file = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if file.exists():
        with gzip.open(file, "rt") as lines:
            return np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return np.column_stack([data, target]).astype(np.uint8)
