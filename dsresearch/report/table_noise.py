"""T3 the noise floors, T4 agreement picture by picture: what differences mean, beyond error rates."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis
from dsresearch.report.tables import Field, Table
from dsresearch.statistics import Interval, holm, t_interval
from dsresearch.statistics.verdict import NON_INFERIOR, greater_p
from dsresearch.studies import CONTROLS

NOT_KEPT = "no predictions"

NOISE = (
    Field("control", "control", "name"),
    Field("mean_abs_diff_pp", "E|d| observed", "pp"),
    Field("predicted_abs_diff_pp", "predicted", "pp"),
    Field("sd_run_pp", "SD of a run", "pp"),
    Field("discordance_pct", "discordance %", "pp"),
    Field("disagreement_pct", "disagreement %", "pp"),
    Field("n_bit_identical", "bit-identical", "count"),
    Field("n_trials", "of trials", "count"),
    Field("meaning", "what is changed"),
)
_MEANING = {
    "rerun": "nothing: trained anew in a fresh process",
    "bit": "one weight by one ulp",
    "exact": "the formulation, on the same weights",
    "seed": "initial weights and data order",
    "split": "the split: other training and test pictures",
}
_PREDICTED = {"rerun": "not a new run", "exact": "not a new run", "split": "other pictures"}  # where it does not hold


def noise_floor(analysis: Analysis) -> Table:
    """T3: how far two trainings of one network lie apart, by what differs between them."""
    study = analysis.study
    base = study.select("", "width")
    base = base[base["role"] == "baseline"]
    predicted: float | str = "no baseline"
    if len(base):
        error = float((base["test_wrong"] / base["n_test"]).mean())
        predicted = 100 * math.sqrt(error / study.n_test) * math.sqrt(2 / math.pi)
    rows = [_noise_row(analysis, kind, predicted) for kind in CONTROLS]
    caption = (
        f"{study.caption()} E|d| is A of the control. Predicted: sqrt(error / n_test) x 0.798, what two independent "
        "trainings give on the same pictures whose disagreement equals their error. SD of a run: that of d over "
        "sqrt 2. Discordance: share of the pictures that exactly one of control and baseline gets wrong; "
        "disagreement: on which they predict different classes; mean over trials."
    )
    return Table("noise_floor", "Noise floors", caption, NOISE, tuple(rows))


def _noise_row(analysis: Analysis, kind: str, predicted: float | str) -> dict[str, Any]:
    cell = analysis.control(kind)
    found = analysis.comparisons.get(cell) if cell else None
    row: dict[str, Any] = {"control": kind, "meaning": _MEANING[kind]}
    if cell is None or found is None:
        fixed = kind == "split" and not analysis.study.protocol.draws_split
        why = "no split is drawn" if fixed else "not run" if cell is None else "missing"
        return {**dict.fromkeys((field.key for field in NOISE), why), **row}
    return {
        **row,
        "mean_abs_diff_pp": found.a,
        "predicted_abs_diff_pp": _PREDICTED.get(kind, predicted),
        "sd_run_pp": "one trial" if found.trials == 1 else found.sd / math.sqrt(2),
        **_shares(analysis, cell),
        "n_bit_identical": int(analysis.pairs[cell]["bit_identical"].sum()),
        "n_trials": found.trials,
    }


def _shares(analysis: Analysis, cell: Cell) -> dict[str, Any]:
    """Mean discordance and disagreement in per cent, or why there are none."""
    names = ("discordance", "disagreement")
    rows = analysis.agreements.get(cell)
    if rows is None or not len(rows):
        why = "other pictures" if cell.control_kind == "split" and analysis.kept is not None else NOT_KEPT
        return {f"{name}_pct": why for name in names}
    return {f"{name}_pct": 100 * float(rows[name].mean()) for name in names}


# --- T4 ---------------------------------------------------------------------------------------------------------

SIMILARITY = (
    Field("setup", "setup", "name"),
    Field("match", "match", csv_only=True),
    Field("discordance_pct", "discordance %", "pp"),
    Field("excess_vs_seed_pct", "excess over seed", "signed"),
    Field("excess_ci95", "t 95 %", "signed", interval=True),
    Field("disagreement_pct", "disagreement %", "pp"),
    Field("kappa_error_consistency", "kappa", "pp"),
    Field("js_divergence_nats", "JS divergence", "small", csv_only=True),
    Field("cka_penultimate", "CKA", "pp", csv_only=True),
    Field("p_noninf", "p non-inferior", "small"),
    Field("p_larger_holm", "p larger, Holm", "small"),
    Field("n_trials", "trials", "count", full_only=True),
)


def similarity(analysis: Analysis) -> Table:
    """T4: do two formulations err on the same pictures? Each against the seed control of the same trial."""
    study = analysis.study
    excess = {name: rows["discordance_pct"] for name, rows in excess_rows(analysis).groupby("name", sort=False)}
    larger = _larger(analysis)
    cells = [cell for cell in analysis.pairs if cell.control_kind != "split"]
    rows = tuple(_similar(analysis, cell, excess, larger) for cell in cells)
    caption = (
        f"{study.caption()} Discordance: share of the pictures that exactly one of arm and baseline gets wrong; its "
        "excess over the seed control of the same trial with its t interval. Disagreement: share predicted "
        "differently. Kappa: error consistency (Geirhos et al. 2020), 0 where errors coincide by chance, 1 where on "
        f"the same pictures. p non-inferior: discordance below {NON_INFERIOR:g} times the seed control's; p larger: "
        "above the seed control's itself, Holm over the rivals; one-sided paired t tests. Softmax outputs and "
        "activations are not kept, so that no JS divergence and no CKA can be given."
    )
    return Table("similarity", "Agreement picture by picture", caption, SIMILARITY, rows)


def excess_rows(analysis: Analysis) -> pd.DataFrame:
    """Columns name, trial, discordance_pct: discordance with the baseline less the seed control's of the same trial."""
    rows = []
    for cell, both in analysis.beside_seed.items():
        if cell.control_kind in ("seed", "split"):
            continue
        less = 100 * (both["discordance"] - both["seed"])
        rows += [(cell.name, int(trial), float(value)) for trial, value in zip(both["trial"], less, strict=True)]
    return pd.DataFrame(rows, columns=["name", "trial", "discordance_pct"])


