"""Any two arms of any studies by the statistics of the report, for notebooks and for `dsresearch compare`.

    from dsresearch.compare import against, compare, pairs, read

    rows = read("results/hybrid-digits-quick")      # a tidy DataFrame: one row a trained model
    compare(rows, "hybrid", "separable").mean       # all statistics of one arm against another
    pairs(rows, "hybrid", "separable")              # the paired trials that they come from
    against(rows, "separable")                      # one row an arm

An arm's key is its name in the tables (`resnext`; `seed` for a control; `resnext@params` where it is matched), behind
its folder's name and a slash where several folders have that arm. Two models are a pair where they are the same trial:
the same pictures in the same split, under one protocol, in one execution mode and environment. What is no pair is
refused, in one line that says why. jax is never imported.
"""

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dsresearch.design import InputError, one_of
from dsresearch.report.cell import one_line, spans
from dsresearch.report.pairs import MODE, RESULT, SETTINGS, other_settings
from dsresearch.report.study import Study, read_study
from dsresearch.report.tables import Field, Table, to_csv, to_latex, to_markdown
from dsresearch.schema import ENVIRONMENT, write_atomic
from dsresearch.statistics import FEWEST_TO_RESAMPLE, Comparison, Interval, holm
from dsresearch.statistics import compare as statistics_of

# What two models must share to be a pair, in the order in which it is asked, as columns of `read`.
SHARED: Mapping[str, tuple[str, ...]] = {
    "other pictures": ("data_sha256", "n_train", "n_test"),
    "other split": ("split_protocol", "split_sha256"),
    "other execution mode": MODE,
    "other protocol": ("protocol_seed", "margin_pp", "alpha"),
    # The dtype belongs to the recipe, which may differ between two arms, and is said.
    "other environment": ENVIRONMENT,
}
FACTORS = ("groups", "order", "residual", "activation", "normalise", "multiplier")  # told of arms of one setup


def read(*folders: Path | str) -> pd.DataFrame:
    """The trained models of some studies, a row under each name: a matched arm may be the arm at its own width.

    Columns: those of trials.csv, and before them `folder` (its name), `key`, `error_pct` (test error), `protocol_seed`,
    `margin_pp` and `alpha` as decided beforehand. Failed runs have no result and are left out. Raises InputError for a
    folder that is no study's, or none at all.
    """
    if not folders:
        raise InputError("DIR is missing: at least one study's folder")
    return _rows(_studies(folders))


def pairs(rows: pd.DataFrame, key: str, baseline: str) -> pd.DataFrame:
    """The paired trials of two arms: trial, error_pct, baseline_error_pct, d_pp (their difference), bit_identical.

    Raises InputError for an unknown key, and where the trials are no pairs.
    """
    both, reason = _paired(_arm(rows, "key", key), _arm(rows, "baseline", baseline))
    if reason:
        raise InputError(f"{key!r} cannot be paired with baseline={baseline!r}: {reason}")
    return both[["trial", "error_pct", "baseline_error_pct", "d_pp", "bit_identical"]]


def compare(rows: pd.DataFrame, key: str, baseline: str, *, margin: float | None = None) -> Comparison:
    """All statistics of one arm against another, as the report computes them; percentage points.

    `margin` is the equivalence margin, by default the one that the study's protocol fixed beforehand. Raises InputError
    for an unknown key, and where the trials are no pairs.
    """
    of = _arm(rows, "baseline", baseline).iloc[0]
    return _compared(pairs(rows, key, baseline), of, margin)


