"""T2 to T10: numbers against outside oracles, and words where a study cannot give a number."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired
from study_builder import GAP, good_study, write_epochs, write_predictions, write_study

from dsresearch.design import InputError
from dsresearch.report import Analysis, read_study, tables
from dsresearch.report.mechanism import differences
from dsresearch.report.table4 import table4
from dsresearch.report.table_facts import PROMISES
from dsresearch.report.tables import to_csv, to_latex, to_markdown
from dsresearch.schema import DIVERGENCE_COLUMNS

BASE = ("separable", "", "width")
NAMES = [
    "table4", "verdict", "noise_floor", "similarity", "exactness", "cost", "fractal_dark", "claims", "power",
    "determinism",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few simulated studies: their number is not what these tests are about."""
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)
    monkeypatch.setattr("dsresearch.report.planning.PRINTED_STUDIES", 20)


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of one table as its CSV spells them; no cell of any spelling is blank or NaN."""
    made = {table.name: table for table in tables(Analysis(read_study(folder)))}
    assert list(made)[1:] == NAMES[1:]
    text = to_csv(made[name]).decode()
    assert "nan" not in text.lower().replace("nanosecond", "")
    out = list(csv.DictReader(io.StringIO(text)))
    assert all(cell.strip() for row in out for cell in row.values())
    assert r"\begin{tabular}" in to_latex(made[name])
    assert (
        len({line.replace(r"\|", "").count("|") for line in to_markdown(made[name]).splitlines() if line[:1] == "|"})
        == 1
    )
    return out


def by(rows: list[dict[str, str]], key: str) -> dict[str, dict[str, str]]:
    return {row[key]: row for row in rows}


def test_t2_tests_are_those_of_scipy_and_statsmodels(tmp_path: Path) -> None:
    wrong = good_study(spread=25)
    found = by(rows(write_study(tmp_path, wrong), "verdict"), "setup")
    base = np.array(wrong[BASE]) / 100
    for arm in ("hybrid", "resnext"):
        mine = np.array(wrong[arm, "", "width"]) / 100
        row = found[arm]
        interval = stats.ttest_rel(mine, base).confidence_interval(0.9)
        assert (float(row["t_tost_lo"]), float(row["t_tost_hi"])) == pytest.approx(tuple(interval), abs=1e-6)
        assert float(row["equivalence_bound_pp"]) == pytest.approx(max(map(abs, interval)), abs=1e-6)
        assert float(row["p_tost"]) == pytest.approx(ttost_paired(mine, base, -0.25, 0.25)[0], rel=1e-4)
        flips = stats.permutation_test((mine - base,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert float(row["p_signflip"]) == pytest.approx(flips.pvalue, rel=1e-4)
    d = {arm: np.array(wrong[arm, "", "width"]) / 100 - base for arm in ("hybrid", *GAP)}

    def p(values):
        return stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue

    expected = [max(p(d[rival] - d["hybrid"]), p(d[rival] + d["hybrid"])) for rival in GAP]
    assert [float(found[rival]["p_farther"]) for rival in GAP] == pytest.approx(expected, rel=1e-4)
    assert {found[rival]["relation"] for rival in GAP} == {"farther"}
    assert found["hybrid"]["p_farther"] == "not a rival"


def test_a_bootstrap_of_few_trials_is_not_printed(tmp_path: Path) -> None:
    """Its 95 % would cover half with two trials, and sign flips of them have two patterns."""
    for trials, given in ((7, False), (8, True)):
        study = write_study(tmp_path / str(trials), {key: values[:trials] for key, values in good_study().items()})
        found = by(rows(study, "table4"), "setup")["resnext"]
        for name in ("A_ci95_lo", "A_ci95_hi", "B_pctl_of_null"):
            assert (found[name] != "too few trials") == given, (name, trials)


def test_the_correction_for_resampled_splits_stands_where_splits_are_drawn(tmp_path: Path) -> None:
    drawn = by(rows(write_study(tmp_path / "drawn", good_study()), "verdict"), "setup")
    assert float(drawn["resnext"]["p_nadeau_bengio"]) < 1
    fixed = by(rows(write_study(tmp_path / "fixed", good_study(), protocol={"split": "standard"}), "verdict"), "setup")
    assert {row["p_nadeau_bengio"] for row in fixed.values()} == {"no split drawn"}


def test_t2_ends_with_the_verdict_and_the_chances(tmp_path: Path) -> None:
    table = next(t for t in tables(Analysis(read_study(write_study(tmp_path)))) if t.name == "verdict")
    verdict, chances = table.notes
    assert verdict == "Verdict: CONSISTENT for hybrid; qualified: underpowered, capacity-confounded, outcome-only."
    for said in ("for this design (10 trials, 10000", "10 trials, 6000 test", "20 trials, 10000 test", "achieved 1.00"):
        assert said in chances
    assert "Verdict: CONSISTENT for hybrid" in to_markdown(table)
    assert "Verdict: CONSISTENT for hybrid" in to_latex(table)


def small(folder: Path) -> Path:
    """Two trials on 100 pictures whose predictions are known: the hybrid errs on two other pictures, seed on four."""
    wrong = {BASE: [10, 10], ("separable", "seed", "width"): [10, 12], ("hybrid", "", "width"): [10, 10]}
    moved = {BASE: 0, ("separable", "seed", "width"): 4, ("hybrid", "", "width"): 2}
    predicted = {
        key: [[2 if moved[key] <= at < moved[key] + count else 0 for at in range(100)] for count in counts]
        for key, counts in wrong.items()
    }
    write_study(folder, wrong, n_test=100)
    write_predictions(folder, predicted, [0] * 100)
    return folder


def test_t3_and_t4_count_pictures(tmp_path: Path) -> None:
    study = small(tmp_path)
    floors = by(rows(study, "noise_floor"), "control")
    seed = floors["seed"]
    assert float(seed["mean_abs_diff_pp"]) == pytest.approx(1)
    assert float(seed["predicted_abs_diff_pp"]) == pytest.approx(100 * math.sqrt(0.1 / 100) * 0.798, abs=1e-3)
    assert float(seed["discordance_pct"]) == pytest.approx((8 + 10) / 2)
    assert float(seed["sd_run_pp"]) == pytest.approx(np.std([0, 2], ddof=1) / math.sqrt(2))
    assert floors["bit"]["discordance_pct"] == "not run"
    assert {floors[kind]["meaning"] for kind in ("split", "seed")} == {
        "the split: other training and test pictures",
        "initial weights and data order",
    }
    similar = by(rows(study, "similarity"), "setup")
    hybrid = similar["hybrid"]
    assert float(hybrid["discordance_pct"]) == pytest.approx(4)
    assert float(hybrid["excess_vs_seed_pct"]) == pytest.approx(((4 - 8) + (4 - 10)) / 2)
    interval = stats.ttest_1samp([-4, -6], 0).confidence_interval(0.95)
    assert float(hybrid["excess_ci95_lo"]) == pytest.approx(interval.low, abs=1e-5)
    noninferior = stats.ttest_1samp([1.05 * 8 - 4, 1.05 * 10 - 4], 0, alternative="greater").pvalue
    assert float(hybrid["p_noninf"]) == pytest.approx(noninferior, rel=1e-4)
    kappa = (0.96 - (0.9 * 0.9 + 0.1 * 0.1)) / (1 - (0.9 * 0.9 + 0.1 * 0.1))
    assert float(hybrid["kappa_error_consistency"]) == pytest.approx(kappa, abs=1e-6)
    assert hybrid["js_divergence_nats"] == "softmax not kept"
    assert similar["control seed"]["excess_vs_seed_pct"] == "reference"


def test_t3_predicts_noise_on_the_same_pictures_alone(tmp_path: Path) -> None:
    wrong = good_study() | {("separable", "split", "width"): [600, 640] * 5}
    floors = by(rows(write_study(tmp_path, wrong), "noise_floor"), "control")
    assert floors["split"]["predicted_abs_diff_pp"] == "other pictures"
    assert float(floors["seed"]["predicted_abs_diff_pp"]) > 0


def test_t4_leaves_out_trials_of_which_kappa_says_nothing(tmp_path: Path) -> None:
    """In the first trial both models get every picture right."""
    wrong = {BASE: [0, 10], ("separable", "seed", "width"): [0, 12], ("hybrid", "", "width"): [0, 10]}
    write_study(tmp_path, wrong, n_test=100)
    predicted = {key: [[2] * count + [0] * (100 - count) for count in counts] for key, counts in wrong.items()}
    write_predictions(tmp_path, predicted, [0] * 100)
    assert float(by(rows(tmp_path, "similarity"), "setup")["hybrid"]["kappa_error_consistency"]) == pytest.approx(1)


def test_differences_without_variance_show_no_equality(tmp_path: Path) -> None:
    wrong = good_study() | {("resnext", "", "width"): good_study()[BASE]}
    study = write_study(tmp_path, wrong)
    found = by(rows(study, "verdict"), "setup")
    assert (found["resnext"]["relation"], found["rerun"]["relation"]) == ("undecided", "equivalent")


def test_t1_says_which_pairs_are_of_two_machines(tmp_path: Path) -> None:
    study = write_study(tmp_path, change=lambda row: row | ({"device_kind": "gpu"} if row["arm"] == "resnext" else {}))
    found = by(rows(study, "table4"), "setup")
    assert found["resnext"]["note"] == "another device_kind than the baseline's"
    assert "baseline's" not in found["inception"]["note"]


def test_t1_draws_trials_and_pictures_where_predictions_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hybrid errs on the same pictures in both trials, so that only pictures vary: scipy's one-way bootstrap."""
    study = small(tmp_path)
    assert by(rows(study, "table4"), "setup")["hybrid"]["mean_diff_two_way95_lo"] == "too few trials"
    monkeypatch.setitem(table4.__globals__, "FEWEST_TO_RESAMPLE", 2)
    found = by(rows(study, "table4"), "setup")
    on_pictures = np.r_[np.full(2, -100.0), np.full(2, 100.0), np.zeros(96)]
    expected = stats.bootstrap((on_pictures,), np.mean, method="percentile", rng=np.random.default_rng(0))
    bounds = [float(found["hybrid"][f"mean_diff_two_way95_{side}"]) for side in ("lo", "hi")]
    assert bounds == pytest.approx(tuple(expected.confidence_interval), abs=1.01)  # multiples of one picture of 100
    lo, hi = (float(found["seed"][f"mean_diff_two_way95_{side}"]) for side in ("lo", "hi"))
    assert lo < 0 < 1 < hi, "four pictures lost, four and six gained"
    assert found["separable"]["mean_diff_two_way95_lo"] == "reference"
    write_predictions(
        study, {BASE: [[2] * 10 + [0] * 90] * 2, ("hybrid", "", "width"): [[2] * 10 + [0] * 90]}, [0] * 100
    )
    less = by(rows(study, "table4"), "setup")
    assert less["hybrid"]["mean_diff_two_way95_lo"] == "predictions missing"
    (study / "predictions.parquet").unlink()
    assert by(rows(study, "table4"), "setup")["hybrid"]["mean_diff_two_way95_hi"] == "no predictions"


