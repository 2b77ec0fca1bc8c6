"""T13 where twins part: two formulations on the same weights, one weight an ulp away, another seed."""

from typing import Any

import numpy as np
import pandas as pd

from dsresearch.report.evidence import Analysis
from dsresearch.report.tables import Field, Table
from dsresearch.schema import read_divergence

PARTING = (
    Field("twin", "twin", "name"),
    Field("starts", "starts"),
    Field("first_apart", "first apart at step", "count"),
    Field("steps_to_1e6", "to 1e-6", "count"),
    Field("steps_to_1e3", "to 1e-3", "count"),
    Field("steps_to_1e1", "to 0.1", "count"),
    Field("doubling_steps", "steps to double", "pp"),
    Field("last_distance", "at the last step", "small"),
    Field("discordance_pct", "pictures judged apart, %", "pp"),
    Field("why", "why"),
)
_GROWTH = (1e-7, 1e-2)  # where a distance is neither the first rounding nor as large as the weights
_STARTS = {"bit": "one weight, one ulp away", "exact": "same weights, other formulation", "seed": "elsewhere"}


def parting(analysis: Analysis) -> Table | None:
    """T13: the steps at which each twin's weights lie so far from the baseline's; None but in a study of twins."""
    study = analysis.study
    path = study.folder / "divergence.csv"
    if study.about["study"] != "twins" or not path.exists():
        return None
    rows = read_divergence(path)
    caption = (
        f"{study.caption()} Relative distance of a twin's weights from the baseline's of the same trial, median over "
        "the trials of divergence.csv; the step is the first compared one at which it is reached. Steps to double: "
        f"the slope of its logarithm between {_GROWTH[0]:g} and {_GROWTH[1]:g}, over the "
        "compared steps that lie there. Pictures judged apart: share of the test pictures that exactly one of the two "
        "gets wrong, mean over all trials."
    )
    told = tuple(_row(analysis, str(kind), of) for kind, of in rows.groupby("control_kind", sort=False))
    return Table("parting", "Where twins part", caption, PARTING, told)


def _row(analysis: Analysis, kind: str, of: pd.DataFrame) -> dict[str, Any]:
    distance = median_distance(of)
    cell = analysis.control(kind)
    kept = analysis.agreements.get(cell) if cell is not None else None
    never = not (distance > 0).any()
    return {
        "twin": kind,
        "starts": _STARTS.get(kind, "not told"),
        "first_apart": first_beyond(distance, 0.0),
        "steps_to_1e6": first_beyond(distance, 1e-6),
        "steps_to_1e3": first_beyond(distance, 1e-3),
        "steps_to_1e1": first_beyond(distance, 1e-1),
        "doubling_steps": _doubling(distance),
        "last_distance": float(distance.iloc[-1]),
        "discordance_pct": "no predictions" if kept is None else float(100 * kept["discordance"].mean()),
        "why": "never: the compiled arithmetic is the same to the bit" if never else _why(kind, distance),
    }


def median_distance(of: pd.DataFrame) -> pd.Series:
    """A twin's relative distance by step, the median over the trials."""
    return of.groupby("step")["relative_distance"].median()


def first_beyond(distance: pd.Series, above: float) -> int | str:
    """The first compared step at which the distance is larger; `never` where it is not."""
    reached = distance.index[distance > above]
    return int(reached[0]) if len(reached) else "never"


def _doubling(distance: pd.Series) -> float | str:
    """Steps in which the distance doubles while it grows from rounding to the size of the weights."""
    grows = distance[(distance > _GROWTH[0]) & (distance < _GROWTH[1])]
    if len(grows) < 2:
        return "too few steps there" if len(distance) and distance.iloc[-1] > distance.iloc[0] else "no growth"
    slope = float(np.polyfit(grows.index.to_numpy(dtype=float), np.log2(grows.to_numpy(dtype=float)), 1)[0])
    return 1 / slope if slope > 0 else "no growth"


def _why(kind: str, distance: pd.Series) -> str:
    if distance.iloc[0] > _GROWTH[1]:
        return "other weights from the start"
    return "rounding, amplified step by step" if kind == "bit" else "other order of sums, amplified step by step"
