"""T5 which formulations are one function, T6 what they cost, T10 what is the same to the bit."""

from typing import Any

import pandas as pd

from dsresearch.report.cell import Cell, one_line
from dsresearch.report.evidence import Analysis
from dsresearch.report.pairs import match_deviation
from dsresearch.report.study import Study
from dsresearch.report.table_twins import first_beyond, median_distance
from dsresearch.report.tables import Field, Table
from dsresearch.schema import EXACT, INVARIANCES, determinism_rows, read_divergence

EXACTNESS = (
    Field("pair", "pair", "name"),
    Field("class", "class"),
    Field("transported", "transported"),
    Field("max_rel_out_f64", "outputs, float64", "small"),
    Field("max_rel_grad_f64", "gradients, float64", "small"),
    Field("max_rel_out_f32", "outputs, float32", "small"),
    Field("steps_until_divergence", "steps to 1e-3", "count"),
    Field("params_equal", "same parameters"),
    Field("verdict", "verdict"),
    Field("how", "how it was shown", full_only=True),
)


def exactness(analysis: Analysis) -> Table:
    """T5: every pair that the study's exactness test compared, by weight transport in float64."""
    study = analysis.study
    caption = (
        f"{study.caption()} exact: same function with as many parameters; reparam: same class of functions under a "
        "linear map; distinct: neither. Largest relative difference after weight transport; exact asks for at most "
        f"{EXACT:g} in float64. A distinct pair has no map, so that there is no difference to give. Steps to 1e-3: "
        "optimiser steps until the weights of the transported twin lie a thousandth apart (divergence.csv)."
    )
    title = "Which formulations are one function"
    if study.exactness is None:
        absent = {**dict.fromkeys((f.key for f in EXACTNESS), "not run"), "pair": "all pairs"}
        return Table("exactness", title, caption, EXACTNESS, (absent,), ("The study keeps no exactness.json.",))
    order = {cell.setup: at for at, cell in enumerate(study.cells)}
    pairs = sorted(
        study.exactness["pairs"], key=lambda p: (order.get(str(p.get("b")), 99), str(p.get("a")), str(p.get("b")))
    )
    rows = tuple(_exact_row(study, pair) for pair in pairs)
    return Table("exactness", title, caption, EXACTNESS, rows)


def _word(value: Any, yes: str, no: str) -> str:
    """One of two words for a flag; whatever else a file may hold is unknown."""
    return yes if value is True else no if value is False else "unknown"


def _exact_row(study: Study, pair: Any) -> dict[str, Any]:
    found, mapped = str(pair.get("class", "")), pair.get("class") in ("exact", "reparam")
    steps: int | str = "no map" if not mapped else "not run"
    if pair.get("same_bits"):
        steps = "never: same bits"
    elif mapped and pair.get("b") == "separable_strict":
        steps = _steps_apart(study)
    row: dict[str, Any] = {
        "pair": f"{one_line(pair.get('a'))} = {one_line(pair.get('b'))}" if mapped else
        f"{one_line(pair.get('a'))} / {one_line(pair.get('b'))}",
        "class": found or "unknown",
        "transported": "yes" if mapped else "no map",
        "steps_until_divergence": steps,
        "params_equal": _word(pair.get("params_equal"), "yes", "no"),
        "verdict": _word(pair.get("passed"), "holds", "FAILS"),
        "how": ", ".join(filter(None, (one_line(pair.get(key) or "") for key in ("method", "detail")))) or "not told",
    }  # fmt: skip
    for key in ("max_rel_out_f64", "max_rel_grad_f64", "max_rel_out_f32"):
        value = pair.get(key)
        row[key] = float(value) if isinstance(value, (int, float)) else "no map" if not mapped else "not measured"
    return row


def _steps_apart(study: Study) -> int | str:
    """The step of T13 at which `exact` lies 1e-3 from the baseline."""
    path = study.folder / "divergence.csv"
    if not path.exists():
        return "not run"
    rows = read_divergence(path)
    return first_beyond(median_distance(rows[rows["control_kind"] == "exact"]), 1e-3)


# --- T6 ---------------------------------------------------------------------------------------------------------

COST = (
    Field("setup", "setup", "name"),
    Field("match", "match"),
    Field("width", "width", "count"),
    Field("params", "parameters", "count"),
    Field("macs_fwd", "multiply-adds", "count"),
    Field("deviation_pct", "deviation %", "signed"),
    Field("train_s_per_epoch", "s an epoch", "pp"),
    Field("images_per_s", "images/s", "count"),
    Field("peak_mem_mib", "peak MiB", "count"),
    Field("test_error_mean_pct", "error %", "pp"),
    Field("test_error_sd_pp", "SD", "pp"),
)


