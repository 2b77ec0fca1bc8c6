"""Table 4: the paper's Figure 4 trained anew, with both readings of its statistic and the controls it never had."""

import math
from typing import Any

from dsresearch.references.hybrid import DIFFERENCES
from dsresearch.report.cell import Cell, spans
from dsresearch.report.evidence import Analysis
from dsresearch.report.pairs import baseline_of, match_deviation, other_settings
from dsresearch.report.tables import Field, Table
from dsresearch.statistics import FEWEST_TO_RESAMPLE, Comparison, Interval, null_percentile
from dsresearch.studies import CONTROLS

PARTS = ("paper", "arm", "control", "reading", "exploratory", "params matched", "macs matched")  # in its order

FIELDS = (
    Field("part", "part"),
    Field("setup", "setup", "name"),
    Field("match", "match", csv_only=True),
    Field("params", "parameters", "count"),
    Field("match_deviation_pct", "deviation %", "signed", csv_only=True),
    Field("test_error_mean_pct", "error %", "pp"),
    Field("test_error_sd_pp", "SD", "pp"),
    Field("mean_diff_pp", "mean d", "signed"),
    Field("mean_diff_t95", "t 95 %", "signed", interval=True),
    Field("mean_diff_two_way95", "trials x pictures 95 %", "signed", interval=True, full_only=True),
    Field("sd_diff_pp", "SD d", "pp", full_only=True),
    Field("A_mean_abs_diff_pp", "A", "pp"),
    Field("A_ci95", "A 95 % BCa", "pp", interval=True, full_only=True),
    Field("A_over_floor", "A/floor", "pp"),
    Field("B_abs_mean_diff_pp", "B", "pp"),
    Field("B_pctl_of_null", "B pctl", "pp", full_only=True),
    Field("paper_abs_diff_pp", "paper", "pp"),
    Field("n_trials", "trials", "count", full_only=True),
    Field("note", "note"),
)
STATISTICS = (
    "mean_diff_pp",
    "mean_diff_t95",
    "mean_diff_two_way95",
    "sd_diff_pp",
    "A_mean_abs_diff_pp",
    "A_ci95",
    "A_over_floor",
    "B_abs_mean_diff_pp",
    "B_pctl_of_null",
)
ONE_TRIAL = ("A_ci95", "mean_diff_t95", "mean_diff_two_way95", "sd_diff_pp")  # what a single trial cannot give
RESAMPLED = ("A_ci95", "mean_diff_two_way95", "B_pctl_of_null")  # what a few trials give, and far too narrow
OF_FLOOR = ("A_over_floor", "B_pctl_of_null")  # what needs the seed control


def table4(analysis: Analysis) -> Table:
    """Rows of the paper in its order, then controls, readings and exploratory arms; a missing cell is named."""
    study = analysis.study
    told = [(study.repeats(cell), _row(analysis, cell)) for cell in study.cells if not cell.control_kind]
    told += [(False, _control_row(analysis, kind)) for kind in CONTROLS]
    told.sort(key=lambda one: PARTS.index(one[1]["part"]))  # within a part the order of the cells
    rows = [row for _, row in told]
    hybrid = bool(study.arms("candidate"))
    return Table(
        name="table4" if hybrid else "comparisons",
        title="Figure 4 of Ghosh (2017), trained anew" if hybrid else f"Arms of {study.about['study']}",
        caption=" ".join([study.caption(), _LEGEND, *_deviations(rows), *([_ONE_NETWORK] if study.namesakes else [])]),
        fields=FIELDS,
        rows=tuple(rows),
        full_caption=_FULL_LEGEND,
        repeated=frozenset(at for at, (repeats, _) in enumerate(told) if repeats),
    )


_LEGEND = (
    "d is a model's test error less that of the baseline of its trial, in percentage points; mean d is the estimand, "
    "with its paired t interval. A = mean of |d| and B = |mean of d| are the two readings of the paper's statistic, "
    "printed beside it; A/floor divides by A of the seed control (the baseline trained anew). Error after the last "
    "epoch, mean and standard deviation over trials."
)

