"""The continuum and single factors in the report, on made-up rows whose differences are known."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from store_builder import finish

from dsresearch import data
from dsresearch.record.export import export
from dsresearch.record.progress import status_lines
from dsresearch.record.store import Store
from dsresearch.report import Analysis, draw_factors, interior, read_study
from dsresearch.report.factors import contrasts, series
from dsresearch.report.table_factors import continuum, factors
from dsresearch.report.table_twins import parting
from dsresearch.statistics import sd_interval, t_interval
from dsresearch.studies.plan import Request, plan
from dsresearch.trials.divergence import steps_to_compare


def made_up(folder: Path, study: str, **choices: Any) -> Analysis:
    """A finished store of a whole study at `smoke`, with other values of its protocol."""
    chosen = {f"protocol.{name}": (value,) for name, value in choices.items()}
    decided = plan(Request(study=study, profile="smoke", choices=chosen), data.load("digits"))
    store = Store(folder)
    store.prepare(decided)
    for cell in decided.once:
        finish(store, cell, decided)
    export(store)
    return Analysis(read_study(folder))


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return made_up(tmp_path_factory.mktemp("studies") / "continuum", "continuum")


def test_the_spine_runs_from_a_regular_to_a_separable_convolution_under_every_match(spine: Analysis) -> None:
    found = {one.name: one for one in series(spine)}
    assert next(iter(found)) == "width 8"
    for name in ("width 8", "nearest parameters", "nearest multiply-adds", "width 8, relu", "width 8, elu"):
        assert list(found[name].arms) == [1, 2, 4, 8, 16, 32]
        assert found[name].end.setup == "separable"
    assert list(found["width 12"].arms) == [1, 3, 6, 12, 24, 48]


def test_the_interior_is_told_with_one_trial_and_with_two(spine: Analysis, tmp_path: Path) -> None:
    """A sign flip of two trials has p = 0.5 at best, so that nothing can be said not to differ."""
    assert "2 trials of each cannot show a difference by sign flips" in interior(spine)[1]
    spread = np.random.default_rng(0).normal(0.0, 1.0, 3).std(ddof=1)
    few, many = np.sqrt(2 * spread**2 / stats.chi2.ppf([0.975, 0.025], 2))
    assert sd_interval(spread, 3) == (pytest.approx(few), pytest.approx(many))
    assert "over the interval of that spread" in interior(spine)[1]
    _, inside, _, _ = interior(made_up(tmp_path / "one", "continuum", trials=1))
    assert "one trial of each cannot show a difference by sign flips" in inside
    assert "pp (one trial)." in inside


def test_at_equal_size_the_regular_end_is_told_and_the_lowest_of_the_arms_that_are_equal(spine: Analysis) -> None:
    """An arm of half as many parameters more is the lowest of its series and not of equal size."""
    study = spine.study
    found = {one.name: one for one in series(spine)}
    for match, size in (("parameters", "params"), ("multiply-adds", "macs_fwd")):
        told = next(part for part in interior(spine)[2][:-1].split("; ") if f"nearest {match}" in part)
        one = found[f"nearest {match}"]
        separable, arms = study.rows(one.end), {g: study.rows(cell) for g, cell in one.arms.items()}
        error = {g: study.errors(cell) for g, cell in one.arms.items()}
        off = {g: 100 * (rows[size].iloc[0] / separable[size].iloc[0] - 1) for g, rows in arms.items()}
        equal = [g for g in arms if abs(off[g]) <= 10]
        assert len(equal) < len(arms)  # else nothing is left out
        lowest = min(equal, key=lambda g: error[g].mean())
        difference = (error[1] - error[max(error)]).mean()
        size_of = f"a whole convolution before the 1x1, {off[1]:+.0f} % of the size"
        assert f"one group (G = 1, {size_of}) is {difference + 0.0:+.2f} pp" in told
        assert f"(G = {', '.join(map(str, equal))})" in told
        assert f"that of G = {lowest}" in told or (lowest == max(arms) and "that of the separable end" in told)


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (("g2", "g4", "g8", "g16"), "with G = 2 ("),  # the regular end is still to be trained
        (("g1", "g2", "g4", "g8"), "with one group (G = 1, a whole convolution before the 1x1, "),
        (("g1_relu", "g2_relu", "g4_relu", "g8_relu", "separable_relu"), ""),  # not what the baseline is the end of
    ],
)
def test_an_unfinished_interior_says_what_is_there(tmp_path: Path, arms: tuple[str, ...], said: str) -> None:
    """Rows of some arms alone, as while a study runs."""
    decided = plan(Request("continuum", "smoke", ("separable", *arms)), data.load("digits"))
    store = Store(tmp_path)
    store.prepare(decided)
    for cell in decided.once:
        if cell.match == "width":
            finish(store, cell, decided)
    export(store)
    told = interior(Analysis(read_study(tmp_path)))
    assert (said in told[0]) if said else told == ()


def test_every_planned_name_has_rows_though_a_cell_is_trained_once(spine: Analysis) -> None:
    study = spine.study
    assert study.missing == ()
    assert len(study.rows_read) < len(study.trials)
    assert len(study.trials) == len(study.planned) * study.protocol.trials


def test_status_calls_a_cell_of_several_names_by_its_first(tmp_path: Path) -> None:
    """An arm of its own width may be the nearest in parameters or multiply-adds too, and is one cell."""
    decided = plan(Request("continuum", "smoke", ("separable",)), data.load("digits"))
    own = {cell.id for cell in decided.cells if cell.match == "width" and not cell.control}
    both = [cell.arm for cell in decided.cells if cell.match != "width" and cell.id in own]
    assert both  # else nothing is tried
    store = Store(tmp_path)
    store.prepare(decided)
    finish(store, decided.once[0], decided)
    lines = status_lines(store)
    for arm in both:
        assert any(line.split()[1:2] == [arm] and "(equal" not in line for line in lines), arm


def test_a_contrast_is_the_paired_difference_and_its_interaction_the_difference_of_two(spine: Analysis) -> None:
    study = spine.study
    wrong = {(row.arm, row.trial): row.test_wrong for row in study.trials[study.trials["match"] == "width"].itertuples()
             if not row.control_kind}  # fmt: skip
    change = [np.array([wrong[a, t] - wrong[b, t] for t in (0, 1)]) * 100 / study.n_test
              for a, b in (("g4_relu", "g4"), ("separable_relu", "separable"))]  # fmt: skip
    (found,) = (one for one in contrasts(study) if one.arms[0].arm == "g4_relu" and one.values == ("relu", "none"))
    assert list(found.d) == pytest.approx(list(change[0]))
    assert found.interaction is not None
    assert list(found.interaction) == pytest.approx(list(change[0] - change[1]))
    table = factors(spine)
    assert table is not None
    (row,) = (row for row in table.rows if row["arm"] == "g4_relu" and row["change"] == "relu less none")
    d = change[0] - change[1]
    half = stats.t.ppf(0.975, 1) * d.std(ddof=1) / np.sqrt(2)
    assert row["interaction_pp"] == pytest.approx(d.mean())
    assert row["interaction_t95"].lo == pytest.approx(d.mean() - half)


def test_every_factor_of_the_study_is_in_the_table(spine: Analysis) -> None:
    table = factors(spine)
    assert table is not None
    assert {row["factor"] for row in table.rows} == {"order", "residual", "activation", "kernel"}
    assert not any("super" in row["arm"] for row in table.rows)  # they differ in G, and their family has no end
    at_end = [row for row in table.rows if row["arm"] == "separable_relu"]
    assert {row["interaction_pp"] for row in at_end} == {"none"}


def test_the_continuum_table_counts_from_its_separable_end(spine: Analysis) -> None:
    table = continuum(spine)
    assert table is not None
    ends = [row for row in table.rows if row["diff_to_end_pp"] == "reference"]
    assert len(ends) == len(series(spine))
    first = next(row for row in table.rows if row["groups"] == 1)
    errors = {row["groups"]: row["test_error_mean_pct"] for row in table.rows if row["series"] == "width 8"}
    assert first["diff_to_end_pp"] == pytest.approx(errors[1] - errors[32])
    assert first["published_diff_pp"] == pytest.approx(4.33 - 4.93)


def test_f11_pairs_every_arm_with_the_separable_end_and_repeats_no_line(
    spine: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels: list[int] = []
    monkeypatch.setattr("dsresearch.report.style._METADATA", {"svg": {}})
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, sink, **_: (panels.append(len(figure.axes)), sink.write(b"<svg></svg>"))
    )
    plain = series(spine)[0]
    picture = draw_factors.continuum(spine)
    assert picture is not None
    rows = pd.read_csv(io.BytesIO(picture.files["f11_continuum.csv"]))
    first = rows[(rows["series"] == plain.name) & (rows["groups"] == 1)].iloc[0]
    d = spine.study.errors(plain.arms[1]) - spine.study.errors(plain.end)
    lo, hi = t_interval(d, 0.95)
    assert (first["diff_pp"], first["diff_t95_lo"], first["diff_t95_hi"]) == pytest.approx((d.mean(), lo, hi), abs=1e-5)
    none = [one for one in series(spine) if one.at.activation == "none"]
    monkeypatch.setattr(draw_factors, "series", lambda _: none)
    alone = draw_factors.continuum(spine)
    assert alone is not None
    assert panels == [3, 2]
    assert ("Middle" in picture.caption, "Middle" in alone.caption) == (True, False)


def test_where_twins_part_is_read_from_the_steps_that_were_compared(tmp_path: Path) -> None:
    """A distance that doubles every two steps from 1e-8, and one that stays at 0."""
    made = made_up(tmp_path / "twins", "twins")
    lines = ["study_id,control_kind,trial,step,relative_distance,param_norm"]
    for step in range(0, 60):
        lines += [f"twins-digits-smoke,bit,0,{step},{1e-8 * 2 ** (step / 2):.12e},1.0"]
        lines += [f"twins-digits-smoke,exact,0,{step},0.0,1.0"]
    (tmp_path / "twins" / "divergence.csv").write_text("\n".join(lines) + "\n")
    table = parting(made)
    assert table is not None
    bit, exact = table.rows
    assert bit["doubling_steps"] == pytest.approx(2.0)
    assert bit["steps_to_1e6"] == 14  # 2 ** 7 = 128 is the first power beyond a hundredfold
    assert exact["first_apart"] == exact["steps_to_1e1"] == "never"


@pytest.mark.parametrize(("start", "said"), [(1e-8, 1.0), (2e-2, "too few steps there")])
def test_a_distance_that_doubles_every_step_is_seen_at_the_steps_that_are_compared(
    tmp_path: Path, start: float, said: float | str
) -> None:
    """From step 60 on, where few steps are compared: it crosses the window between two of them, or begins above it."""
    made = made_up(tmp_path / "twins", "twins")
    lines = ["study_id,control_kind,trial,step,relative_distance,param_norm"]
    for step in steps_to_compare(400):
        distance = min(start * 2.0 ** max(step - 60, 0), 0.1)
        lines += [f"twins-digits-smoke,bit,0,{step},{distance:.12e},1.0"]
    (tmp_path / "twins" / "divergence.csv").write_text("\n".join(lines) + "\n")
    table = parting(made)
    assert table is not None
    found = table.rows[0]["doubling_steps"]
    assert found == (said if isinstance(said, str) else pytest.approx(said))
