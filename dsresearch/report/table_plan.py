"""T9 what designs can show, T7 FractalNet and DarkNet, T8 the claims of the paper that a study of this kind decides."""

from typing import Any

from dsresearch.references import hybrid, training
from dsresearch.report.cell import Cell, trained_as
from dsresearch.report.evidence import Analysis
from dsresearch.report.factors import compared, difference
from dsresearch.report.planning import chances_table
from dsresearch.report.tables import Field, Table
from dsresearch.statistics import Comparison, folded, holm
from dsresearch.statistics.power import PLANNED_ERROR

POWER = (
    Field("n_test", "test pictures", "count"),
    Field("trials", "trials", "count"),
    Field("sd_diff_pp", "SD of d", "pp"),
    Field("mde80_pp", "detects (80 %)", "pp"),
    Field("tost80_margin_pp", "shows equal (80 %)", "pp"),
    Field("p_supported", "SUPPORTED if true", "pp"),
    Field("p_not_supported", "NOT SUPPORTED", "pp", full_only=True),
    Field("p_undecided", "UNDECIDED", "pp", full_only=True),
    Field("compute_hours", "hours here", "pp"),
)


def power(analysis: Analysis) -> Table:
    """T9: what designs of other sizes can show, and how long they would train on this study's device."""
    study, protocol = analysis.study, analysis.study.protocol
    hours = _hours_a_trial(analysis)
    rows = [
        {
            "n_test": int(row["n_test"]),
            "trials": int(row["trials"]),
            "sd_diff_pp": row["sd_diff_pp"],
            "mde80_pp": row["mde80_pp"],
            "tost80_margin_pp": row["tost80_margin_pp"],
            "p_supported": row["SUPPORTED"],
            "p_not_supported": row["NOT SUPPORTED"],
            "p_undecided": row["UNDECIDED"],
            "compute_hours": "other data" if row["n_test"] != study.n_test else "not recorded" if hours is None
            else hours * row["trials"],
        }
        for row in chances_table(protocol, study.n_test).to_dict("records")
    ]  # fmt: skip
    caption = (
        f"{study.caption()} Planned at {PLANNED_ERROR:g} % error: SD of d sqrt(err/n); smallest difference found and "
        "smallest margin passed with a chance of 80 %; chance of each word where the hypothesis is true, by simulation "
        "of the rule before the cap to CONSISTENT. Hours: training of all cells of this study at the speeds of "
        "runs.csv, one after another."
    )
    return Table("power", "What designs can show", caption, POWER, tuple(rows))


def _hours_a_trial(analysis: Analysis) -> float | None:
    """Hours of training that one trial of every cell takes at the recorded speeds; None where a speed is missing."""
    study, total = analysis.study, 0.0
    for cell in study.cells:
        run = study.last_run(cell)
        if not len(study.places(cell)) or run is None or not run["images_per_s"] > 0:
            return None
        steps, batch = (float(study.values(cell, name)[0]) for name in ("steps", "batch_size"))
        total += steps * batch / float(run["images_per_s"]) / 3600
    return total or None


# --- T7 ---------------------------------------------------------------------------------------------------------

FRACTAL = (
    Field("network", "network"),
    Field("separable", "separable"),
    Field("paper_error_pct", "paper, error %", "pp"),
    Field("error_mean_pct", "error %", "pp"),
    Field("sd_pp", "SD", "pp"),
    Field("diff_pp", "with less without", "signed"),
    Field("diff_t95", "t 95 %", "signed", interval=True),
    Field("p_signflip", "p sign-flip", "small"),
    Field("n_trials", "trials", "count"),
    Field("paper_statement", "the paper says"),
    Field("agrees", "agrees?"),
)
# The networks of Ghosh 2017, Figures 5 and 6, and what it says of each with and without separable layers.
FRACTAL_DARK = {
    "fractalnet": ("FractalNet", "little to no impact upon performance"),
    "darknet": ("DarkNet", "tremendous performance improvements"),
}


_SEPARABLE = "_separable"  # ends the name of an arm that has separable layers where the one without it has not


