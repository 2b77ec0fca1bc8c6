"""Checkpoints of a block of trials between two epochs, whole or not at all, by Orbax; the two newest are kept."""

import shutil
import sys
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

Tree = Any
KEPT = 2


class Checkpoints:
    """The checkpoints of one cell, by block of trials and epochs done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()  # Orbax wants an absolute path

    def save(self, block: int, epochs: int, tree: Tree) -> None:
        """Keep `tree` as the state of a block after so many epochs."""
        path = self.folder / f"{block:06d}-{epochs:06d}"
        if path.exists():
            return
        with ocp.StandardCheckpointer() as writer:
            writer.save(path, tree)
        for old in self._paths()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self, block: int, like: Tree) -> tuple[int, Tree] | None:
        """Epochs done and state of the block's newest readable checkpoint, in the shape of `like`; None without one."""
        for path in reversed(self._paths()):
            if not path.name.startswith(f"{block:06d}-"):
                continue
            try:
                with ocp.StandardCheckpointer() as reader:
                    return int(path.name.split("-")[1]), reader.restore(path, like)
            except Exception as error:  # whatever is wrong with its files, the one before it will do
                print(f"checkpoint {path.name} is damaged ({type(error).__name__}), going back", file=sys.stderr)
        return None

    def _paths(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.name.replace("-", "").isdecimal())
