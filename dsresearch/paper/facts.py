"""What the paper reads of the results: verdicts, rows, counts and proofs; and its numbers by name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dsresearch import compare
from dsresearch.design import InputError
from dsresearch.paper.checks import PAPER_TEST, expected_noise
from dsresearch.paper.claims import Claims
from dsresearch.statistics import chances
from dsresearch.statistics.power import PLANNED_ERROR
from dsresearch.studies import PROFILES

MARGIN, ALPHA = 0.25, 0.05  # of the two designs below, as the protocol's defaults
DESIGNS = {"paper": PAPER_TEST, "confirm": 10_000}  # test pictures of the profiles that were planned for CIFAR-10
SIMULATED = 4_000  # studies behind a chance: a Monte-Carlo error below one percentage point


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
        return self.verdict["dataset"] == "CIFAR-10" and self.verdict["profile"] in DESIGNS

    def comparison(self, key: str) -> Mapping[str, Any] | None:
        """The statistics of an arm or a control against the baseline."""
        for found in self.verdict["comparisons"]:
            if key == _key(found):
                return dict(found)
        return None


@dataclass(frozen=True)
class Results:
    """All that the paper reads: studies by name, counts of networks, proofs of classes by pair."""

    studies: Mapping[str, StudyFacts]
    counts: Mapping[str, Mapping[str, int]]
    proofs: Mapping[tuple[str, str], str]

    def hybrid(self) -> tuple[str, StudyFacts] | None:
        """The study of Figure 4 that decides most: the papers' own setting first, then the largest profile."""
        rank = {name: place for place, name in enumerate(("confirm", "paper", "full", "quick"))}
        found = [
            (not study.decides, rank.get(study.verdict["profile"], len(rank)), name)
            for name, study in self.studies.items()
            if "hybrid" in study.verdict["readings"]
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


# --- numbers ----------------------------------------------------------------------------------------------------


def numbers(results: Results, claims: Claims) -> dict[str, str]:
    """Every number that the text may use, by name, as it is printed."""
    found = dict(_planning())
    for name, study in results.studies.items():
        found |= {f"{name}/{key}": text for key, text in _of_study(study)}
    for name, count in results.counts.items():
        found |= {f"count/{name}/{key}": f"{count[key]:,}" for key in ("trainable", "macs")}
    found |= {f"claims/{status}": str(n) for status, n in claims.counts().items()}
    found["claims/all"] = str(len(claims.rows))
    found |= {f"paper/{row['id']}": str(row["paper_value"]) for row in claims.rows}
    return found


def _planning() -> Iterator[tuple[str, str]]:
    a, b = expected_noise()
    yield from (("noise/A", f"{a:.2f}"), ("noise/B", f"{b:.3f}"), ("noise/error", f"{PLANNED_ERROR:g}"))
    yield "simulated", f"{SIMULATED:,}"
    for profile, n_test in DESIGNS.items():
        trials, epochs = PROFILES[profile]["protocol"]["trials"], PROFILES[profile]["recipe"]["epochs"]
        chance = chances(trials, n_test, MARGIN, ALPHA, studies=SIMULATED)["SUPPORTED"]
        yield f"design/{profile}/trials", str(trials)
        yield f"design/{profile}/tested", f"{n_test:,}"
        yield f"design/{profile}/epochs", str(epochs)
        yield f"design/{profile}/supported", f"{100 * chance:.0f}"


def _of_study(study: StudyFacts) -> Iterator[tuple[str, str]]:
    verdict, rows = study.verdict, study.rows
    yield from ((key, str(verdict[key])) for key in ("dataset", "profile", "trials", "verdict"))
    yield from (("tested", f"{verdict['n_test']:,}"), ("trained", f"{rows['n_train'].iloc[0]:,}"))
    yield from (("margin", f"{verdict['margin_pp']:g}"), ("alpha", f"{verdict['alpha']:g}"))
    yield from (("picture", f"{100 / verdict['n_test']:.2f}"), ("models", f"{len(rows):,}"))
    yield from ((key, f"{rows[key].iloc[0]}") for key in ("epochs", "width", "depth", "batch_size"))
    yield "supported", f"{100 * verdict['planned']['chances_if_equal']['SUPPORTED']:.0f}"
    if verdict["planned"]["mde80_pp"] is not None:
        yield "mde", f"{verdict['planned']['mde80_pp']:.2f}"
    yield from ((f"verdict/{name}", reading["verdict"]) for name, reading in verdict["readings"].items())
    yield from ((f"class/{name}", word) for name, word in study.classes.items())
    for key, of in rows.groupby("key", sort=False):
        yield f"{key}/error", f"{of['error_pct'].mean():.2f}"
        if len(of) > 1:
            yield f"{key}/error-sd", f"{of['error_pct'].std():.2f}"
        yield f"{key}/params", f"{of['params'].iloc[0]:,}"
    if study.twins is not None:
        yield from _of_twins(study.twins)
    for found in verdict["comparisons"]:
        yield from ((f"{_key(found)}/{name}", text) for name, text in _of_comparison(found))


def _of_twins(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Where the twins of the baseline stand at the first and the last step: median over trials, relative."""
    yield "twins/steps", f"{rows['step'].max():,}"
    for kind, of in rows.groupby("control_kind", sort=False):
        for name, step in (("first", 0), ("last", rows["step"].max())):
            distance = of[of["step"] == step]["relative_distance"].median()
            yield f"twins/{kind}/{name}", f"{distance:.2g}" if distance >= 1e-3 or not distance else f"{distance:.0e}"


def _of_comparison(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The statistics of an arm; those that one trial does not give are null in verdict.json and have no name here."""
    yield from (("A", f"{found['a']:.2f}"), ("B", f"{found['b']:.2f}"), ("mean", f"{found['mean'] + 0.0:+.2f}"))
    bounds = {"A": found["a_bca95"], "mean": found["t95"], "tost": found["t_tost"]}
    for name, (lo, hi) in bounds.items():
        if lo is not None and hi is not None:
            sign = "" if name == "A" else "+"
            yield f"{name}-interval", f"[{lo + 0.0:{sign}.2f}, {hi + 0.0:{sign}.2f}]"
    for name, key in (("sd", "sd"), ("needed-margin", "equivalence_margin")):
        if found[key] is not None:
            yield name, f"{found[key]:.2f}"
    yield "p", f"{found['p_sign_flip']:.2f}"


def _key(found: Mapping[str, Any]) -> str:
    return (found["control_kind"] or found["arm"]) + ("" if found["match"] == "width" else f"@{found['match']}")