def against(rows: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Every arm against one, a row each; an arm that cannot be paired has no numbers and its `note` says why.

    Two families of the sign-flip test are corrected by Holm. `p_holm`: all arms here, those with the same predictions
    once, whatever their names; one with the baseline's own is tested against nothing. `p_holm_rivals`: the rivals of a
    study under one match alone, which is the family of the verdict; NaN for others.
    """
    base = _arm(rows, "baseline", baseline)
    own = tuple(base[["folder", "key"]].iloc[0])
    arms = {names: arm for names, arm in rows.groupby(["folder", "key"], sort=False) if names != own}
    several = rows["folder"].nunique() > 1
    table = pd.DataFrame([_record(arm, base, several=several) for arm in arms.values()])
    if not len(table):
        return table
    models = pd.Series([_models(names, arm) for names, arm in arms.items()], table.index)
    family = [tuple(arm[["folder", "match", "role"]].iloc[0]) for arm in arms.values()]
    tested = (table["pairs"] > 0) & (table["bit_identical"] < table["pairs"])
    table["p_holm"] = _adjusted(table["p_sign_flip"], models, tested)
    table.loc[(table["pairs"] > 0) & ~tested, "p_holm"] = 1.0  # the baseline's own predictions
    for of in {one for one in family if one[2] == "rival"}:
        rivals = tested & pd.Series([one == of for one in family], table.index)
        table.loc[rivals, "p_holm_rivals"] = _adjusted(table["p_sign_flip"], models, rivals)[rivals]
    paired, alpha = table["pairs"] > 0, base["alpha"].iloc[0]
    table.loc[paired, "relation"] = [_relation(row, alpha) for _, row in table[paired].iterrows()]
    return table


def _adjusted(p: pd.Series, models: pd.Series, tested: pd.Series) -> pd.Series:
    """Holm's adjusted p of the tested rows, each of the models once; NaN for the others."""
    once = dict(zip(models[tested], p[tested].astype(float), strict=True))
    adjusted = dict(zip(once, holm(list(once.values())), strict=True)) if once else {}
    return models.where(tested).map(adjusted).astype(float)


def _models(names: Hashable, arm: pd.DataFrame) -> Hashable:
    """A key equal for two names of the same predictions in the same trials, so that Holm counts them once."""
    kept = frozenset(zip(arm["trial"], arm["predictions_sha256"], strict=True))
    return names if "" in set(arm["predictions_sha256"]) else kept


def main(folders: list[Path], baseline: str, to: Path | None = None) -> int:
    """Print every arm of the studies against one; with `to`, write it as tables/compare.{csv,md,tex} there.

    Raises InputError for an unknown baseline, and for a folder none of whose arms can be paired with it.
    """
    studies = _studies(folders)
    rows = _rows(studies)
    found = against(rows, baseline)
    own = _arm(rows, "baseline", baseline)["folder"].iloc[0]
    for name in studies:
        of = found[found["folder"] == name] if len(found) else found
        if len(of) and not (of["pairs"] > 0).any():
            raise InputError(f"DIR={name!r} cannot be compared with baseline={baseline!r}: {of['note'].iloc[0]}")
    if not len(found):
        raise InputError(f"DIR={own!r} has no other arm than baseline={baseline!r}, allowed: two arms or more")
    table = _table(studies, found, _arm(rows, "baseline", baseline))
    if to is not None:
        texts = {"csv": to_csv(table), "md": to_markdown(table).encode(), "tex": to_latex(table).encode()}
        for kind, data in texts.items():
            write_atomic(Path(to) / "tables" / f"compare.{kind}", data)
    print(to_markdown(table), end="")
    return 0


# --- arms and their names ---------------------------------------------------------------------------------------


def _studies(folders: tuple[Path | str, ...] | list[Path]) -> dict[str, Study]:
    """Studies by the name of their folder, or by its path where two have one name."""
    paths = list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders))
    names = [path.name for path in paths]
    named = {path.name if names.count(path.name) == 1 else str(path): path for path in paths}
    return {name: read_study(path) for name, path in named.items()}


def _rows(studies: Mapping[str, Study]) -> pd.DataFrame:
    frames = []
    for name, study in studies.items():
        rows = study.trials
        named = {
            "folder": name,
            "key": [key_of(*of) for of in zip(rows["arm"], rows["control_kind"], rows["match"], strict=True)],
            "error_pct": 100 * rows["test_wrong"] / rows["n_test"],
            "protocol_seed": study.protocol.seed,
            "margin_pp": study.protocol.margin,
            "alpha": study.protocol.alpha,
        }
        frames.append(pd.concat([pd.DataFrame(named, index=rows.index), rows], axis=1))
    return pd.concat(frames, ignore_index=True)


def key_of(arm: str, control: str, match: str) -> str:
    """The name of an arm or control: the control's where it is one, with what is matched behind it."""
    return (control or arm) + ("" if match == "width" else f"@{match}")


