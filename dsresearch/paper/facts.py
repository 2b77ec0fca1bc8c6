"""What the paper reads of the results: verdicts, rows, counts and proofs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dsresearch import compare
from dsresearch.design import InputError
from dsresearch.references.hybrid import DESIGNS
from dsresearch.studies import PROFILES


@dataclass(frozen=True)
class StudyFacts:
    """One study as the paper sees it: its verdict.json, its rows, the classes of its arms, its divergence.csv."""

    verdict: Mapping[str, Any]
    rows: pd.DataFrame
    classes: Mapping[str, str]
    twins: pd.DataFrame | None

    @property
    def decides(self) -> bool:
        """Whether it is the papers' own setting: CIFAR-10 itself under a profile of 190 epochs."""
        return self.verdict["dataset"] == "CIFAR-10" and self.verdict["trained_as"] in DESIGNS

    def comparison(self, key: str) -> Mapping[str, Any] | None:
        """The statistics of an arm or a control against the baseline."""
        for found in self.verdict["comparisons"]:
            if key == key_of(found):
                return dict(found)
        return None


@dataclass(frozen=True)
class Results:
    """All that the paper reads: studies by name, counts of networks, proofs of classes by pair."""

    studies: Mapping[str, StudyFacts]
    counts: Mapping[str, Mapping[str, int]]
    proofs: Mapping[tuple[str, str], str]

    def hybrid(self) -> tuple[str, StudyFacts] | None:
        """The study of Figure 4 that decides most."""
        return self._decides_most(lambda study: "hybrid" in study.verdict["readings"])

    def of_arm(self, arm: str) -> tuple[str, StudyFacts] | None:
        """The study of an arm that decides most."""
        return self._decides_most(lambda study: (study.rows["key"] == arm).any())

    def _decides_most(self, asked: Callable[[StudyFacts], bool]) -> tuple[str, StudyFacts] | None:
        """Of the studies asked for the papers' own setting first, then the largest profile."""
        rank = {name: place for place, name in enumerate(reversed(list(PROFILES)))}
        found = [
            (not study.decides, rank.get(study.verdict["trained_as"], len(rank)), name)
            for name, study in self.studies.items()
            if asked(study)
        ]
        return None if not found else (min(found)[2], self.studies[min(found)[2]])


def read_results(folder: Path, drawn: Mapping[str, Path]) -> Results:
    """The results in `folder`, with what was drawn of each study."""
    studies = {}
    for name, report in drawn.items():
        verdict = json.loads((report / "verdict.json").read_text("utf-8"))
        proven = folder / name / "exactness.json"
        pairs = _json(proven)["pairs"] if proven.exists() else []
        classes = {pair["b"]: pair["class"] for pair in pairs}
        twins = folder / name / "divergence.csv"
        parted = pd.read_csv(twins) if twins.exists() else None
        studies[name] = StudyFacts(verdict, compare.read(folder / name), classes, parted)
    path = folder / "measurements" / "exactness.json"
    proofs = {(p["a"], p["b"]): p["class"] for p in _json(path)["pairs"]} if path.exists() else {}
    path = folder / "measurements" / "cost.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    counts = {entry["name"]: entry for entry in map(json.loads, filter(None, lines))}
    return Results(studies, counts, {**proofs, **{(b, a): word for (a, b), word in proofs.items()}})


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}, allowed: JSON") from None


def key_of(found: Mapping[str, Any]) -> str:
    """The name of an arm or control among the comparisons of a verdict."""
    return compare.key_of(found["arm"], found["control_kind"], found["match"])
