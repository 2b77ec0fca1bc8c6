"""The arms of a study as points of the design space: which two differ in one factor alone, and where G stands."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsresearch.design import ORDERS, STAGES
from dsresearch.report.cell import Cell
from dsresearch.report.evidence import Analysis, is_baseline
from dsresearch.report.study import Study
from dsresearch.statistics import Comparison, compare

FACTORS = ("order", "residual", "activation", "kernel", "depth")  # each is varied with all else as it is

# The spectrum by other names: a group a channel, with the 1x1 last or first.
_ENDS = {"separable": "spatial_first", "bsconv_u": "pointwise_first"}
ACTIVATIONS = ("none", "relu", "elu", "batchnorm, relu", "batchnorm, elu")


@dataclass(frozen=True)
class Point:
    """Where an arm stands; a factor that is being varied is None.

    Attributes:
        family: `spectrum` for every group count with a 1x1 beside it, else the setup.
        groups: G, at the separable end the channels of the last stage; 0 where a setup has none.
        width: channels of the first stage; 0 where parameters or multiply-adds are matched, which decide it.
        activation: between the operations, with the BatchNorm before it where there is one.
    """

    family: str
    groups: int
    match: str
    width: int
    order: str | None
    residual: bool | None
    activation: str | None
    kernel: int | None
    depth: int | None

    @property
    def words(self) -> str:
        """What is said of it beside the factor that is varied."""
        known = {
            "order": None if self.order in (None, ORDERS[0]) else "1x1 first",
            "residual": "residual" if self.residual else None,
            "activation": None if self.activation in (None, "none") else self.activation,
            "kernel": None if self.kernel in (None, 3) else f"{self.kernel}x{self.kernel}",
            "depth": None if self.depth is None else f"depth {self.depth}",
        }
        end = self.groups == self.width * 2 ** (STAGES - 1)
        groups = f"G = {self.groups}"
        place = [self.family, *([groups] if self.groups else [])]
        if self.family == "spectrum":
            place = ["separable" if end else groups]
        return ", ".join([*place, *(word for word in known.values() if word)])


def points(study: Study) -> dict[Cell, Point]:
    """The arms that have rows and a design of their own, in the order of the table."""
    cells = [cell for cell in study.cells if not cell.control_kind and len(study.places(cell))]
    rows = {cell: {name: study.values(cell, name)[0] for name in _OF_POINT} for cell in cells}
    return {cell: _point(cell, row) for cell, row in rows.items() if not pd.isna(row["width"])}


_OF_POINT = ("width", "groups", "order", "residual", "normalise", "activation", "kernel", "depth")  # of trials.csv


def _point(cell: Cell, row: Mapping[str, Any]) -> Point:
    width = int(row["width"])
    spectrum = cell.setup == "grouped" or cell.setup in _ENDS
    end = width * 2 ** (STAGES - 1)
    return Point(
        family="spectrum" if spectrum else cell.setup,
        groups=end if cell.setup in _ENDS else 0 if pd.isna(row["groups"]) else int(row["groups"]),
        match=cell.match,
        width=width if cell.match == "width" else 0,
        order=_ENDS.get(cell.setup, str(row["order"])) if spectrum else ORDERS[0],
        residual=bool(row["residual"]),
        activation=f"{'batchnorm, ' if row['normalise'] else ''}{row['activation']}",
        kernel=int(row["kernel"]),
        depth=int(row["depth"]),
    )


# --- one factor at a time ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contrast:
    """Two arms that differ in one factor: what the change does, by trial, in percentage points of test error.

    Attributes:
        factor: what is changed.
        at: where, the factor itself None.
        values: what it is changed to, and from.
        arms: the two arms in that order.
        d: error of the first less that of the second, by trial.
        interaction: d less that of the same change at the separable end of the spectrum; None at the end itself.
    """

    factor: str
    at: Point
    values: tuple[str, str]
    arms: tuple[Cell, Cell]
    d: pd.Series
    interaction: pd.Series | None = None


def contrasts(study: Study) -> list[Contrast]:
    """Every two arms at their own widths that differ in one factor alone, the less usual value first."""
    found = list(_pairs(study))
    at_end = {(c.factor, c.values, dataclasses.replace(c.at, groups=0)): c for c in found if _is_end(c)}
    out = []
    for contrast in found:
        end = at_end.get((contrast.factor, contrast.values, dataclasses.replace(contrast.at, groups=0)))
        if end is not None and end is not contrast:
            both = pd.concat([contrast.d, end.d], axis=1, join="inner")
            contrast = dataclasses.replace(contrast, interaction=both.iloc[:, 0] - both.iloc[:, 1])
        out.append(contrast)
    return out


def _is_end(contrast: Contrast) -> bool:
    return contrast.at.family == "spectrum" and all(cell.setup in _ENDS for cell in contrast.arms)


def _pairs(study: Study) -> Iterator[Contrast]:
    where = {cell: point for cell, point in points(study).items() if cell.match == "width"}
    of = {cell: errors(study, cell) for cell in where}
    for factor in FACTORS:
        alike = defaultdict(list)
        for cell, point in where.items():
            alike[dataclasses.replace(point, **dict[str, Any]({factor: None}))].append(cell)
        for at, cells in sorted(alike.items(), key=lambda group: (group[0].family, group[0].width, group[0].groups)):
            ordered = sorted(cells, key=lambda cell: _rank(getattr(where[cell], factor)))
            for less, more in itertools.combinations(ordered, 2):
                values = (_said(factor, where[more]), _said(factor, where[less]))
                yield Contrast(factor, at, values, (more, less), less_than(of[more], of[less]))


def _rank(value: Any) -> int:
    """Place of a factor's value: the plain one first."""
    for known in (ORDERS, ACTIVATIONS):
        if value in known:
            return known.index(value)
    return int(value)