_FULL_LEGEND = (
    "Trials x pictures 95 %: bootstrap interval of mean d that draws trials and test pictures anew (Owen 2007), a "
    "sensitivity beside the t interval, which speaks of the study's own test pictures; at ten trials a bootstrap is "
    f"too narrow in the part of the trials, and below {FEWEST_TO_RESAMPLE} none is given. "
    "A 95 % BCa: bootstrap interval of A, for display; B pctl: the percentile of B among the sign flips of the seed "
    "control."
)


_ONE_NETWORK = (
    "A network that is the nearest in parameters and in multiply-adds, or of the baseline's size already, is one row "
    "here; the files have it under each name."
)


def _deviations(rows: list[dict[str, Any]]) -> list[str]:
    """How far the matched arms miss what they match, as a sentence of the caption."""
    said = [
        f"{row['setup']} {row['match_deviation_pct']:+.1f} % ({row['match']})"
        for row in rows
        if row["match_deviation_pct"] and not isinstance(row["match_deviation_pct"], str)  # 0: of its size as it is
    ]
    return [f"Matched arms take the nearest feasible width, off the baseline by: {', '.join(said)}."] if said else []


def paper_value(cell: Cell) -> float | None:
    """What the paper prints for an arm; None for an arm that it does not have, whatever it started from."""
    own = cell.arm == cell.setup and cell.match == "width" and not cell.control_kind
    return DIFFERENCES.get(cell.setup) if own else None


def _part(cell: Cell, paper: float | None) -> str:
    if cell.control_kind:
        return "control"
    if cell.match != "width":
        return f"{cell.match} matched"
    return "paper" if paper is not None else cell.role if cell.role in ("reading", "exploratory") else "arm"


def _control_row(analysis: Analysis, kind: str) -> dict[str, Any]:
    cell = analysis.control(kind)
    if cell is not None:
        return _row(analysis, cell)
    fixed = kind == "split" and not analysis.study.protocol.draws_split
    why = f"the protocol draws no split ({analysis.study.protocol.split})" if fixed else "not part of this study"
    absent = {field.key: "not run" for field in FIELDS}
    said = {"match_deviation_pct": "not matched", "paper_abs_diff_pp": "none", "note": why}
    return {**absent, "part": "control", "setup": kind, "match": "width", **said}


def _row(analysis: Analysis, cell: Cell) -> dict[str, Any]:
    study = analysis.study
    errors, absent = study.errors(cell), study.absent_trials(cell)
    planned = cell in study.asked
    paper = paper_value(cell) if study.about["study"] == "hybrid" else None
    notes = []
    if absent and planned:
        which = "" if len(absent) == study.protocol.trials else f" trials {spans(absent)}"
        notes.append(f"missing{which}: run {study.command(cell)}")
    diverged = int((study.values(cell, "status") == "diverged").sum())
    if diverged:
        notes.append(f"{diverged} diverged")
    deviation = match_deviation(study, cell)
    if not isinstance(deviation, str):
        notes.append(f"{cell.match} {deviation:+.1f} % of the baseline's")
    base = baseline_of(study, cell)
    if cell.role == "exploratory" and cell.match == "width" and len(errors) and len(base):
        notes.append(other_settings(study.rows(cell).iloc[0], base.iloc[0]))
    row: dict[str, Any] = {
        "part": _part(cell, paper),
        "setup": cell.control_kind or cell.arm,
        "match": cell.match,
        "params": int(study.values(cell, "params")[0]) if len(errors) else "missing",
        "match_deviation_pct": deviation,
        "paper_abs_diff_pp": "none" if paper is None else paper,
        "test_error_mean_pct": float(errors.mean()) if len(errors) else "missing",
        "test_error_sd_pp": float(errors.std(ddof=1)) if len(errors) > 1 else "one trial" if len(errors) else "missing",
        "n_trials": len(errors),
    }
    if cell.role == "baseline" and not cell.control_kind:
        return {**row, **dict.fromkeys(STATISTICS, "reference"), "note": "; ".join(["baseline", *notes])}
    statistics, said = _statistics(analysis, cell)
    return {**row, **statistics, "note": "; ".join(filter(None, [*said, *notes]))}


