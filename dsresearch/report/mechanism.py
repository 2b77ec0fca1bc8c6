"""Evidence beyond the error rate: on which pictures two models of a trial err, from predictions.parquet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dsresearch.design import InputError
from dsresearch.report.cell import Cell
from dsresearch.report.pairs import baseline_of
from dsresearch.report.study import Study
from dsresearch.statistics import agreement

Key = tuple[str, str, str, int]  # arm, control_kind, match, trial


@dataclass(frozen=True)
class Kept:
    """The predictions of one model, in the order of the pictures.

    Attributes:
        pictures: index and label of every test picture, shape (n, 2).
        pred: predicted class, shape (n,).
    """

    pictures: npt.NDArray[np.integer]
    pred: npt.NDArray[np.integer]

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Which pictures the model gets wrong, shape (n,)."""
        return np.asarray(self.pred != self.pictures[:, 1])


def kept_predictions(study: Study) -> Mapping[Key, Kept] | None:
    """Predictions of every model, or None where the study keeps none.

    Raises InputError where a model's wrong predictions are not as many as trials.csv says.
    """
    frame = study.parquet("predictions")
    if frame is None:
        return None
    counts = study.trials.set_index(["arm", "control_kind", "match", "trial"])["test_wrong"].to_dict()
    names = ["arm", "control_kind", "match", "trial"]
    model = frame.groupby(names, observed=True, sort=True).ngroup().to_numpy()
    order = np.lexsort((frame["image_id"], model))
    starts = np.flatnonzero(np.diff(model[order], prepend=-1))
    pictures, pred = frame[["image_id", "label"]].to_numpy()[order], frame["pred"].to_numpy()[order]
    keys = frame.iloc[order[starts]][names].itertuples(index=False, name=None)
    out: dict[Key, Kept] = {}
    for key, start, end in zip(keys, starts, [*starts[1:], len(order)], strict=True):
        kept = Kept(pictures[start:end], pred[start:end])
        wrong = int(kept.wrong.sum())
        if key in counts and wrong != counts[key]:
            raise InputError(
                f"{study.folder / 'predictions.parquet'}: {_name(key)} trial {key[3]}: {wrong} wrong, "
                f"allowed: {counts[key]} as in trials.csv"
            )
        out[key] = kept
    return out


def agreements(study: Study, cell: Cell, trials: list[int], kept: Mapping[Key, Kept]) -> npt.NDArray[Any]:
    """Fields trial, discordance, disagreement, kappa (shares, not percent) of a cell and its baseline, a row a trial.

    A trial of which one of the two models kept no predictions has no row. The control `split` stands on other pictures,
    so that nothing is compared. Raises InputError where the pictures of another pair are not the same.
    """
    rows = [
        (trial, *agreement(one.pred, two.pred, one.pictures[:, 1]))
        for trial, one, two in _both(study, cell, trials, kept)
    ]
    shares = [(name, np.float64) for name in ("discordance", "disagreement", "kappa")]
    return np.array(rows, dtype=[("trial", np.int64), *shares])


def differences(study: Study, cell: Cell, trials: list[int], kept: Mapping[Key, Kept]) -> npt.NDArray[np.float64]:
    """d of a cell picture by picture, percentage points, shape (trials that both have kept, pictures of any of them).

    100 where only the cell errs, -100 where only its baseline does, NaN where the trial's test set has not the picture.
    The mean of a row is d_t. Raises InputError where the pictures of a pair are not the same.
    """
    found = list(_both(study, cell, trials, kept))
    if not found:
        return np.zeros((0, 0))
    pictures = np.unique(np.concatenate([one.pictures[:, 0] for _, one, _ in found]))
    out = np.full((len(found), len(pictures)), np.nan)
    for row, (_, one, two) in zip(out, found, strict=True):
        row[np.searchsorted(pictures, one.pictures[:, 0])] = 100.0 * one.wrong - 100.0 * two.wrong
    return out


def _both(study: Study, cell: Cell, trials: list[int], kept: Mapping[Key, Kept]) -> Iterator[tuple[int, Kept, Kept]]:
    """Trial, and the predictions of a cell and of its baseline, where both are kept and stand on the same pictures."""
    if cell.control_kind == "split":
        return
    base = baseline_of(study, cell)
    names = dict(zip(base["trial"], zip(base["arm"], base["control_kind"], base["match"], strict=True), strict=True))
    for trial in trials:
        one = kept.get((cell.arm, cell.control_kind, cell.match, trial))
        two = kept.get((*names[trial], trial))
        if one is None or two is None:
            continue
        if not np.array_equal(one.pictures, two.pictures):
            raise InputError(
                f"{study.folder / 'predictions.parquet'}: {cell.name} trial {trial}: other pictures than the "
                "baseline's, allowed: one test set a trial"
            )
        yield trial, one, two


def discordance_between(one: Cell, two: Cell, trials: int, kept: Mapping[Key, Kept]) -> float:
    """Mean share of the pictures that exactly one of two cells gets wrong, over the trials that both have; else NaN."""
    shares = []
    for trial in range(trials):
        a, b = (kept.get((cell.arm, cell.control_kind, cell.match, trial)) for cell in (one, two))
        if a is not None and b is not None and np.array_equal(a.pictures, b.pictures):
            shares.append(float(np.mean(a.wrong != b.wrong)))
    return float(np.mean(shares)) if shares else float("nan")


def _name(key: Key) -> str:
    return f"control {key[1]}" if key[1] else key[0]