def test_differences_on_pictures_average_to_the_differences_of_the_trials() -> None:
    """On the committed digits, where every trial draws its own test pictures from 1,797."""
    analysis = Analysis(read_study(Path(__file__).parents[1] / "results" / "hybrid-digits-quick"))
    study, kept = analysis.study, analysis.kept
    for cell, of in analysis.pairs.items():
        found = differences(study, cell, list(of["trial"]), kept)
        if cell.control_kind == "split":
            assert not found.size, "the two models of a pair stand on different pictures"
            continue
        assert found.shape[0] == len(of) < found.shape[1]
        assert set((~np.isnan(found)).sum(axis=1)) == {study.n_test}
        assert np.nanmean(found, axis=1) == pytest.approx(of["d_pp"].to_numpy(), abs=1e-9)
    assert (
        by([dict(row) for row in tables(analysis)[0].rows], "setup")["split"]["mean_diff_two_way95"] == "other pictures"
    )


def test_without_predictions_and_with_one_trial_words_stand_in_the_cells(tmp_path: Path) -> None:
    study = write_study(tmp_path, {key: values[:1] for key, values in good_study().items()})
    assert {row["discordance_pct"] for row in rows(study, "similarity")} == {"no predictions"}
    assert by(rows(study, "verdict"), "setup")["resnext"]["p_tost"] == "one trial"
    assert by(rows(study, "noise_floor"), "control")["seed"]["sd_run_pp"] == "one trial"
    assert by(rows(study, "cost"), "setup")["hybrid"]["test_error_sd_pp"] == "one trial"
    for name in NAMES[4:]:
        assert rows(study, name)


