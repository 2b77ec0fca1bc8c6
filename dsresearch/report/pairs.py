"""Pairs: a model and the baseline of the same trial, on the same pictures, in the same execution mode.

Common random numbers make the pair (one split, data order and augmentation a trial). Where the environment of the two
models differs it is said; where the execution mode differs the study is invalid; where the split differs there is no
pair at all.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from dsresearch.design import InputError, Recipe
from dsresearch.report.cell import Cell, one_line, spans
from dsresearch.report.study import Study
from dsresearch.schema import ENVIRONMENT

MODE = ("exec_mode", "trial_batch")
DIFFERENCES = (*ENVIRONMENT, "dtype")  # what is said of a pair; the dtype is the recipe's
SETTINGS = (  # in which an arm of a grid may differ from the baseline, as columns of trials.csv
    "width", "depth", "kernel", "epochs", "batch_size", "optimizer", "lr", "momentum", "wd", "schedule", "warmup",
    "fall", "every", "smoothing", "polyak", "augment", "dtype",
)  # fmt: skip
RESULT = ("test_wrong", "train_wrong", "test_nll", "train_loss")
_HASHES = ("split_sha256", "params_sha256", "predictions_sha256")
_READ = ["trial", "n_test", *RESULT, *MODE, *DIFFERENCES, *_HASHES]  # columns of trials.csv


EQUAL_SIZE = 10  # per cent by which a width may miss a size and still be taken as equal to it


def match_deviation(study: Study, cell: Cell) -> float | str:
    """How far a matched arm is from the baseline in what is matched, per cent; or why there is no such number."""
    column = {"params": "params", "macs": "macs_fwd"}.get(cell.match)
    if column is None:
        return "not matched"
    own, base = study.values(cell, column), baseline_of(study, cell)[column]
    if not len(own) or not len(base):
        return "missing" if not len(own) else "no baseline"
    return float(100 * (own[0] / base.iloc[0] - 1))


def baseline_of(study: Study, cell: Cell) -> pd.DataFrame:
    """The rows that a cell's rows are paired with, by trial.

    `rerun` goes with the baseline trained anew on its machine where that exists. What is matched is the baseline's own
    size, so that under every match the baseline is the one model.
    """
    rows = study.baselines[cell.match]
    if cell.control_kind == "rerun":
        anew = study.select("rerun_baseline", cell.match)
        rows = pd.concat([anew, rows[~rows["trial"].isin(anew["trial"])]]).sort_values("trial")
    return rows


def other_settings(own: pd.Series, base: pd.Series, names: Sequence[str] = SETTINGS) -> str:
    """In which settings two rows of trials.csv differ, in words; '' where in none.

    What is empty, in rows from before a setting was there, was trained as its default says.
    """
    said = []
    for name in names:
        ours, theirs = (getattr(Recipe, name, None) if pd.isna(row[name]) else row[name] for row in (own, base))
        if ours != theirs:
            said.append(f"{name} {one_line(ours)}, the baseline's {one_line(theirs)}")
    return f"other settings: {'; '.join(said)}" if said else ""


def pairs(study: Study, cells: Iterable[Cell]) -> dict[Cell, pd.DataFrame]:
    """One row a pair of every cell: trial, d in percentage points, and what the pair shares.

    Bit-identical means equal results and predictions; equal weights where both have the same ones, as `rerun` must.
    Another formulation keeps its weights in another tree, so that their hashes differ where its arithmetic does not.

    Columns: trial, d_pp, bit_identical, rerun_differs (names of what differs), mixed (execution mode), environment
    (names of what differs). Raises InputError where two rows of one trial stand on different splits.
    """
    alike: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.control_kind, cell.match), []).append(cell)
    return {cell: rows for group in alike.values() for cell, rows in _pairs(study, group).items()}


def _pairs(study: Study, cells: list[Cell]) -> dict[Cell, pd.DataFrame]:
    """The pairs of cells that have one baseline: all at once, because a join of each of ten thousand takes a minute."""
    places = [study.places(cell) for cell in cells]
    rows = study.by_trial.iloc[np.concatenate(places)][_READ]
    rows = rows.assign(cell=np.repeat(np.arange(len(cells)), [len(of) for of in places]))
    both = rows.merge(baseline_of(study, cells[0])[_READ], on="trial", suffixes=("", "_ref"))
    kind = cells[0].control_kind
    if kind != "split":
        _refuse_other_split(study, cells, both)
    same = {name: _equal(both, name) for name in (*RESULT, *MODE, *DIFFERENCES)}
    weights, predictions = _same_hash(both, "params_sha256"), _same_hash(both, "predictions_sha256")
    results = np.logical_and.reduce([same[name] for name in RESULT])
    identical = results & (weights & predictions if kind == "rerun" else weights | predictions)
    differs = {"the weights": weights, "the predictions": predictions, **{name: same[name] for name in RESULT}}
    found = pd.DataFrame(
        {
            "trial": both["trial"],
            "d_pp": 100 * (both["test_wrong"] - both["test_wrong_ref"]) / both["n_test"],
            "bit_identical": identical,
            "rerun_differs": _named(differs, len(both)),
            "mixed": _named({name: same[name] for name in MODE}, len(both)),
            "environment": _named({name: same[name] for name in DIFFERENCES}, len(both)),
        }
    )
    of_cell = dict(list(found.groupby(both["cell"].to_numpy())))
    return {cell: of_cell.get(at, found.iloc[:0]).reset_index(drop=True) for at, cell in enumerate(cells)}


def _refuse_other_split(study: Study, cells: Sequence[Cell], both: pd.DataFrame) -> None:
    known = (both["split_sha256"] != "") & (both["split_sha256_ref"] != "")
    other = both[known & (both["split_sha256"] != both["split_sha256_ref"])]
    if len(other):
        at = other["cell"].iloc[0]
        other = other[other["cell"] == at]
        raise InputError(
            f"{study.folder / 'trials.csv'}: column split_sha256: {one_line(cells[at].name)} stands on other pictures "
            f"than the baseline in trials {spans(list(other['trial']))}, allowed: the baseline's split"
        )


def _equal(both: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    one, two = both[name], both[f"{name}_ref"]
    return np.asarray((one == two) | (one.isna() & two.isna()), dtype=bool)


def _same_hash(both: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    return np.asarray(_equal(both, name) & np.asarray(both[name] != ""), dtype=bool)


def _named(same: dict[str, npt.NDArray[np.bool_]], rows: int) -> list[str]:
    return [", ".join(name for name, equal in same.items() if not equal[row]) for row in range(rows)]