def fractal_dark(analysis: Analysis) -> Table:
    """T7: the paper's Figures 5 and 6, from a study `fractalnet` or `darknet`; elsewhere named as not run here."""
    rows = [row for study in FRACTAL_DARK for row in _network_rows(analysis, study)]
    fractal, most = _published("FractalNet"), max(hybrid.DIFFERENCES.values())
    caption = (
        f"{analysis.study.caption()} The paper trained each network once. It calls {fractal[1] - fractal[0]:.2f} pp "
        "(FractalNet) little to no impact, more than any difference that its Figure 4 takes as evidence (at most "
        f"{most} pp), and does not say which DarkNet it trained; of QuickNets it says nothing. Agrees: little impact "
        "where the difference is equivalent to 0 at the margin, an improvement where it lies wholly below it; decided "
        "on the paper's pictures and schedule alone."
    )
    notes = tuple(
        f"{FRACTAL_DARK[name][0]} is not part of this study: `dsresearch run {name}`."
        for name in FRACTAL_DARK
        if analysis.study.about["study"] != name
    )
    return Table("fractal_dark", "With and without separable layers", caption, FRACTAL, tuple(rows), notes)


def _published(network: str) -> tuple[float, float]:
    """The paper's test errors in per cent, with separable layers and without, one trial each."""
    with_error, without_error = (training.value("hybrid", "CIFAR-10", f"{network}{of}") for of in (", separable", ""))
    return with_error, without_error


def _network_rows(analysis: Analysis, name: str) -> list[dict[str, Any]]:
    """Two rows for every network of the study that was trained with and without separable layers."""
    study, (network, says) = analysis.study, FRACTAL_DARK[name]
    rows = []
    for variant, cells in _with_and_without(analysis, name).items() or [(name, {})]:
        of_paper = variant.startswith(name)  # the study has other networks too
        for word, paper in zip(("yes", "no"), _published(network), strict=True):
            row: dict[str, Any] = {**dict.fromkeys((field.key for field in FRACTAL), "not run")}
            row |= {"network": f"{network} ({variant})" if cells else network, "separable": word}
            row |= {"paper_error_pct": paper, "paper_statement": says}
            row |= {} if of_paper else dict.fromkeys(("paper_error_pct", "paper_statement"), "none")
            rows.append(row | _trained(analysis, cells.get(word)))
        found = compared(study, difference(study, cells["yes"], cells["no"])) if len(cells) == 2 else None
        if found is not None:
            rows[-2] |= _difference(found) | {"agrees": _agrees(analysis, found, says) if of_paper else "none"}
    return rows


def _trained(analysis: Analysis, cell: Cell | None) -> dict[str, Any]:
    """The errors of a network's trials; empty where there are none."""
    if cell is None or not len(percent := analysis.study.errors(cell)):
        return {}
    spread = float(percent.std(ddof=1)) if len(percent) > 1 else "one trial"
    reference = dict.fromkeys(("diff_pp", "diff_t95", "p_signflip", "agrees"), "reference")
    return {"error_mean_pct": float(percent.mean()), "n_trials": len(percent), "sd_pp": spread} | reference


def _with_and_without(analysis: Analysis, name: str) -> dict[str, dict[str, Cell]]:
    """Network -> its arms with (`yes`) and without separable layers: `X_separable`, and `X` or `X_dense`."""
    if analysis.study.about["study"] != name:
        return {}
    arms = {cell.arm: cell for cell in analysis.study.cells if not cell.control_kind and cell.match == "width"}
    out = {}
    for arm in (arm for arm in arms if arm.endswith(_SEPARABLE)):
        network = arm.removesuffix(_SEPARABLE)
        plain = next((name for name in (network, f"{network}_dense") if name in arms), None)
        if plain is not None:
            out[network] = {"yes": arms[arm], "no": arms[plain]}
    return out


def _difference(found: Comparison) -> dict[str, Any]:
    return {
        "diff_pp": found.mean,
        "diff_t95": "one trial" if found.trials == 1 else found.t95,
        "p_signflip": found.p_sign_flip,
    }


def _agrees(analysis: Analysis, found: Comparison, says: str) -> str:
    """Whether the difference is what the paper says of its networks, where the study may decide that."""
    if _why_undecided(analysis):
        return "not decided"
    if found.trials == 1:
        return "undecided"
    if says.startswith("little"):
        equal = found.shown_equal(analysis.study.protocol.alpha)
        return "yes" if equal else "no" if found.outside else "undecided"
    better, worse = found.outside and found.mean < 0, found.t95.lo > -analysis.study.protocol.margin
    return "yes" if better else "no" if worse else "undecided"


# --- T8 ---------------------------------------------------------------------------------------------------------

CLAIMS = (
    Field("claim_id", "claim"),
    Field("quoted", "the paper says", full_only=True),
    Field("quantity", "quantity"),
    Field("paper_value", "paper", "pp"),
    Field("ours", "ours", "pp"),
    Field("ours_t95", "95 %", "pp", interval=True),
    Field("criterion", "criterion", full_only=True),
    Field("status", "status"),
    Field("caveat", "caveat"),
)
_SAYS = "the most accurate formulation should provide us with the least absolute difference from test error"


