"""From a study's rows to its verdicts: gathers what the rule asks for, one verdict for each reading of the hybrid."""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dsresearch.references.hybrid import DESIGNS, RIVALS
from dsresearch.report.cell import Cell, one_line, spans, trained_as
from dsresearch.report.mechanism import Kept, Key, agreements, differences, kept_predictions
from dsresearch.report.pairs import EQUAL_SIZE, match_deviation, pairs
from dsresearch.report.planning import chance_of_support
from dsresearch.report.study import Study
from dsresearch.schema import EXACT
from dsresearch.statistics import (
    RULE_VERSION,
    Comparison,
    Evidence,
    Interval,
    Verdict,
    compare,
    judge,
    two_way_interval,
)
from dsresearch.statistics.paired import Floats
from dsresearch.statistics.power import planned
from dsresearch.statistics.verdict import GATED_CONTROLS, words_at

REQUIRED_CONTROLS = ("rerun", "bit", "exact", "seed")
_AT_ONCE = 1_000_000  # differences picture by picture that are held at once


class Analysis:
    """The pairs, comparisons and verdicts of one study, each computed once."""

    def __init__(self, study: Study) -> None:
        self.study = study

    @functools.cached_property
    def pairs(self) -> dict[Cell, pd.DataFrame]:
        """Pairs of every cell but the baselines."""
        return pairs(self.study, (cell for cell in self.study.cells if not is_baseline(cell)))

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
        return self._controls.get(kind)

    @functools.cached_property
    def _controls(self) -> dict[str, Cell]:
        cells = [cell for cell in self.study.cells if cell.control_kind and cell.match == "width"]
        return {cell.control_kind: cell for cell in reversed(cells)}

    def d(self, cell: Cell | None) -> Floats:
        """d_t of a cell by trial, percentage points; empty where there is no pair."""
        if cell is None or cell not in self.pairs:
            return np.zeros(0)
        return np.asarray(self.pairs[cell]["d_pp"], dtype=np.float64)

    def elsewhere(self, cell: Cell) -> list[str]:
        """In what of its environment, such as `device_kind`, a cell is not as the baseline of its trials."""
        named = self.pairs[cell]["environment"] if cell in self.pairs else ()
        return list(dict.fromkeys(name for names in named for name in names.split(", ") if name))

    @functools.cached_property
    def rerun_differs(self) -> tuple[str, ...]:
        """Trials whose rerun is not the baseline of its own environment to the bit."""
        rows = self._reruns[self._reruns["environment"] == ""]
        return tuple(
            f"control rerun is not bit-identical: {what} differ in trials {spans(list(of['trial']))}"
            for what, of in rows.groupby("rerun_differs", sort=True)
            if what
        )

    @functools.cached_property
    def reruns_elsewhere(self) -> tuple[str, ...]:
        """Trials whose rerun has no baseline of its own environment, where bits could be the same."""
        return tuple(
            f"control rerun has no baseline of its environment ({what} differ) in trials {spans(list(of['trial']))}: "
            "`dsresearch run`, where rerun was trained, trains one"
            for what, of in self._reruns.groupby("environment", sort=True)
            if what
        )

    @property
    def _reruns(self) -> pd.DataFrame:
        cell = self.control("rerun")
        return self.pairs[cell] if cell else pd.DataFrame({"rerun_differs": [], "environment": [], "trial": []})

    @functools.cached_property
    def mixed_modes(self) -> tuple[str, ...]:
        """Cells with pairs across execution modes."""
        return tuple(
            f"{cell.name}: mixed {what} within the pairs of trials {spans(list(of['trial']))}"
            for cell, rows in self.pairs.items()
            if rows["mixed"].any()
            for what, of in rows.groupby("mixed", sort=True)
            if what
        )

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Pairs whose two models ran in different environments, and what was asked for later: allowed, and said."""
        elsewhere = (
            f"{cell.name}: {what} differ within the pairs of trials {spans(list(of['trial']))}"
            for cell, rows in self.pairs.items()
            if rows["environment"].any()
            for what, of in rows.groupby("environment", sort=True)
            if what
        )
        unfinished = (
            f"asked for beyond the protocol and not all trained: {one_line(cell.name)}: run {self.study.command(cell)}"
            for cell in self.study.unfinished
        )
        return (*elsewhere, *unfinished)

    def class_of(self, arm: str) -> str:
        """`exact`, `reparam` or `distinct` against the baseline, as measured; empty where it was not."""
        cell, base = self._arms.get(arm), next(filter(is_baseline, self._arms.values()), None)
        if self.study.exactness is not None and base is not None and cell is not None:
            pair = self._tested(base, cell)
            return str(pair.get("class", "")) if pair else ""
        found = () if cell is None else tuple(self.study.values(cell, "eq_class"))
        return str(found[0]) if found else ""

    @functools.cached_property
    def _arms(self) -> dict[str, Cell]:
        """The arms at their own widths by name."""
        return {cell.arm: cell for cell in self.study.cells if not cell.control_kind and cell.match == "width"}

    @functools.cached_property
    def _pairs_tested(self) -> dict[tuple[str, str], int]:
        """Where in exactness.json the pair of two names stands, either name first."""
        out: dict[tuple[str, str], int] = {}
        for at, pair in enumerate(self.study.exactness["pairs"] if self.study.exactness else ()):
            a, b = str(pair.get("a")), str(pair.get("b"))
            out.setdefault((a, b), at)
            out.setdefault((b, a), at)
        return out

    def _tested(self, one: Cell, two: Cell) -> Mapping[str, Any] | None:
        """The first tested pair of two cells, named by arm or by setup, in either order."""
        names = itertools.product((one.arm, one.setup), (two.arm, two.setup))
        found = [at for pair in names if (at := self._pairs_tested.get(pair)) is not None]
        return dict(self.study.exactness["pairs"][min(found)]) if found and self.study.exactness else None

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
        base = [c for c in self.study.cells if is_baseline(c)]
        if cell and base:
            pair = self._tested(base[0], cell)
            if pair is not None and pair.get("class") != "exact":
                found = f"class {one_line(pair.get('class'))}"
                out.append(f"exactness of {base[0].setup} and {cell.setup}: {found}, not exact")
        return tuple(out)

    @property
    def exactness_untested(self) -> tuple[str, ...]:
        """The control `exact`, where the study was tested without it: a part of its arms was run alone."""
        cell, base = self.control("exact"), next(filter(is_baseline, self.study.cells), None)
        if self.study.exactness is None or cell is None or base is None or self._tested(base, cell) is not None:
            return ()
        return (
            f"exactness of {base.setup} and {cell.setup}: not tested yet, `dsresearch run` of the whole study does",
        )

    @functools.cached_property
    def kept(self) -> Mapping[Key, Kept] | None:
        """Predictions by arm, control kind, match and trial; None where the study keeps none."""
        return kept_predictions(self.study)

    @functools.cached_property
    def agreements(self) -> Mapping[Cell, npt.NDArray[Any]]:
        """Agreement with the baseline by cell, a row a trial (`mechanism.agreements`); empty without predictions."""
        if self.kept is None:
            return {}
        return {cell: agreements(self.study, cell, list(d["trial"]), self.kept) for cell, d in self.pairs.items()}

    @functools.cached_property
    def beside_seed(self) -> Mapping[Cell, npt.NDArray[Any]]:
        """Fields trial, discordance, seed: a cell's and the seed control's of the trials that both have, by cell."""
        seed = self.control("seed")
        if seed is None or seed not in self.agreements:
            return {}
        floor = dict(zip(self.agreements[seed]["trial"], self.agreements[seed]["discordance"], strict=True))
        return {
            cell: np.array(
                [(t, d, floor[t]) for t, d in zip(of["trial"], of["discordance"], strict=True) if t in floor],
                dtype=[("trial", np.int64), ("discordance", np.float64), ("seed", np.float64)],
            )
            for cell, of in self.agreements.items()
        }

    @functools.cached_property
    def two_way(self) -> Mapping[Cell, Interval]:
        """Interval of mean d over drawn trials and drawn pictures, of every cell with all predictions of its pairs."""
        alike: dict[tuple[int, ...], list[tuple[Cell, Floats]]] = {}  # a few arms of one shape at once: fewer passes
        out: dict[Cell, Interval] = {}
        for cell, rows in self.pairs.items():
            d = differences(self.study, cell, list(rows["trial"]), self.kept or {})
            if len(rows) and len(d) == len(rows):
                waiting = alike.setdefault(d.shape, [])
                waiting.append((cell, d))
                if len(waiting) * d.size > _AT_ONCE:
                    out |= _two_way(alike.pop(d.shape))
        return out | {cell: found for waiting in alike.values() for cell, found in _two_way(waiting).items()}

    @functools.cached_property
    def discordance(self) -> Mapping[str, Floats] | None:
        """Share of pictures that exactly one of arm and baseline gets wrong, by arm and for `seed`, a value a trial."""
        if self.kept is None:
            return None
        return {
            cell.control_kind or cell.arm: np.asarray(rows["discordance"], dtype=np.float64)
            for cell, rows in self.agreements.items()
            if cell.match == "width" and cell.control_kind in ("", "seed")
        }

    def readings(self) -> list[str]:
        """The arms on which a verdict is formed: the hybrid and its other readings."""
        return [*self.study.arms("candidate"), *self.study.arms("reading")]

    def verdict(self, reading: str) -> Verdict:
        """The verdict on one reading; an empty name where the study has none."""
        matched = {
            match: judge(self.evidence(reading, match, {})).word
            for match in ("params", "macs")
            if reading and reading in (cell.arm for cell in self.study.cells if cell.match == match)
        }
        return judge(self.evidence(reading, "width", matched))

    def unequal(self, reading: str) -> tuple[str, ...]:
        """The matched rivals, and the reading, whose nearest width misses the baseline's size by over EQUAL_SIZE %."""
        out = []
        for cell in (cell for cell in self.study.cells if cell.role == "rival" or cell.arm == reading):
            off = match_deviation(self.study, cell)
            if not isinstance(off, str) and abs(off) > EQUAL_SIZE and not cell.control_kind:
                out.append(f"{cell.arm} {off:+.1f} % ({cell.match})")
        return tuple(out)

    def evidence(self, reading: str, match: str, matched: Mapping[str, str]) -> Evidence:
        """All that the rule asks about one reading, among the arms of one match."""
        study = self.study
        arms = {c.arm: c for c in study.cells if c.match == match and not c.control_kind}
        rivals = tuple(study.arms("rival", match))
        names = (reading, *rivals) if reading else ()
        missing = [*study.missing]
        if reading:
            present = {cell.setup for cell in arms.values() if cell.role == "rival"}
            missing += [f"rival {name} is not part of this study" for name in RIVALS if name not in present]
            missing += [f"control {k} is not part of this study" for k in REQUIRED_CONTROLS if not self.control(k)]
            missing += [*self.reruns_elsewhere, *self.exactness_untested]
        return Evidence(
            candidate=reading,
            candidate_class=self.class_of(reading),
            differences={name: self.d(arms.get(name)) for name in names},
            rivals=rivals,
            controls={kind: self.d(self.control(kind)) for kind in GATED_CONTROLS},
            rerun_differs=self.rerun_differs,
            rerun_tested=bool((self._reruns["environment"] == "").any()),
            mixed_modes=self.mixed_modes,
            exactness_fails=self.exactness_fails,
            exactness_tested=study.exactness is not None,
            missing=tuple(missing),
            trials=study.protocol.trials,
            n_test=study.n_test,
            margin=study.protocol.margin,
            alpha=study.protocol.alpha,
            profile=trained_as(study.about),
            matched=matched,
            unequal=self.unequal(reading),
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
        rule = (protocol.margin, protocol.alpha)
        designs = {f"{trials} trials, {n} test pictures": (trials, n) for trials, n in DESIGNS.values()}
        return {
            **planned(protocol.trials, n_test, *rule),
            "chances_if_equal": chance_of_support(protocol.trials, n_test, *rule),
            "chances_of_other_designs": {name: chance_of_support(*size, *rule) for name, size in designs.items()},
        }

    def words_by_margin(self) -> list[tuple[str, float, str]] | None:
        """Reading, margin in percentage points and the word that the rule gives there; None where rule 1 or 2 applies.

        From a tenth of it to six times the protocol's margin, which alone decides.
        """
        out = []
        margins = [self.study.protocol.margin * step / 20 for step in range(2, 121)]
        for reading, found in self.verdicts.items():
            if found.gates["complete"] is not True or found.gates["candidate_outside"] is None or not reading:
                return None
            if found.word == "INVALID" and not found.gates["control_outside"]:
                return None
            words = words_at(self.evidence(reading, "width", {}), margins)
            out += [(reading, margin, word) for margin, word in zip(margins, words, strict=True)]
        return out

    def record(self) -> dict[str, Any]:
        """The content of verdict.json."""
        study = self.study
        return {
            "rule_version": RULE_VERSION,
            "study_id": study.study_id,
            "profile": study.about["profile"],
            "trained_as": trained_as(study.about),
            "dataset": study.dataset,
            "trials": study.protocol.trials,
            "models": study.models,
            "n_test": study.n_test,
            "margin_pp": study.protocol.margin,
            "alpha": study.protocol.alpha,
            "commits": list(study.commits),
            "inputs_sha256": study.inputs(),
            "verdict": next(iter(self.verdicts.values())).word,
            "readings": {name: self._reading(name, found) for name, found in self.verdicts.items() if name},
            "reasons": list(next(iter(self.verdicts.values())).reasons),
            "gates": dict(next(iter(self.verdicts.values())).gates),
            "comparisons": [{**vars(cell), **vars(found)} for cell, found in self.comparisons.items()],
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


def _two_way(differences: list[tuple[Cell, Floats]]) -> dict[Cell, Interval]:
    """Intervals over trials and pictures of cells whose differences have one shape."""
    lo, hi = two_way_interval(np.stack([d for _, d in differences]))
    return {cell: Interval(float(a), float(b)) for (cell, _), a, b in zip(differences, lo, hi, strict=True)}


def is_baseline(cell: Cell) -> bool:
    return cell.role == "baseline" and not cell.control_kind


def _is_measure(key: str, value: Any) -> bool:
    return key.startswith("max_rel_") and key.endswith("_f64") and isinstance(value, (int, float))


def plain(value: Any) -> Any:
    """A value as JSON: numbers to nine digits, what is not finite as null, so that the last bit of a sum stays out."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