def _said(factor: str, point: Point) -> str:
    value = getattr(point, factor)
    if factor == "order":
        return "spatial first" if value == ORDERS[0] else "1x1 first"
    if factor == "residual":
        return "with" if value else "without"
    return f"{value}x{value}" if factor == "kernel" else str(value)


def errors(study: Study, cell: Cell) -> pd.Series:
    """Test error by trial, per cent."""
    return pd.Series(study.errors(cell), index=pd.Index(study.values(cell, "trial"), name="trial"))


def difference(study: Study, one: Cell, two: Cell) -> pd.Series:
    """Error of one arm less that of another in the trials that both have, percentage points."""
    return less_than(errors(study, one), errors(study, two))


def less_than(one: pd.Series, two: pd.Series) -> pd.Series:
    """The first less the second in the trials that both have."""
    trials = one.index.intersection(two.index)
    return one[trials] - two[trials]


def compared(study: Study, d: pd.Series) -> Comparison | None:
    """The statistics of differences by trial; None where there are none."""
    if not len(d):
        return None
    protocol = study.protocol
    return compare(
        np.asarray(d, dtype=np.float64),
        margin=protocol.margin, alpha=protocol.alpha, n_test=study.n_test, n_train=study.n_train,
    )  # fmt: skip


# --- the spine --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """Arms that differ in the group count alone, from the fewest groups to the separable end.

    Attributes:
        name: what is held equal along it, and what else it is.
        arms: G -> arm; the last one is the separable end, which is the study's baseline where a size is matched.
    """

    name: str
    at: Point
    arms: Mapping[int, Cell]

    @property
    def end(self) -> Cell:
        return self.arms[max(self.arms)]


def series(analysis: Analysis) -> list[Series]:
    """Every series of three and more group counts with its separable end, the plain one at equal width first."""
    where = points(analysis.study)
    found: dict[Point, dict[int, Cell]] = defaultdict(dict)
    for cell, point in where.items():
        if point.family == "spectrum":
            found[dataclasses.replace(point, groups=0)][point.groups] = cell
    baseline = next((cell for cell in where if is_baseline(cell)), None)
    out = []
    for at, arms in found.items():
        if at.match != "width" and baseline is not None:
            arms = {**arms, where[baseline].groups: baseline}
        if len(arms) >= 4 and arms[max(arms)].setup in _ENDS:
            out.append(Series(_series_name(at), at, dict(sorted(arms.items()))))
    return out


def _series_name(at: Point) -> str:
    equal = {"width": f"width {at.width}", "params": "nearest parameters", "macs": "nearest multiply-adds"}[at.match]
    changed = [at.activation or ""] if at.activation != "none" else []
    changed += ["1x1 first"] if at.order != ORDERS[0] else []
    changed += ["residual"] if at.residual else []
    return ", ".join([equal, *changed])
