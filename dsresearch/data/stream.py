"""Batches of pictures from a folder, decoded while the device computes, by Grain (the extra `imagenet`).

Batch number b of a stream is a function of listing, side, batch size, seed and b alone, never of how many workers make
it: every picture draws from a generator of its own, keyed by the seed and its place in the stream. So the position in
the stream, the number of batches taken, is all the state there is; a training that keeps it goes on bit for bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dsresearch.data.listing import Listing
from dsresearch.data.transform import Evaluation, Training
from dsresearch.design import InputError

AHEAD = 4  # batches that are made before they are asked for, a worker


class Batch(NamedTuple):
    """Pictures uint8 [N, side, side, 3] and their targets, int32 [N] or, multi-label, uint8 [N, classes]."""

    images: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Workers:
    """Who decodes: so many threads, in this process or in each of so many other processes. Never changes a bit."""

    threads: int = 2
    processes: int = 0


class Stream:
    """The endless training stream of a folder; an iterator over batches that knows its position.

    Every picture comes once in an epoch, in a new order in each; the last batch of an epoch is filled from the next.

    Args:
        listing: the pictures.
        side: of the square in pixels.
        batch: pictures a batch.
        seed: of order and augmentation, 0 to 2**32 - 1.
        position: batches that were taken before; the first one of this iterator is number `position`.
        workers: who decodes.
    """

    def __init__(
        self, listing: Listing, *, side: int, batch: int, seed: int, position: int = 0, workers: Workers = Workers()
    ) -> None:
        grain = _grain()
        files = grain.MapDataset.source(_Elements(listing, "train")).seed(seed).shuffle().repeat()
        batches = files.random_map(Training(listing.root, side)).batch(batch, batch_fn=_stacked)
        self.position = position
        self._batches = _ahead(batches[position:], workers)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        images, targets = next(self._batches)
        self.position += 1
        return Batch(np.array(images), np.array(targets))  # copied: what a process sends is its shared memory

    def close(self) -> None:
        """End the workers."""
        self._batches.close()


def evaluation(
    listing: Listing, *, side: int, batch: int, pictures: int = 0, workers: Workers = Workers()
) -> Iterator[tuple[Batch, int]]:
    """(batch, pictures in it that count) over the test pictures, or the first so many of an even spread over them.

    Every batch is full: the last one is filled up with its own first picture.
    """
    elements = _Elements(listing, "test", pictures)
    ready = _ahead(_grain().MapDataset.source(elements).map(Evaluation(listing.root, side)), workers)
    try:
        for start in range(0, len(elements), batch):
            own = [next(ready) for _ in range(min(batch, len(elements) - start))]
            yield _stacked(own + own[:1] * (batch - len(own))), len(own)
    finally:
        ready.close()


class _Elements:
    """(path, target) of a split, by number; what Grain calls a random-access data source."""

    def __init__(self, listing: Listing, split: str, most: int = 0) -> None:
        files, targets = listing.files[split], listing.targets(split)
        chosen = np.linspace(0, len(files) - 1, min(most or len(files), len(files))).round().astype(int)
        self.files = [files[i] for i in chosen]
        self.targets = targets[chosen]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[str, np.ndarray]:
        return self.files[index], self.targets[index]

    def __repr__(self) -> str:
        return f"_Elements({len(self)})"


def _ahead(dataset: Any, workers: Workers) -> Any:
    grain = _grain()
    ahead = AHEAD * max(workers.threads, 1)
    made = dataset.to_iter_dataset(grain.ReadOptions(num_threads=workers.threads, prefetch_buffer_size=ahead))
    if workers.processes:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain's processes ask for a flag, and this program has none
            flags.FLAGS.mark_as_parsed()
        made = made.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=workers.processes))
    return iter(made)


def _stacked(elements: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    images, targets = zip(*elements, strict=True)
    return Batch(np.stack(images), np.stack(targets))


def _grain() -> Any:
    """The package `grain`, which loads jax: imported where it is needed alone."""
    try:
        import grain
    except ModuleNotFoundError as error:
        raise InputError("a stream is not allowed without Grain: pip install 'dsresearch[imagenet]'") from error
    return grain
