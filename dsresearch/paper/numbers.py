"""The numbers of the paper's text, by name, each as it is printed."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from dsresearch.compare import against
from dsresearch.design import Protocol
from dsresearch.paper.checks import PRINTED, expected_noise
from dsresearch.paper.claims import Claims
from dsresearch.paper.facts import Results, StudyFacts, key_of
from dsresearch.references.hybrid import DESIGNS, EPOCHS
from dsresearch.report.planning import PRINTED_STUDIES, chance_of_support
from dsresearch.statistics.power import PLANNED_ERROR

# Arms of several studies beside an arm of one of them: what is compared, by the name that its numbers have.
BESIDE = {
    "batchnorm-relu": (
        ("hybrid-digits-full", "activation-digits-full"), "activation-digits-full/separable_batchnorm_relu"
    ),
}  # fmt: skip


def numbers(results: Results, claims: Claims) -> dict[str, str]:
    """Every number that the text may use, by name, as it is printed."""
    found = dict(_planning())
    for name, study in results.studies.items():
        found |= {f"{name}/{key}": text for key, text in _of_study(study)}
    for name, (studies, baseline) in BESIDE.items():
        if all(study in results.studies for study in studies):
            rows = pd.concat([results.studies[study].rows for study in studies], ignore_index=True)
            found |= {f"{name}/{key}": text for key, text in _beside(rows, baseline)}
    for name, count in results.counts.items():
        found |= {f"count/{name}/{key}": f"{count[key]:,}" for key in ("trainable", "macs")}
    found |= {f"claims/{status}": str(n) for status, n in claims.counts().items()}
    found["claims/all"] = str(len(claims.rows))
    trained = [row for row in claims.rows if row["status"] != "not run" and row["ours_from"] in results.studies]
    found["claims/trained"] = str(len(trained))
    found["claims/printed"] = str(sum(row["ours_from"] == PRINTED for row in claims.rows))
    found |= {f"paper/{row['id']}": str(row["paper_value"]) for row in claims.rows}
    return found


def _planning() -> Iterator[tuple[str, str]]:
    a, b = expected_noise()
    yield from (("noise/A", f"{a:.2f}"), ("noise/B", f"{b:.3f}"), ("noise/error", f"{PLANNED_ERROR:g}"))
    yield "simulated", f"{PRINTED_STUDIES:,}"
    for profile, (trials, n_test) in DESIGNS.items():
        chance = chance_of_support(trials, n_test, Protocol.margin, Protocol.alpha)["SUPPORTED"]
        yield f"design/{profile}/trials", str(trials)
        yield f"design/{profile}/tested", f"{n_test:,}"
        yield f"design/{profile}/epochs", str(EPOCHS)
        yield f"design/{profile}/supported", f"{100 * chance:.0f}"


def _beside(rows: pd.DataFrame, baseline: str) -> Iterator[tuple[str, str]]:
    """The rivals of a study beside an arm of another one, by both families of Holm's correction."""
    table = against(rows, baseline)
    for of in table[table["p_holm_rivals"].notna()].to_dict("records"):
        yield f"{of['key']}/mean", f"{of['mean'] + 0.0:+.2f}"
        yield f"{of['key']}/mean-interval", f"[{of['t95_lo'] + 0.0:+.2f}, {of['t95_hi'] + 0.0:+.2f}]"
        yield f"{of['key']}/holm-rivals", f"{of['p_holm_rivals']:.2g}"
        yield f"{of['key']}/holm-all", f"{of['p_holm']:.2g}"


def _of_study(study: StudyFacts) -> Iterator[tuple[str, str]]:
    verdict, rows = study.verdict, study.rows
    yield from ((key, str(verdict[key])) for key in ("dataset", "profile", "trials", "verdict"))
    yield from (("tested", f"{verdict['n_test']:,}"), ("trained", f"{rows['n_train'].iloc[0]:,}"))
    yield from (("margin", f"{verdict['margin_pp']:g}"), ("alpha", f"{verdict['alpha']:g}"))
    yield from (("picture", f"{100 / verdict['n_test']:.2f}"), ("models", f"{verdict['models']:,}"))
    settings = rows[["epochs", "width", "depth", "batch_size", "factor"]].iloc[0].dropna()  # width and depth, or factor
    yield from ((key, f"{value:g}") for key, value in settings.items())
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
    yield from _largest(rows)
    if study.twins is not None:
        yield from _of_twins(study.twins)
    noisy = sum(bool(found["control_kind"] and found["sd"]) for found in verdict["comparisons"])
    yield "controls/noisy", str(noisy)
    yield "controls/any", f"{100 * (1 - 0.95**noisy):.0f}"  # a 95 % interval of one of them excludes 0 by chance
    for found in verdict["comparisons"]:
        yield from ((f"{key_of(found)}/{name}", text) for name, text in _of_comparison(found))


def _largest(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The largest difference to the baseline that each arm and control has in one trial, without its sign."""
    baseline = rows[(rows["role"] == "baseline") & (rows["control_kind"] == "")].set_index("trial")["error_pct"]
    for key, of in rows.groupby("key", sort=False):
        largest = (of.set_index("trial")["error_pct"] - baseline).abs().max()
        if pd.notna(largest):
            yield f"{key}/largest", f"{largest:.2f}"


def _of_twins(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Where the twins of the baseline stand at the first and the last step: median over trials, relative."""
    yield from (("twins/steps", f"{rows['step'].max():,}"), ("twins/trials", str(rows["trial"].nunique())))
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
    yield from (("p", f"{found['p_sign_flip']:.2f}"), ("p-resampled", f"{found['p_nadeau_bengio']:.2g}"))
