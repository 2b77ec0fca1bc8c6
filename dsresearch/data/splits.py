"""Which pictures train and which test: one trial's split, a function of the protocol and the trial's split key."""

import numpy as np

from dsresearch.data.store import Pictures
from dsresearch.design import InputError, Protocol
from dsresearch.references.hybrid import TESTED


def split(pictures: Pictures, protocol: Protocol, split_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test indices of a trial, disjoint: int32, ascending, into `pictures.images`.

    Every draw is class-balanced: each class has its share of the pictures drawn from, rounded by largest remainder.
    The caps draw from keys of their own, so that capping the training pictures leaves the test pictures as they are.

    Raises:
        InputError: the set has no test pictures of its own, or too few pictures for the split or for a cap.
    """
    train, test = _PARTS[protocol.split](pictures, protocol, split_seed)
    train = _capped(pictures, train, "train_pictures", protocol.train_pictures, np.random.default_rng([split_seed, 1]))
    test = _capped(pictures, test, "test_pictures", protocol.test_pictures, np.random.default_rng([split_seed, 2]))
    for which, part in (("train", train), ("test", test)):
        if len(part) < len(pictures.classes):
            raise InputError(
                f"protocol.split={protocol.split!r} leaves {len(part)} {which} pictures of data={pictures.name!r}, "
                f"fewer than its {len(pictures.classes)} classes, allowed: at least one a class"
            )
    return train, test


def _stratified(pictures: Pictures, protocol: Protocol, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return _hold_out(pictures, "protocol.test_pictures", protocol.test_pictures, seed)


def _pool(pictures: Pictures, protocol: Protocol, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return _hold_out(pictures, f"protocol.split={protocol.split!r} with held-out pictures", TESTED, seed)


def _hold_out(pictures: Pictures, argument: str, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n, classes = len(pictures.labels), len(pictures.classes)
    if not classes <= size <= n - classes:
        raise InputError(
            f"{argument}={size} is not allowed: data={pictures.name!r} has {n} pictures in {classes} classes, "
            f"allowed: {classes} to {n - classes}"
        )
    everything = np.arange(n, dtype=np.int32)
    test = _draw(pictures.labels, everything, size, np.random.default_rng(seed))
    return np.setdiff1d(everything, test, assume_unique=True), test


def _standard(pictures: Pictures, protocol: Protocol, seed: int) -> tuple[np.ndarray, np.ndarray]:
    everything = np.arange(len(pictures.labels), dtype=np.int32)
    if pictures.n_train == len(everything):
        raise InputError(
            f"protocol.split={protocol.split!r} is not allowed: data={pictures.name!r} has no test pictures of its "
            f"own, allowed: stratified, pool60k_hold6k"
        )
    return everything[: pictures.n_train], everything[pictures.n_train :]


def _own_test_part(pictures: Pictures, protocol: Protocol, seed: int) -> tuple[np.ndarray, np.ndarray]:
    train, test = _standard(pictures, protocol, seed)
    if len(test) < TESTED:
        raise InputError(
            f"protocol.split={protocol.split!r} is not allowed: it draws {TESTED} test pictures, "
            f"data={pictures.name!r} has {len(test)} of its own"
        )
    return train, _draw(pictures.labels, test, TESTED, np.random.default_rng(seed))


_PARTS = {
    "stratified": _stratified,
    "standard": _standard,
    "pool60k_hold6k": _pool,
    "test10k_sub6k": _own_test_part,
}


def _capped(pictures: Pictures, part: np.ndarray, field: str, size: int, rng: np.random.Generator) -> np.ndarray:
    if size == 0 or size == len(part):
        return part
    if size > len(part):
        raise InputError(
            f"protocol.{field}={size} is not allowed: data={pictures.name!r} has {len(part)} for this split, "
            f"allowed: 0 (all) to {len(part)}"
        )
    return _draw(pictures.labels, part, size, rng)


def _draw(labels: np.ndarray, pool: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` indices of `pool`, every class in proportion, ascending."""
    of_pool = labels[pool]
    counts = np.bincount(of_pool)
    taken = [rng.permutation(pool[of_pool == category])[:quota] for category, quota in enumerate(_quotas(counts, size))]
    return np.sort(np.concatenate(taken)).astype(np.int32)


def _quotas(counts: np.ndarray, size: int) -> np.ndarray:
    """Whole numbers near size * counts / sum(counts) that add up to size (largest remainder, ties to the first)."""
    total = int(counts.sum())
    quotas, remainders = size * counts // total, size * counts % total
    missing = size - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return quotas
