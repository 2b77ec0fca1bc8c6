"""Two studies side by side: the table just trained beside a committed one, and which rows differ."""

import pandas as pd

from dsresearch.report.evidence import Analysis, is_baseline
from dsresearch.report.study import EXPERIMENT, Study
from dsresearch.report.table4 import beside_values
from dsresearch.report.tables import Field, Table, to_markdown

_SHOWN = {"error": "error %", "A": "A", "B": "B", "mean": "mean d"}


def beside(here: Analysis, there: Analysis) -> str:
    """Mean test error, A, B and mean difference of both studies as one Markdown table, and a line that counts."""
    mine, theirs = beside_values(here), beside_values(there)
    fields = [Field("setup", "setup", "name")]
    for key, head in _SHOWN.items():
        style = "signed" if key == "mean" else "pp"
        fields += [Field(f"{key} here", f"{head} here", style), Field(f"{key} there", f"{head} there", style)]
    fields.append(Field("same", "same"))
    rows, differing = [], []
    for name in dict.fromkeys([*mine, *theirs]):
        row: dict[str, object] = {"setup": name[0] if name[1] == "width" else f"{name[0]} ({name[1]} matched)"}
        for key in _SHOWN:
            row[f"{key} here"] = mine.get(name, {}).get(key, _why(here, name))
            row[f"{key} there"] = theirs.get(name, {}).get(key, _why(there, name))
        row["same"] = _agreement(_models(here.study, name), _models(there.study, name))
        differing += [] if row["same"] == "same" else [str(row["setup"])]
        rows.append(row)
    caption = _caption(here.study, there.study)
    table = Table("beside", f"{here.study.study_id} beside {there.study.study_id}", caption, tuple(fields), tuple(rows))
    if differing:
        said = f"{len(differing)} of {len(rows)} rows differ from the other study: {', '.join(differing)}"
    else:
        said = f"all {len(rows)} rows are the same to the bit, model by model"
    return f"{to_markdown(table)}\n{said}\n"


def _caption(here: Study, there: Study) -> str:
    """What both are, and in what they differ: of another experiment, other numbers are no surprise."""
    mine, theirs = here.facts(), there.facts()
    differ = [f"{name} ({mine[name]} here, {theirs[name]} there)" for name in mine if mine[name] != theirs[name]]
    if not differ:
        return f"Both: {here.caption()}"
    of_experiment = [name for name in EXPERIMENT if mine[name] != theirs[name]]
    warning = " These are two experiments: rows that differ say nothing against either." if of_experiment else ""
    return f"They differ in: {'; '.join(differ)}.{warning} There: {there.caption()}"


def _why(analysis: Analysis, name: tuple[str, str]) -> str:
    """Why a row has no value."""
    named = (cell for cell in analysis.study.cells if (cell.control_kind or cell.arm, cell.match) == name)
    cell = next((cell for cell in named if len(analysis.study.errors(cell))), None)
    return "missing" if cell is None else "reference" if is_baseline(cell) else "no pair"


def _models(study: Study, name: tuple[str, str]) -> pd.DataFrame:
    """Wrong test pictures and the hash of the predictions, by trial."""
    rows = study.trials[study.trials["match"] == name[1]]
    rows = rows[(rows["control_kind"] == name[0]) | ((rows["control_kind"] == "") & (rows["arm"] == name[0]))]
    return rows.set_index("trial").sort_index()[["test_wrong", "predictions_sha256"]]


def _agreement(mine: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """`same` to the bit; `equal errors` where every model errs on as many pictures and not on the same ones."""
    if mine["test_wrong"].to_dict() != theirs["test_wrong"].to_dict():
        return "differs"
    return "same" if mine["predictions_sha256"].equals(theirs["predictions_sha256"]) else "equal errors"
