"""From a study's rows to its verdicts: gathers what the rule asks for, one verdict for each reading of the hybrid."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dsresearch.design import InputError
from dsresearch.report.pairs import baseline_of, pairs
from dsresearch.report.study import Cell, Study, one_line, spans
from dsresearch.statistics import (
    RULE_VERSION,
    Comparison,
    Evidence,
    Verdict,
    agreement,
    chances,
    compare,
    judge,
)
from dsresearch.statistics.paired import Floats
from dsresearch.statistics.power import planned
from dsresearch.statistics.verdict import GATED_CONTROLS

RIVALS = ("inception", "resnext", "inception_reformulated")  # the paper's Figure 4
REQUIRED_CONTROLS = ("rerun", "bit", "exact", "seed")
EXACT = 1e-10  # largest relative difference in float64 of outputs and gradients


class Analysis:
    """The pairs, comparisons and verdicts of one study, each computed once."""

    def __init__(self, study: Study) -> None:
        self.study = study

    @functools.cached_property
    def pairs(self) -> dict[Cell, pd.DataFrame]:
        """Pairs of every cell but the baselines."""
        return {
            cell: pairs(self.study, cell) for cell in self.study.cells if cell.control_kind or not _is_baseline(cell)
        }

    @functools.cached_property
    def comparisons(self) -> dict[Cell, Comparison]:
        """Statistics of every cell that has a pair."""
        study = self.study
        return {
            cell: compare(
                rows["d_pp"].to_numpy(),
                margin=study.protocol.margin,
                alpha=study.protocol.alpha,
                n_test=study.n_test,
                n_train=study.n_train,
            )
            for cell, rows in self.pairs.items()
            if len(rows)
        }

    def control(self, kind: str) -> Cell | None:
        """The cell of a control, where the study has it."""
        found = [cell for cell in self.study.cells if cell.control_kind == kind and cell.match == "width"]
        return found[0] if found else None

    def d(self, cell: Cell | None) -> Floats:
        """d_t of a cell by trial, percentage points; empty where there is no pair."""
        if cell is None or cell not in self.pairs:
            return np.zeros(0)
        return np.asarray(self.pairs[cell]["d_pp"], dtype=np.float64)

    @functools.cached_property
    def rerun_differs(self) -> tuple[str, ...]:
        """Trials whose rerun is not the baseline to the bit."""
        cell = self.control("rerun")
        rows = self.pairs[cell] if cell else pd.DataFrame({"rerun_differs": [], "trial": []})
        return tuple(
            f"control rerun is not bit-identical: {what} differ in trials {spans(list(of['trial']))}"
            for what, of in rows.groupby("rerun_differs", sort=True)
            if what
        )

    @functools.cached_property
    def mixed_modes(self) -> tuple[str, ...]:
        """Cells with pairs across execution modes."""
        return tuple(
            f"{cell.name}: mixed {what} within the pairs of trials {spans(list(of['trial']))}"
            for cell, rows in self.pairs.items()
            for what, of in rows.groupby("mixed", sort=True)
            if what
        )

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Pairs whose two models ran in different environments: allowed, and said."""
        return tuple(
            f"{cell.name}: {what} differ within the pairs of trials {spans(list(of['trial']))}"
            for cell, rows in self.pairs.items()
            for what, of in rows.groupby("environment", sort=True)
            if what
        )

    def class_of(self, arm: str) -> str:
        """`exact`, `reparam` or `distinct` against the baseline, as measured; empty where it was not."""
        cells = {cell.arm: cell for cell in self.study.cells if not cell.control_kind and cell.match == "width"}
        base = [cell for cell in cells.values() if _is_baseline(cell)]
        if self.study.exactness is not None and base and arm in cells:
            pair = _pair(self.study.exactness, base[0], cells[arm])
            return str(pair.get("class", "")) if pair else ""
        rows = self.study.select("", "width", arm)
        return str(rows["eq_class"].iloc[0]) if len(rows) else ""

    @functools.cached_property
    def exactness_fails(self) -> tuple[str, ...]:
        """What the exactness test of this study holds against it."""
        if self.study.exactness is None:
            return ()
        out = []
        for pair in self.study.exactness["pairs"]:
            name = f"exactness of {one_line(pair.get('a'))} and {one_line(pair.get('b'))}"
            if pair.get("passed") is False:
                out.append(f"{name}: failed")
            worst = max((float(v) for k, v in pair.items() if _is_measure(k, v)), default=0.0)
            if pair.get("class") == "exact" and not worst <= EXACT:
                out.append(f"{name}: relative difference {worst:.1e} in float64, more than {EXACT:g}")
        cell = self.control("exact")
        base = [c for c in self.study.cells if _is_baseline(c)]
        if cell and base:
            pair = _pair(self.study.exactness, base[0], cell)
            if pair is None or pair.get("class") != "exact":
                found = "not tested" if pair is None else f"class {one_line(pair.get('class'))}"
                out.append(f"exactness of {base[0].setup} and {cell.setup}: {found}, not exact")
        return tuple(out)

    @functools.cached_property
    def discordance(self) -> Mapping[str, Floats] | None:
        """Share of pictures that exactly one of arm and baseline gets wrong, by arm and for `seed`, a value a trial."""
        frame = self.study.parquet("predictions")
        if frame is None:
            return None
        kept = {key: rows.sort_values("image_id") for key, rows in frame.groupby(["arm", "control_kind", "trial"])}
        cells = [c for c in self.pairs if c.match == "width" and c.control_kind in ("", "seed")]
        out = {}
        for cell in cells:
            base = baseline_of(self.study, cell)
            names = {int(trial): arm for trial, arm in zip(base["trial"], base["arm"], strict=True)}
            shares = []
            for trial in self.pairs[cell]["trial"]:
                one, two = kept.get((cell.arm, cell.control_kind, trial)), kept.get((names[trial], "", trial))
                if one is not None and two is not None:
                    shares.append(_discordance(self.study, cell, one, two))
            out[cell.control_kind or cell.arm] = np.array(shares)
        return out

    def readings(self) -> list[str]:
        """The arms on which a verdict is formed: the hybrid and its other readings."""
        return [*self.study.arms("candidate"), *self.study.arms("reading")]

    def verdict(self, reading: str) -> Verdict:
        """The verdict on one reading; an empty name where the study has none."""
        matched = {
            match: judge(self._evidence(reading, match, {})).word
            for match in ("params", "macs")
            if reading and reading in (cell.arm for cell in self.study.cells if cell.match == match)
        }
        return judge(self._evidence(reading, "width", matched))

    def _evidence(self, reading: str, match: str, matched: Mapping[str, str]) -> Evidence:
        study = self.study
        arms = {c.arm: c for c in study.cells if c.match == match and not c.control_kind}
        rivals = tuple(study.arms("rival", match))
        names = (reading, *rivals) if reading else ()
        missing = [*study.missing]
        if reading:
            present = {cell.setup for cell in arms.values() if cell.role == "rival"}
            missing += [f"rival {name} is not part of this study" for name in RIVALS if name not in present]
            missing += [f"control {k} is not part of this study" for k in REQUIRED_CONTROLS if not self.control(k)]
        return Evidence(
            candidate=reading,
            candidate_class=self.class_of(reading),
            differences={name: self.d(arms.get(name)) for name in names},
            rivals=rivals,
            controls={kind: self.d(self.control(kind)) for kind in GATED_CONTROLS},
            rerun_differs=self.rerun_differs,
            mixed_modes=self.mixed_modes,
            exactness_fails=self.exactness_fails,
            exactness_tested=study.exactness is not None,
            missing=tuple(missing),
            trials=study.protocol.trials,
            n_test=study.n_test,
            margin=study.protocol.margin,
            alpha=study.protocol.alpha,
            profile=str(study.about["profile"]),
            matched=matched,
            discordance=self.discordance,
        )

    @functools.cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """A verdict for every reading; one without a name where the study has no hybrid."""
        return {reading: self.verdict(reading) for reading in self.readings() or [""]}

    @functools.cached_property
    def planned(self) -> dict[str, Any]:
        """What the design could show, computed from its size alone."""
        protocol, n_test = self.study.protocol, self.study.n_test
        return {
            **planned(protocol.trials, n_test, protocol.margin, protocol.alpha),
            "chances_if_equal": _chances(protocol.trials, n_test, protocol.margin, protocol.alpha),
        }

    def record(self) -> dict[str, Any]:
        """The content of verdict.json."""
        study = self.study
        return {
            "rule_version": RULE_VERSION,
            "study_id": study.study_id,
            "profile": study.about["profile"],
            "dataset": study.dataset,
            "trials": study.protocol.trials,
            "n_test": study.n_test,
            "margin_pp": study.protocol.margin,
            "alpha": study.protocol.alpha,
            "commits": list(study.commits),
            "inputs_sha256": study.inputs(),
            "verdict": next(iter(self.verdicts.values())).word,
            "readings": {name: self._reading(name, found) for name, found in self.verdicts.items() if name},
            "reasons": list(next(iter(self.verdicts.values())).reasons),
            "gates": dict(next(iter(self.verdicts.values())).gates),
            "comparisons": [
                {**dataclasses.asdict(cell), **dataclasses.asdict(found)} for cell, found in self.comparisons.items()
            ],
            "missing": list(study.missing),
            "notes": list(self.notes),
            "planned": self.planned,
        }

    def _reading(self, name: str, found: Verdict) -> dict[str, Any]:
        return {
            "verdict": found.word,
            "class": self.class_of(name),
            "reasons": list(found.reasons),
            "qualifiers": dict(found.qualifiers),
            "gates": dict(found.gates),
        }