def test_t5_tells_every_pair_and_what_was_not_run(tmp_path: Path) -> None:
    pairs = [
        {"a": "separable", "b": "resnext", "class": "distinct", "passed": True, "params_equal": False},
        {"a": "separable", "b": "separable_strict", "class": "exact", "max_rel_out_f64": 4e-16, "params_equal": True,
         "passed": True},
    ]  # fmt: skip
    found = rows(write_study(tmp_path, exactness={"pairs": pairs}), "exactness")
    assert [row["pair"] for row in found] == ["separable / resnext", "separable = separable_strict"]
    assert (found[0]["max_rel_out_f64"], found[0]["steps_until_divergence"]) == ("no map", "no map")
    assert (found[1]["max_rel_out_f64"], found[1]["steps_until_divergence"]) == ("4e-16", "not run")
    lines = [f"made-up,{kind},{trial},{step},{far},1.0" for kind, trial, step, far in
             [("exact", 0, 1, 1e-7), ("exact", 0, 50, 0.002), ("exact", 0, 90, 0.1), ("bit", 0, 2, 0.5)]]  # fmt: skip
    (tmp_path / "divergence.csv").write_text("\n".join([",".join(DIVERGENCE_COLUMNS), *lines]) + "\n")
    assert rows(tmp_path, "exactness")[1]["steps_until_divergence"] == "50"
    assert rows(write_study(tmp_path / "none"), "exactness")[0]["class"] == "not run"