def _statistics(analysis: Analysis, cell: Cell) -> tuple[dict[str, Any], list[str]]:
    """The columns of differences and what has to be said beside them."""
    found = analysis.comparisons.get(cell)
    if found is None:
        has_rows = len(analysis.study.places(cell)) > 0
        if not has_rows:
            return dict.fromkeys(STATISTICS, "missing"), []
        return dict.fromkeys(STATISTICS, "no baseline"), ["`dsresearch compare DIR --baseline ARM` has one"]
    values = {
        "A_mean_abs_diff_pp": found.a,
        "A_ci95": found.a_bca95,
        "B_abs_mean_diff_pp": found.b,
        "mean_diff_pp": found.mean,
        "mean_diff_t95": found.t95,
        "mean_diff_two_way95": _two_way(analysis, cell),
        "sd_diff_pp": found.sd,
        **_against_floor(analysis, found),
    }
    pairs = analysis.pairs[cell]
    identical = int(pairs["bit_identical"].sum())
    if identical == len(pairs):
        return {**values, **dict.fromkeys((*ONE_TRIAL, *OF_FLOOR), "bit-identical")}, ["bit-identical"]
    said = [f"bit-identical in {identical} of {len(pairs)}"] if identical else []
    if cell.control_kind == "split":
        said.append("other pictures")
    if elsewhere := analysis.elsewhere(cell):
        said.append(f"another {', '.join(elsewhere)} than the baseline's")
    if cell.control_kind == "rerun" and analysis.rerun_differs:
        said.append("NOT bit-identical: the study is INVALID")
    if found.trials < len(analysis.study.places(cell)):
        said.append(f"{found.trials} pairs")
    if found.trials == 1:
        return {**values, **dict.fromkeys((*RESAMPLED, *ONE_TRIAL), "one trial")}, said
    if found.trials < FEWEST_TO_RESAMPLE:
        values |= dict.fromkeys(RESAMPLED, "too few trials")
    if found.sd == 0.0:
        said.append("no variance")
    return values, said


def _two_way(analysis: Analysis, cell: Cell) -> Interval | str:
    """The interval over trials and pictures, or why there is none."""
    if analysis.kept is not None and cell.control_kind == "split":
        return "other pictures"
    return analysis.two_way.get(cell, "no predictions" if analysis.kept is None else "predictions missing")


def _against_floor(analysis: Analysis, found: Comparison) -> dict[str, Any]:
    """A over the floor, and the percentile of B in its sign-flip null; both from the seed control."""
    seed = analysis.d(analysis.control("seed"))
    if not len(seed):
        return dict.fromkeys(OF_FLOOR, "no seed control")
    floor = float(abs(seed).mean())
    ratio = found.a / floor if floor else math.inf
    percentile = float(null_percentile(seed, found.b))
    return {"A_over_floor": ratio if floor else "floor is 0", "B_pctl_of_null": percentile}


def beside_values(analysis: Analysis) -> dict[tuple[str, str], dict[str, float]]:
    """Mean error, A, B and mean difference of every cell that has them, by name and match."""
    out: dict[tuple[str, str], dict[str, float]] = {}
    for cell in analysis.study.cells:
        errors = analysis.study.errors(cell)
        if not len(errors):
            continue
        values: dict[str, float] = {"error": float(errors.mean())}
        found = analysis.comparisons.get(cell)
        if found is not None:
            values |= {"A": found.a, "B": found.b, "mean": found.mean}
        out[cell.control_kind or cell.arm, cell.match] = values
    return out