def _arm(rows: pd.DataFrame, argument: str, key: str) -> pd.DataFrame:
    """The rows of one arm, by trial. Raises InputError where no arm, or more than one, has that key."""
    full = rows["folder"] + "/" + rows["key"]
    found = rows[(rows["key"] == key) | (full == key)]
    if not len(found):
        one_of(argument, key, list(dict.fromkeys([*rows["key"], *(full if rows["folder"].nunique() > 1 else [])])))
    if found["folder"].nunique() > 1:
        names = ", ".join(f"{name}/{key}" for name in dict.fromkeys(found["folder"]))
        raise InputError(f"{argument}={key!r} stands in several studies, allowed: {names}")
    return found.sort_values("trial")


# --- pairs ------------------------------------------------------------------------------------------------------


def _paired(arm: pd.DataFrame, base: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The trials of two arms side by side, and why they are no pairs; '' where they are."""
    both = arm.merge(base, on="trial", suffixes=("", "_base"))
    if not len(both):
        return both, "no trial in common"
    for what, columns in SHARED.items():
        for name in columns:
            other = both[~_same(both, name)]
            if len(other):
                ours, theirs = other[name].iloc[0], other[f"{name}_base"].iloc[0]
                values = "" if name.endswith("sha256") else f" {one_line(ours)!r}, the baseline's {one_line(theirs)!r}"
                return both, f"{what} in trials {spans(list(other['trial']))} ({name}{values})"
    results = np.logical_and.reduce([_same(both, name) for name in RESULT])
    hashed = [_same(both, name) & (both[name] != "") for name in ("params_sha256", "predictions_sha256")]
    new = {
        "baseline_error_pct": both["error_pct_base"],
        "d_pp": 100 * (both["test_wrong"] - both["test_wrong_base"]) / both["n_test"],
        "bit_identical": np.asarray(results & (hashed[0] | hashed[1]), dtype=bool),
    }
    return pd.concat([both, pd.DataFrame(new)], axis=1), ""


def _same(both: pd.DataFrame, name: str) -> Any:
    one, two = both[name], both[f"{name}_base"]
    return (one == two).fillna(False) | (one.isna() & two.isna())


def _compared(both: pd.DataFrame, of: pd.Series, margin: float | None = None) -> Comparison:
    return statistics_of(
        both["d_pp"].to_numpy(dtype=float),
        margin=float(of["margin_pp"]) if margin is None else margin,
        alpha=float(of["alpha"]),
        n_test=int(of["n_test"]),
        n_train=int(of["n_train"]),
    )


# --- the table --------------------------------------------------------------------------------------------------

_NUMBERS = ("a", "b", "mean", "sd", "equivalence_margin", "p_tost", "p_sign_flip", "p_nadeau_bengio")
_INTERVALS = ("a_bca95", "t95", "t_tost")


def _record(arm: pd.DataFrame, base: pd.DataFrame, several: bool) -> dict[str, Any]:
    """What is to be said of one arm against the baseline."""
    both, reason = _paired(arm, base)
    folder, key = arm["folder"].iloc[0], arm["key"].iloc[0]
    record: dict[str, Any] = {"folder": folder, "key": key, "arm": f"{folder}/{key}" if several else key}
    record |= {"pairs": 0 if reason else len(both), "error_mean_pct": float(arm["error_pct"].mean())}
    if reason:
        empty = [*_NUMBERS, *(f"{name}_{end}" for name in _INTERVALS for end in ("lo", "hi"))]
        empty += ["p_holm", "p_holm_rivals"]
        return record | dict.fromkeys(empty, np.nan) | {"relation": "no pairs", "bit_identical": 0, "note": reason}
    found = _compared(both, base.iloc[0])
    record |= {name: getattr(found, name) for name in _NUMBERS}
    for name in _INTERVALS:
        interval = getattr(found, name)
        record |= {f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}
    same = int(both["bit_identical"].sum())
    return record | {
        "p_holm": np.nan,
        "p_holm_rivals": np.nan,
        "relation": "",
        "bit_identical": same,
        "note": _note(arm, base, both),
    }


def _note(arm: pd.DataFrame, base: pd.DataFrame, both: pd.DataFrame) -> str:
    """What the numbers alone do not say: settings that differ, trials without a partner, equal bits, divergence."""
    factors = FACTORS if _same(both, "setup").all() else ()
    same, alone = int(both["bit_identical"].sum()), sorted(set(arm["trial"]) ^ set(base["trial"]))
    said = [f"bit-identical in {same} of {len(both)}"] if same else []
    said += ["no variance"] if len(both) > 1 and not np.ptp(both["d_pp"]) and same < len(both) else []
    said += [f"no pair in trials {spans(alone)}"] if alone else []
    for of, status in (("", "status"), (" of the baseline's", "status_base")):
        said += [f"{n}{of} diverged" for n in [int((both[status] == "diverged").sum())] if n]
    return "; ".join(filter(None, [*said, other_settings(arm.iloc[0], base.iloc[0], (*SETTINGS, *factors))]))


def _relation(row: pd.Series, alpha: float) -> str:
    """One word: what the tests at alpha say of an arm, the difference corrected for all arms of the table."""
    if row["bit_identical"] == row["pairs"]:
        return "bit-identical"
    if row["pairs"] > 1 and row["sd"] == 0.0:
        return "undecided"  # no test can be made of differences without variance
    differs, near = row["p_holm"] < alpha, row["p_tost"] < alpha
    return {(True, True): "different, within the margin", (True, False): "different", (False, True): "equivalent"}.get(
        (bool(differs), bool(near)), "undecided"
    )


_FIELDS = (
    Field("arm", "arm", "name"),
    Field("pairs", "pairs", "count"),
    Field("error_mean_pct", "error %", "pp"),
    Field("a", "A", "pp"),
    Field("a_bca95", "A 95 % BCa", "pp", interval=True),
    Field("b", "B", "pp"),
    Field("mean", "mean d", "signed"),
    Field("t95", "t 95 %", "signed", interval=True),
    Field("t_tost", "t for TOST", "signed", interval=True),
    Field("sd", "SD d", "pp"),
    Field("equivalence_margin", "smallest margin", "pp"),
    Field("p_tost", "p TOST"),
    Field("p_sign_flip", "p sign-flip"),
    Field("p_holm", "p Holm, all"),
    Field("p_holm_rivals", "p Holm, rivals"),
    Field("relation", "relation"),
    Field("note", "note"),
)


def _table(studies: Mapping[str, Study], found: pd.DataFrame, base: pd.DataFrame) -> Table:
    name = base["key"].iloc[0] if len(studies) == 1 else "/".join(base[["folder", "key"]].iloc[0])
    captions = " ".join((f"{of}: " if len(studies) > 1 else "") + study.caption() for of, study in studies.items())
    legend = (
        "d is a model's test error less the baseline's of the same trial, in percentage points; A = mean of |d|, B = "
        "|mean of d|; smallest margin: at which TOST would pass; p Holm of the sign-flip test: for all arms of this "
        "table with predictions of their own, and for the rivals of a study under one match alone, the family of its "
        "verdict; relation: equivalent where TOST passes at the study's margin, different where p Holm for all is "
        "below its alpha; whether one arm is farther from the baseline than another, the report's table of the verdict "
        "says."
    )
    rows = tuple(_cells(row) for row in found.to_dict("records"))
    return Table("compare", f"Every arm against {name}", f"{captions} {legend}", _FIELDS, rows)


def _cells(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as cells of the table: words where there is no number."""
    paired, alone = record["pairs"] > 0, record["pairs"] == 1
    cells: dict[str, Any] = {field.key: record.get(field.key) for field in _FIELDS}
    for name in _INTERVALS:
        bounds = Interval(record[f"{name}_lo"], record[f"{name}_hi"])
        cells[name] = bounds if paired and not alone else "one trial" if alone else "no pairs"
    if 1 < record["pairs"] < FEWEST_TO_RESAMPLE:
        cells["a_bca95"] = "too few trials"
    for name in ("p_tost", "p_sign_flip", "p_holm"):
        cells[name] = f"{record[name]:.4f}" if paired else "no pairs"
    rivals = record["p_holm_rivals"]
    cells["p_holm_rivals"] = f"{rivals:.4f}" if np.isfinite(rivals) else "no rival" if paired else "no pairs"
    for name in ("a", "b", "mean", "sd", "equivalence_margin"):
        if not np.isfinite(record[name]):
            cells[name] = "one trial" if alone else "no pairs"
    return cells