_chances = functools.cache(chances)  # a function of the design alone


def _is_baseline(cell: Cell) -> bool:
    return cell.role == "baseline" and not cell.control_kind


def _pair(exactness: Mapping[str, Any], one: Cell, two: Cell) -> Mapping[str, Any] | None:
    """The tested pair of two cells, named by arm or by setup, in either order."""
    names = ((one.arm, one.setup), (two.arm, two.setup))
    for pair in exactness["pairs"]:
        for a, b in (("a", "b"), ("b", "a")):
            if pair.get(a) in names[0] and pair.get(b) in names[1]:
                return dict(pair)
    return None


def _is_measure(key: str, value: Any) -> bool:
    return key.startswith("max_rel_") and key.endswith("_f64") and isinstance(value, (int, float))


def _discordance(study: Study, cell: Cell, one: pd.DataFrame, two: pd.DataFrame) -> float:
    where = f"{study.folder / 'predictions.parquet'}: {cell.name} trial {int(one['trial'].iloc[0])}"
    if not np.array_equal(one[["image_id", "label"]].to_numpy(), two[["image_id", "label"]].to_numpy()):
        raise InputError(f"{where}: other pictures than the baseline's, allowed: one test set a trial")
    rows = study.rows(cell).set_index("trial")["test_wrong"]
    wrong = int((one["pred"] != one["label"]).sum())
    if wrong != int(rows[one["trial"].iloc[0]]):
        raise InputError(f"{where}: {wrong} wrong, allowed: {int(rows[one['trial'].iloc[0]])} as in trials.csv")
    return agreement(one["pred"], two["pred"], one["label"]).discordance


def plain(value: Any) -> Any:
    """A value as JSON: numbers to nine digits, what is not finite as null, so that the last bit of a sum stays out."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