def _larger(analysis: Analysis) -> dict[Cell, float]:
    """Holm-adjusted p that a rival's discordance is larger than the seed control's."""
    rivals = [cell for cell in analysis.beside_seed if cell.role == "rival" and cell.match == "width"]
    rivals = [cell for cell in rivals if len(_less(analysis, cell, 1.0)) > 1]
    if not rivals:
        return {}
    adjusted = holm([greater_p(-_less(analysis, cell, 1.0)) for cell in rivals])
    return dict(zip(rivals, map(float, adjusted), strict=True))


def _less(analysis: Analysis, cell: Cell, factor: float) -> Any:
    """`factor` times the seed control's discordance less the cell's, by trial."""
    both = analysis.beside_seed[cell]
    return np.asarray(factor * both["seed"] - both["discordance"], dtype=np.float64)


def _similar(
    analysis: Analysis,
    cell: Cell,
    excess: Mapping[str, pd.Series],
    larger: dict[Cell, float],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        **dict.fromkeys((field.key for field in SIMILARITY), NOT_KEPT),
        "setup": cell.name,
        "match": cell.match,
        "js_divergence_nats": "softmax not kept",
        "cka_penultimate": "activations not kept",
    }
    found = analysis.agreements.get(cell)
    if found is None or not len(found):
        return row
    kappa = found["kappa"][np.isfinite(found["kappa"])]  # undefined in a trial where both are all right, or all wrong
    without = "reference" if analysis.beside_seed else "no seed control"
    row |= {
        **_shares(analysis, cell),
        "kappa_error_consistency": float(kappa.mean()) if len(kappa) else "undefined",
        "n_trials": len(found),
        "excess_vs_seed_pct": without,
        "excess_ci95": without,
        "p_noninf": without,
        "p_larger_holm": "not a rival",
    }
    mine = excess.get(cell.name)
    if mine is None:
        return row
    row["excess_vs_seed_pct"] = float(mine.mean())
    single = len(mine) < 2
    lo, hi = t_interval(mine, 0.95)
    row["excess_ci95"] = "one trial" if single else Interval(float(lo), float(hi))
    row["p_noninf"] = "one trial" if single else greater_p(_less(analysis, cell, NON_INFERIOR))
    return row | ({"p_larger_holm": larger[cell]} if cell in larger else {})