def test_t6_and_the_caption_say_how_far_a_matched_arm_is_off(tmp_path: Path) -> None:
    wrong = good_study()
    wrong["resnext", "", "macs"] = wrong["resnext", "", "width"]
    study = write_study(tmp_path, wrong, change=lambda r: {**r, "macs_fwd": 970 if r["match"] == "macs" else 1000})
    found = {(row["setup"], row["match"]): row for row in rows(study, "cost")}
    assert float(found["resnext", "macs"]["deviation_pct"]) == pytest.approx(-3)
    assert found["resnext", "width"]["deviation_pct"] == "not matched"
    assert found["resnext", "width"]["train_s_per_epoch"] == "not recorded"
    first = tables(Analysis(read_study(study)))[0]
    assert "off the baseline by: resnext -3.0 % (macs)." in first.caption


def test_t7_is_filled_by_its_own_study_and_not_run_elsewhere(tmp_path: Path) -> None:
    other = rows(write_study(tmp_path / "a"), "fractal_dark")
    assert [float(row["paper_error_pct"]) for row in other] == [6.15, 7.61, 6.03, 11.9]
    assert {row["error_mean_pct"] for row in other} == {"not run"}
    plain = [1190, 1200, 1180, 1195, 1185, 1190, 1200, 1180]
    arms = {("darknet19", "", "width"): plain, ("darknet19_separable", "", "width"): [w - 590 for w in plain]}
    roles = {"darknet19": "baseline"}
    own = rows(write_study(tmp_path / "b", arms, study="darknet", roles=roles), "fractal_dark")
    assert own[0]["error_mean_pct"] == "not run"
    assert (float(own[2]["diff_pp"]), own[2]["agrees"]) == (pytest.approx(-5.9), "yes")
    assert float(own[3]["error_mean_pct"]) == pytest.approx(11.9)
    worse = {("darknet19", "", "width"): plain, ("darknet19_separable", "", "width"): [w + 300 for w in plain]}
    own = rows(write_study(tmp_path / "c", worse, study="darknet", roles=roles), "fractal_dark")
    assert own[2]["agrees"] == "no"


def test_t7_decides_on_the_papers_schedule_alone_and_of_its_own_networks(tmp_path: Path) -> None:
    plain = [1190, 1200, 1180, 1195, 1185, 1190, 1200, 1180]
    names = ("darknet19", "darknet19_separable", "quicknet_dense", "quicknet_separable")
    arms = {(name, "", "width"): [w - 590 * ("sep" in name) for w in plain] for name in names}
    for profile, decided in (("cpu", "not decided"), ("confirm", "yes")):
        study = write_study(tmp_path / profile, arms, study="darknet", roles={"darknet19": "baseline"}, profile=profile)
        dark, quick = rows(study, "fractal_dark")[2::2]
        assert (dark["agrees"], float(dark["paper_error_pct"])) == (decided, 6.03)
        assert (quick["agrees"], quick["paper_error_pct"], quick["paper_statement"]) == ("none", "none", "none")
        assert float(quick["diff_pp"]) == pytest.approx(-5.9)