def cost(analysis: Analysis) -> Table:
    """T6: parameters, multiply-adds, speed and memory of every arm, beside its error."""
    study = analysis.study
    rows = tuple(_cost_row(analysis, cell) for cell in study.cells if not cell.control_kind)
    caption = (
        f"{study.caption()} Multiply-adds of one forward pass of one picture. Deviation: how far a matched arm is off "
        "the baseline in what is matched. Seconds an epoch and images a second of the training itself, compilation "
        "left out, peak memory of the process: as runs.csv has them, other work on the machine included."
    )
    return Table("cost", "What the formulations cost", caption, COST, rows)


_SIZES = ("width", "params", "macs_fwd", "steps", "epochs", "batch_size")  # columns of trials.csv


def _cost_row(analysis: Analysis, cell: Cell) -> dict[str, Any]:
    study, percent = analysis.study, analysis.study.errors(cell)
    row: dict[str, Any] = {"setup": cell.arm, "match": cell.match}
    if not len(percent):
        return {**dict.fromkeys((field.key for field in COST), "missing"), **row}
    first = {name: study.values(cell, name)[0] for name in _SIZES}
    run = study.last_run(cell)
    speed = None if run is None or pd.isna(run["images_per_s"]) else float(run["images_per_s"])
    images = first["steps"] / first["epochs"] * first["batch_size"]
    memory = None if run is None or pd.isna(run["peak_mem_mib"]) else float(run["peak_mem_mib"])
    return {
        **row,
        "width": "not told" if pd.isna(first["width"]) else int(first["width"]),
        "params": int(first["params"]),
        "macs_fwd": int(first["macs_fwd"]),
        "deviation_pct": match_deviation(analysis.study, cell),
        "train_s_per_epoch": images / speed if speed else "not recorded",
        "images_per_s": round(speed) if speed else "not recorded",
        "peak_mem_mib": round(memory) if memory else "not recorded",
        "test_error_mean_pct": float(percent.mean()),
        "test_error_sd_pp": float(percent.std(ddof=1)) if len(percent) > 1 else "one trial",
    }


# --- T10 --------------------------------------------------------------------------------------------------------

DETERMINISM = (
    Field("invariance", "what is varied"),
    Field("promise", "promise"),
    Field("passed", "result"),
    Field("sha256", "sha256", "name"),
    Field("device", "device"),
    Field("source", "shown by"),
)
# What is promised of each invariance of the training; determinism.csv of the study's folder fills them.
PROMISES = {
    **dict.fromkeys(INVARIANCES, "bit for bit"),
    "trials in one program": "another execution mode, never within a pair",
    "exact formulation, float64": f"at most {EXACT:g}",
}


def determinism(analysis: Analysis) -> Table:
    """T10: what stays the same to the bit. The study shows two rows itself; `determinism.csv` fills the others.

    That file has the columns of `schema.DETERMINISM_COLUMNS`.
    """
    study = analysis.study
    given = {row["invariance"]: row for row in _read_determinism(study)}
    rows = []
    for name, promise in PROMISES.items():
        row = {"invariance": name, "promise": promise}
        shown = given.get(name) or _own_row(analysis, name)
        row |= shown or {"passed": "not run", "sha256": "not run", "device": "not run", "source": "no determinism.csv"}
        rows.append(row)
    caption = (
        f"{study.caption()} Bitwise promises hold for one model of processor, one set of versions, flags and "
        "threads. The hash is that of the final weights of trial 0. The test suite (`make test`) checks resuming, "
        "killing and workers on small studies besides."
    )
    return Table("determinism", "What is the same to the bit", caption, DETERMINISM, tuple(rows))


def _own_row(analysis: Analysis, name: str) -> dict[str, str] | None:
    study = analysis.study
    device = one_line(", ".join(sorted(set(study.rows_read["device_kind"]))))
    if name == "rerun in a fresh process":
        cell = analysis.control("rerun")
        pairs = analysis.pairs.get(cell) if cell else None
        if cell is None or pairs is None or not len(pairs):
            return None
        same = int(pairs["bit_identical"].sum())
        said = "pass" if same == len(pairs) else f"FAIL in {len(pairs) - same} of {len(pairs)} trials"
        sha = study.rows(cell)["params_sha256"].iloc[0][:12] or "not kept"
        return {"passed": said, "sha256": sha, "device": device, "source": f"control rerun, {len(pairs)} trials"}
    if name.startswith("exact") and study.exactness is not None:
        exact = [pair for pair in study.exactness["pairs"] if pair.get("class") == "exact"]
        if exact:
            said = "FAIL" if analysis.exactness_fails else "pass"
            return {
                "passed": said,
                "sha256": "no weights",
                "device": device,
                "source": f"exactness.json, {len(exact)} pairs",
            }
    return None


def _read_determinism(study: Study) -> list[dict[str, str]]:
    path = study.folder / "determinism.csv"
    if not path.exists():
        return []
    return [
        {
            "invariance": row["invariance"],
            "passed": "pass" if row["passed"] else "FAIL",
            "sha256": row["sha256"][:12] or "not kept",
            "device": one_line(row["device"]) or "not told",
            "source": "determinism.csv",
        }
        for row in determinism_rows(path)
    ]
