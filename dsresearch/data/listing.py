"""A folder of pictures that are too many or too large to be decoded once: which files there are, and of which classes.

The layout is that of `data import`, `train|test/<class>/<name>.jpg|jpeg|png`. A picture of several classes stands in a
folder that names them all, `train/cat+dog/1.jpg`; a set with such a folder is multi-label.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsresearch.data import archive
from dsresearch.data.archive import refusal, shown

JOINT = "+"


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a folder of pictures.

    Attributes:
        root: the folder.
        files: paths below the folder of each split, sorted: `train`, `test`.
        labels: of each split, one row of positions in `classes` a file.
        classes: names of the classes, sorted.
        fingerprint: sha256 over paths and sizes; what is in the files is not read.
    """

    root: Path
    files: dict[str, list[str]]
    labels: dict[str, list[tuple[int, ...]]]
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have several classes; its targets are then one flag a class."""
        return any(len(own) > 1 for split in self.labels.values() for own in split)

    def targets(self, split: str) -> np.ndarray:
        """int32 [n], positions in `classes`; of a multi-label set uint8 [n, classes], one flag a class."""
        if not self.multi_label:
            return np.array([own[0] for own in self.labels[split]], np.int32)
        flags = np.zeros((len(self.labels[split]), len(self.classes)), np.uint8)
        for row, own in zip(flags, self.labels[split], strict=True):
            row[list(own)] = 1
        return flags


def listed(source: Path) -> Listing:
    """The pictures of a folder, their contents unread.

    Raises:
        InputError: the folder is missing, holds anything but pictures in their places, or its splits differ in classes.
    """
    files: dict[str, list[str]] = {split: [] for split in archive.SPLITS}
    names: dict[str, list[tuple[str, ...]]] = {split: [] for split in archive.SPLITS}
    total = hashlib.sha256()
    for place, size in archive.places(source):
        files[place.split].append("/".join(place))
        names[place.split].append(_classes(source, place.category))
        total.update(f"{'/'.join(place)}\0{size}\n".encode("utf-8", "surrogateescape"))
    classes = archive.common_classes(source, {split: {n for own in names[split] for n in own} for split in names})
    position = {name: label for label, name in enumerate(classes)}
    labels = {split: [tuple(position[name] for name in own) for own in rows] for split, rows in names.items()}
    return Listing(source, files, labels, classes, total.hexdigest())


def _classes(source: Path, category: str) -> tuple[str, ...]:
    own = tuple(category.split(JOINT))
    if not all(own) or len(set(own)) != len(own):
        raise refusal(source, f"class folder {shown(category)} in it, allowed: different names joined by {JOINT!r}")
    return own


def content(source: Path, path: str) -> bytes:
    """The bytes of one listed file, which may have changed since. Raises InputError where it is none or too large."""
    try:
        with open(os.open(source / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(archive.MAX_FILE + 1)
    except OSError as error:
        raise refusal(source, f"{shown(path)} in it cannot be read: {error.strerror or error}") from error
    if len(data) > archive.MAX_FILE:
        raise refusal(source, f"{shown(path)} in it has more than {archive.MAX_FILE} bytes")
    return data