def test_t8_decides_only_on_the_papers_pictures_and_schedule(tmp_path: Path) -> None:
    found = by(rows(write_study(tmp_path / "a"), "claims"), "claim_id")
    assert {row["status"] for row in found.values()} == {"reproduced"}
    assert found["fig4-nearest"]["caveat"] == "equal by construction"
    noisy = by(rows(write_study(tmp_path / "b", good_study(spread=60)), "claims"), "claim_id")
    assert noisy["fig4-hybrid"]["status"] == "undecided"
    digits = by(rows(write_study(tmp_path / "c", dataset="digits"), "claims"), "claim_id")
    assert {row["status"] for row in digits.values()} == {"not run"}
    for row in (found["fig4-resnext"], found["fig4-hybrid"]):  # of B, without the sign
        assert 0 <= float(row["ours_t95_lo"]) <= float(row["ours"]) <= float(row["ours_t95_hi"])
    assert digits["fig4-resnext"]["caveat"] == "other pictures than the paper's; shown here: a difference"
    schedule = by(rows(write_study(tmp_path / "d", profile="full"), "claims"), "claim_id")
    assert schedule["fig4-hybrid"]["caveat"] == "not the paper's schedule; shown here: equality within the margin"


def test_t9_plans_as_the_reference_does(tmp_path: Path) -> None:
    found = {(row["n_test"], row["trials"]): row for row in rows(write_study(tmp_path), "power")}
    for (n_test, trials), effect in {("6000", "10"): 0.34, ("6000", "20"): 0.23, ("10000", "10"): 0.26}.items():
        assert float(found[n_test, trials]["mde80_pp"]) == pytest.approx(effect, abs=0.006)  # statsmodels' TTestPower
    assert float(found["6000", "10"]["tost80_margin_pp"]) == pytest.approx(0.345, abs=0.01)
    assert found["6000", "10"]["compute_hours"] == "other data"
    assert found["10000", "10"]["compute_hours"] == "not recorded"


def test_t10_shows_the_rerun_and_reads_what_others_wrote(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    found = by(rows(study, "determinism"), "invariance")
    assert list(found) == list(PROMISES)
    assert found["rerun in a fresh process"]["passed"] == "pass"
    assert found["number of workers"]["passed"] == "not run"
    head = "invariance,passed,sha256,device\n"
    (study / "determinism.csv").write_text(head + f"number of workers,false,{'a' * 64},cpu\n")
    row = by(rows(study, "determinism"), "invariance")["number of workers"]
    assert (row["passed"], row["sha256"], row["device"]) == ("FAIL", "a" * 12, "cpu")
    for line, message in {
        "number of wrokers,true,,": "line 2: column invariance: 'number of wrokers' is not allowed",
        "number of workers,yes,,": "line 2: column passed: 'yes' is not allowed: true or false",
    }.items():
        (study / "determinism.csv").write_text(head + line + "\n")
        with pytest.raises(InputError, match=message):
            rows(study, "determinism")


def test_a_grid_without_a_hybrid_has_all_its_tables(tmp_path: Path) -> None:
    wrong = {BASE: [700, 710, 705], ("grouped:groups=2", "", "width"): [690, 700, 720]}
    write_epochs(write_study(tmp_path, wrong), wrong)
    for name in NAMES[1:]:
        assert rows(tmp_path, name)
    assert {row["ours"] for row in rows(tmp_path, "claims")} == {"not run", "NOT APPLICABLE"}


def test_an_attempt_that_trained_nothing_has_no_speed(tmp_path: Path) -> None:
    """Killed after its last epoch, a cell is only recorded by its next attempt; older ones said 0 images a second."""
    study = write_study(tmp_path)
    lines = list(csv.DictReader((study / "runs.csv").read_text(encoding="utf-8").splitlines()))
    with (study / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**line, "images_per_s": "0.0"} for line in lines)
    assert {row["images_per_s"] for row in rows(study, "cost")} == {"not recorded"}
    assert "not recorded" in {row["compute_hours"] for row in rows(study, "power")}
