"""A data set in memory and on disk: `Pictures`, its fingerprint, and the folder that holds a decoded set.

A stored set is a folder of three files, `images.npy`, `labels.npy` and `set.json`, which appears under its name in one
rename or not at all. Reading maps the pictures into memory and checks them against their fingerprint: a damaged set is
an error, never a result.
"""

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsresearch.design import InputError, digest
from dsresearch.documents import has, read_json

FORMAT = 1  # of a stored set; a reader refuses any other
_KINDS = {
    "format": int,
    "name": str,
    "label": str,
    "shape": list,
    "n_train": int,
    "classes": list,
    "fingerprint": str,
    "source": str,
}  # of set.json


@dataclass(frozen=True, eq=False)
class Pictures:
    """A labelled set of pictures, decoded.

    Attributes:
        name: what `--data` calls it: `digits`, `cifar10` or the name given to `data import`.
        label: what tables and captions print: `digits`, `CIFAR-10`, `CIFAR-10 (JPEG copy)`, or the import's own name.
        images: uint8 [n, height, width, channels], read-only; the set's own training pictures first, then its test
            pictures, in an order that depends on nothing but the set.
        labels: int32 [n], positions in `classes`.
        n_train: how many are the set's own training pictures; n where the set has no test pictures of its own.
        classes: names of the classes.
        fingerprint: sha256 of everything above but the name and the label.
    """

    name: str
    label: str
    images: np.ndarray
    labels: np.ndarray
    n_train: int
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def augmentation(self) -> str:
        """What training does to a picture of this set: `crop_flip` for 32 px colour pictures, else `none`."""
        return "crop_flip" if self.images.shape[1:] == (32, 32, 3) else "none"


def pictures(
    name: str, label: str, images: np.ndarray, labels: np.ndarray, n_train: int, classes: tuple[str, ...]
) -> Pictures:
    """Pictures with their fingerprint computed, and with arrays that nobody can write to."""
    images = np.ascontiguousarray(images, np.uint8)
    labels = np.ascontiguousarray(labels, np.int32)
    images.flags.writeable = labels.flags.writeable = False
    return Pictures(name, label, images, labels, n_train, classes, _fingerprint(images, labels, n_train, classes))


def _fingerprint(images: np.ndarray, labels: np.ndarray, n_train: int, classes: tuple[str, ...]) -> str:
    head = {"shape": images.shape, "dtype": str(images.dtype), "n_train": n_train, "classes": classes}
    total = hashlib.sha256(digest(head).encode())
    total.update(images.data)
    total.update(labels.astype("<i4").tobytes())  # the same on machines of either byte order
    return total.hexdigest()


def home() -> Path:
    """Where imported and decoded sets lie: $DSRESEARCH_HOME, else the user's data folder (XDG)."""
    if own := os.environ.get("DSRESEARCH_HOME"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "dsresearch"


# --- a stored set -----------------------------------------------------------------------------------------------


def keep(folder: Path, content: Pictures, source: str) -> None:
    """Store a set as `folder`; where another process has stored one there meanwhile, leave that one.

    `source` identifies what the set was decoded from. Raises InputError where the folder cannot be written.
    """
    staging = folder.parent / f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        staging.mkdir(parents=True)
        _write(staging / "images.npy", content.images)
        _write(staging / "labels.npy", content.labels)
        meta = {
            "format": FORMAT,
            "name": content.name,
            "label": content.label,
            "shape": content.images.shape,
            "n_train": content.n_train,
            "classes": content.classes,
            "fingerprint": content.fingerprint,
            "source": source,
        }
        with open(staging / "set.json", "w", encoding="utf-8") as file:
            json.dump(meta, file, indent=1)
            _to_disk(file)
        staging.rename(folder)
    except OSError as error:
        if not (folder / "set.json").exists():
            reason = error.strerror or error
            raise InputError(
                f"{str(folder)!r} cannot be written: {reason}; $DSRESEARCH_HOME may name another folder"
            ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array)
        _to_disk(file)


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def describe(folder: Path) -> dict[str, Any]:
    """The `set.json` of a stored set, its pictures unread. Raises InputError where it is damaged."""
    try:
        meta: dict[str, Any] = read_json(folder / "set.json")
        if set(meta) == _KINDS.keys() and has(meta, _KINDS) and meta["format"] == FORMAT:
            return meta
    except (OSError, ValueError, TypeError):
        pass
    raise _damaged(folder, "set.json cannot be read")


def read(folder: Path) -> Pictures:
    """The stored set, its pictures mapped into memory. Raises InputError where it is damaged."""
    meta = describe(folder)
    try:  # mapped, so that an array is as large as its file, whatever its head says
        images, labels = (np.asarray(np.load(folder / name, mmap_mode="r")) for name in ("images.npy", "labels.npy"))
        content = pictures(meta["name"], meta["label"], images, labels, meta["n_train"], tuple(meta["classes"]))
    except Exception as error:  # what numpy raises for broken bytes is not a closed list
        raise _damaged(folder, f"its arrays cannot be read ({type(error).__name__})") from error
    if content.fingerprint != meta["fingerprint"]:
        raise _damaged(folder, f"its pictures are not those of fingerprint {meta['fingerprint'][:12]}")
    return content


def _damaged(folder: Path, what: str) -> InputError:
    return InputError(f"the set stored in {str(folder)!r} is damaged: {what}; remove that folder and make it again")
