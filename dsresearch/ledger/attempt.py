"""What surrounds the training of a cell: requests to stop, checkpoints now and then, words on its progress.

No jax here: what is trained comes as an iterator of epochs.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sacred.utils import SacredInterrupt

from dsresearch import runtime
from dsresearch.record.store import CellFolder, write_json

CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 0.03  # of the wall time at most: where writing takes long, checkpoints come less often
PROGRESS_SECONDS = 0.5
ORPHAN_SECONDS = 30.0  # for an epoch to end and a checkpoint to be written


class Stopped(SacredInterrupt):
    """SIGTERM or SIGINT came: the cell kept a checkpoint and ends."""

    STATUS = "INTERRUPTED"


class Keeper:
    """Keeps checkpoints of a training when it is time to.

    Attributes:
        seconds: spent in writing them.
    """

    def __init__(self, keep: Callable[[], None]) -> None:
        self._keep = keep
        self.seconds = 0.0
        self._due = time.monotonic() + CHECKPOINT_SECONDS

    def now(self) -> None:
        """Keep one."""
        began = time.monotonic()
        self._keep()
        ended = time.monotonic()
        self.seconds += ended - began
        self._due = ended + max(CHECKPOINT_SECONDS, (ended - began) / CHECKPOINT_SHARE)

    def if_due(self) -> None:
        """Keep one where the last is old enough."""
        if time.monotonic() > self._due:
            self.now()


class CellProgress:
    """Says in the cell's folder how far it is, twice a second at most."""

    def __init__(self, folder: CellFolder, total: int, n_train: int) -> None:
        self.folder, self.total, self.n_train = folder, total, n_train
        self.began = time.monotonic()
        self.told = 0.0
        self.done_here = 0

    def tell(self, epoch: Any, training: Any) -> None:
        self.done_here += len(epoch.trials)
        now = time.monotonic()
        if now - self.told < PROGRESS_SECONDS:
            return
        self.told = now
        before = epoch.trials.start - training.cell.first
        done = before * training.cell.recipe.epochs + epoch.done * len(epoch.trials)
        rate = self.done_here * self.n_train / (now - self.began)
        write_json(
            self.folder.path / "progress.json",
            {
                "done": done,
                "total": self.total,
                "here": self.done_here,
                "seconds": round(now - self.began, 1),
                "images_per_s": round(rate, 1),
            },
        )


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turns SIGTERM, SIGINT and the end of the process that started this one into a question asked between epochs.

    Nobody waits for an orphan: where its epoch, or a compilation, takes longer than ORPHAN_SECONDS, it ends in the
    middle, and the last checkpoint counts.
    """
    asked: list[int] = []
    over = threading.Event()
    threading.Thread(target=_end_orphan, args=(over,), daemon=True).start()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in previous:
        signal.signal(number, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked) or runtime.orphaned()
    finally:
        over.set()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end_orphan(over: threading.Event) -> None:
    while not over.wait(1.0):
        if runtime.orphaned():
            if not over.wait(ORPHAN_SECONDS):
                os._exit(runtime.STOPPED)
            return
