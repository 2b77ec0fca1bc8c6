"""Checkpoints of a block of trials between two epochs, whole or not at all, by Orbax; the two newest are kept.

Orbax writes a folder under another name and renames it. Beside it then comes `<name>.sha256`, in the form that
`sha256sum -c` reads, with every file of the folder: a checkpoint counts once that is there, so a kill at any moment
leaves it whole or unmade, and one that was damaged later is found before a byte of it is believed.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from dsresearch.schema import WriteError, sync_folder, write_atomic

Tree = Any
KEPT = 2


class Checkpoints:
    """The checkpoints of one cell, by block of trials and epochs done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()  # Orbax wants an absolute path

    def save(self, block: int, epochs: int, tree: Tree) -> None:
        """Keep `tree` as the state of a block after so many epochs. Raises InputError where it cannot be written."""
        path = self.folder / f"{block:06d}-{epochs:06d}"
        if _list_of(path).exists():
            return
        if not self.folder.parent.is_dir():
            raise WriteError(path, "its folder has vanished")
        self._remove_unfinished()
        try:
            with _checkpointer() as writer:
                writer.save(path, tree)
            write_atomic(_list_of(path), _sha256_of_files(path).encode(), parents=False)
        except Exception as error:  # TensorStore has its own words for a full disk
            self._remove_unfinished()
            raise WriteError(path, " ".join(str(error).split())[:200]) from None
        for old in [path for path in self._kept() if _block(path) <= block][:-KEPT]:  # a later block's are its own
            _remove(old)

    def newest(self, block: int, like: Tree) -> tuple[int, Tree] | None:
        """Epochs done and state of the block's newest whole checkpoint, in the shape of `like`; None without one.

        A damaged one is told of and removed, and the one before it taken. What goes wrong with a whole one, such as too
        little memory, is no reason to lose it, and is raised. Of processes that share a cell one tells and removes.
        """
        writes = jax.process_index() == 0
        found = [path for path in self._kept() if _block(path) == block]
        for path in reversed(found):
            if why := _damage(path):
                if writes:
                    print(f"warning: checkpoint {path.name} is damaged ({why}), going back", file=sys.stderr)
                    _remove(path)
                continue
            with _checkpointer() as reader:
                return int(path.name.split("-")[1]), reader.restore(path, like)
        if found and writes:
            print(f"warning: no checkpoint of block {block} is whole, its trials start again", file=sys.stderr)
        return None

    def _kept(self) -> list[Path]:
        """The finished checkpoints, oldest first."""
        found = [path.with_suffix("") for path in self.folder.glob("*.sha256")]
        return sorted(found, key=lambda path: tuple(map(int, path.name.split("-"))))  # a million steps have 7 digits

    def _remove_unfinished(self) -> None:
        """What a kill in the middle of `save` leaves: Orbax's folder under either name, without its list."""
        for path in self.folder.glob("*"):
            if path.is_dir() and not _list_of(path).exists():
                shutil.rmtree(path, ignore_errors=True)


def _list_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _block(path: Path) -> int:
    return int(path.name.split("-")[0])


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint's files, or nothing."""
    try:
        said = _list_of(path).read_text(encoding="utf-8")
        return "" if said == _sha256_of_files(path) else "sha256 differs"
    except UnicodeDecodeError:
        return "its list is no text"
    except FileNotFoundError:  # another process that shares the cell has found the damage and removes it
        return "it is gone, or being removed"


def _remove(path: Path) -> None:
    """The list first: without it the rest is no checkpoint."""
    _list_of(path).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _sha256_of_files(folder: Path) -> str:
    """A line for each file of a folder, as `sha256sum` writes it; what was read is also on the disk."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        lines.append(f"{digest}  {path.relative_to(folder.parent)}\n")
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(path)
    return "".join(lines)


def _checkpointer() -> ocp.StandardCheckpointer:
    """Orbax for this process alone: those that share a cell hold the same arrays, and one of them writes."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, barrier_sync_key_prefix=f"process{me}")
    return ocp.StandardCheckpointer(multiprocessing_options=alone if jax.process_count() > 1 else _BY_DEFAULT)


_BY_DEFAULT = ocp.options.MultiprocessingOptions()