def claims(analysis: Analysis) -> Table:
    """T8: what this study says of the six rows of the paper's Figure 4 and of the sentence above them.

    The claims of both papers from all studies stand in `paper/claims.csv`; here is what one study can decide.
    """
    study = analysis.study
    asked = {name: cell for cell in study.cells if (name := cell.arm) in hybrid.DIFFERENCES and cell.match == "width"
             and not cell.control_kind and name != "separable"}  # fmt: skip
    rivals = [cell for cell in asked.values() if cell.role == "rival" and cell in analysis.comparisons]
    adjusted: Any = holm([analysis.comparisons[cell].p_sign_flip for cell in rivals]) if rivals else []
    differs = {cell: float(p) for cell, p in zip(rivals, adjusted, strict=True)}
    rows = [_claim(analysis, name, asked.get(name), differs) for name in hybrid.DIFFERENCES if name != "separable"]
    rows.append(_nearest(analysis))
    caption = (
        f"{study.caption()} Of the paper's Figure 4 (Ghosh 2017, section 4), CIFAR-10, 190 epochs, 10 trials. Ours: "
        "B, the absolute mean difference, with the 95 % t interval of the mean without its sign. Criterion for a "
        "rival: the exact sign-flip test finds a difference (Holm); for the control and the hybrid: TOST passes at the "
        "margin. A study on other pictures, or not on the paper's schedule, decides nothing about the paper's claim, "
        "whatever it finds."
    )
    return Table("claims", "The paper's claims", caption, CLAIMS, tuple(rows))


def _why_undecided(analysis: Analysis) -> str:
    """Why the study does not decide a claim of the paper; empty where it does."""
    study = analysis.study
    if study.about["data"]["name"] != "cifar10":
        return "other pictures than the paper's"
    return "" if trained_as(study.about) in hybrid.DESIGNS else "not the paper's schedule"


def _claim(analysis: Analysis, name: str, cell: Cell | None, differs: dict[Cell, float]) -> dict[str, Any]:
    equal = name in ("separable_strict", "hybrid")
    row: dict[str, Any] = {
        "claim_id": f"fig4-{name.replace('_', '-')}",
        "quoted": f"{hybrid.DIFFERENCES[name]}% absolute difference from baseline",
        "quantity": f"{name} and the baseline {'are equal' if equal else 'differ'}",
        "paper_value": hybrid.DIFFERENCES[name],
        "criterion": "TOST passes" if equal else "sign-flip p, Holm, below alpha",
        "ours": "not run",
        "ours_t95": "not run",
        "status": "not run",
        "caveat": _why_undecided(analysis) or "none",
    }
    found = analysis.comparisons.get(cell) if cell else None
    if cell is None or found is None:
        return row
    row |= {"ours": found.b, "ours_t95": "one trial" if found.trials == 1 else folded(found.t95)}
    alpha = analysis.study.protocol.alpha
    same = found.shown_equal(alpha) or bool(analysis.pairs[cell]["bit_identical"].all())
    holds, fails = (same, found.outside) if equal else (differs.get(cell, 1.0) < alpha, same)
    if _why_undecided(analysis):
        differ, alike = (fails, holds) if equal else (holds, fails)
        here = (
            "a difference" if differ else "equality within the margin" if alike else "neither difference nor equality"
        )
        return row | {"caveat": f"{row['caveat']}; shown here: {here}"}
    return row | {"status": "reproduced" if holds else "not reproduced" if fails else "undecided"}


def _nearest(analysis: Analysis) -> dict[str, Any]:
    """The paper's conclusion: the hybrid is the nearest of the four."""
    found, gaps = analysis.verdicts.get("hybrid"), hybrid.GAPS.values()
    word = found.word if found else "NOT APPLICABLE"
    says = {"SUPPORTED": "reproduced", "CONSISTENT": "reproduced", "NOT SUPPORTED": "not reproduced",
            "UNDECIDED": "undecided"}.get(word, "not run")  # fmt: skip
    decides = _why_undecided(analysis)
    caveat = f"{decides}; here: {word}" if decides else "equal by construction" if word == "CONSISTENT" else "none"
    return {
        "claim_id": "fig4-nearest",
        "quoted": _SAYS,
        "quantity": "the hybrid is nearer than every rival",
        "paper_value": f"{hybrid.DIFFERENCES['hybrid']} against {min(gaps)} to {max(gaps)}",
        "ours": word,
        "ours_t95": "a word",
        "criterion": "the verdict",
        "status": "not run" if decides else says,
        "caveat": caveat,
    }
