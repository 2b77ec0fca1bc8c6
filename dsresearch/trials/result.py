"""What is recorded of a trained model, and how it is kept until its cell is done."""

import contextlib
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dsresearch.schema import write_atomic

Tree = Any


@dataclass(frozen=True)
class Result:
    """A trained model: its row, its curve by epoch, its predictions on the trial's test pictures."""

    row: dict[str, Any]
    curve: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Keep the finished trial of an unfinished cell, whole or not at all; the cell's folder must be there."""
        out = io.BytesIO()
        arrays = {f"curve/{name}": values for name, values in self.curve.items()}
        arrays |= {f"predictions/{name}": values for name, values in self.predictions.items()}
        np.savez(out, row=np.array(json.dumps(self.row)), **arrays)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):  # whose reason the writing tells
            path.parent.mkdir(exist_ok=True)
        write_atomic(path, out.getvalue(), parents=False)

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read what `save` wrote. Raises OSError where it is missing and ValueError where it is damaged."""
        try:
            return cls._read(io.BytesIO(path.read_bytes()))
        except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    @classmethod
    def _read(cls, file: io.BytesIO) -> "Result":
        with np.load(file, allow_pickle=False) as kept:
            parts: dict[str, dict[str, np.ndarray]] = {"curve": {}, "predictions": {}}
            for name in kept.files:
                if name != "row":
                    part, key = name.split("/")
                    parts[part][key] = kept[name]
            return cls(json.loads(str(kept["row"])), **parts)


def tree_sha256(tree: Tree) -> str:
    """sha256 of the arrays of a tree with their paths, types and shapes."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
