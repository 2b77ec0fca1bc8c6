"""From hand-made trials.csv files with known answers to verdict.json and the exit status."""

import hashlib
import json

import numpy as np
import pytest
from study_builder import GAP, good_study, noise, sha, undrawn, write_predictions, write_study

from dsresearch.report import main
from dsresearch.report.evidence import Analysis, plain
from dsresearch.report.study import read_study

BASE, RERUN = ("separable", "", "width"), ("separable", "rerun", "width")
STRICT = {"a": "separable", "b": "separable_strict", "class": "exact", "max_rel_out_f64": 4e-16}
EXACTNESS = {"pairs": [STRICT, {"a": "hybrid", "b": "separable", "class": "distinct", "max_rel_out_f64": 0.3}]}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn and no design simulated."""
    monkeypatch.setattr("dsresearch.report.figures", undrawn)
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)


def record(folder) -> dict:
    """The content of verdict.json; nothing is written."""
    return plain(Analysis(read_study(folder)).record())


def distinct(row):
    """The hybrid as another function than the baseline, so that its equality would be evidence."""
    return {**row, "eq_class": "distinct"} if row["arm"] == "hybrid" else row


def changed(key, **values):
    """A change of every row of one cell."""
    return lambda row: {**row, **values} if (row["arm"], row["control_kind"], row["match"]) == key else distinct(row)


def test_supported_and_its_cap(tmp_path):
    assert record(write_study(tmp_path / "a", change=distinct))["verdict"] == "SUPPORTED"
    found = record(write_study(tmp_path / "b"))
    assert found["verdict"] == "CONSISTENT"
    assert found["readings"]["hybrid"]["class"] == "exact"


def test_the_measured_class_goes_before_the_column(tmp_path):
    study = write_study(tmp_path, exactness=EXACTNESS)
    assert record(study)["verdict"] == "SUPPORTED"
    exact = {**EXACTNESS["pairs"][1], "class": "exact", "max_rel_out_f64": 1e-15}
    write_study(tmp_path, change=distinct, exactness={"pairs": [EXACTNESS["pairs"][0], exact]})
    assert record(study)["verdict"] == "CONSISTENT"
    write_study(tmp_path, exactness={"pairs": EXACTNESS["pairs"][:1]})
    found = record(study)
    assert (found["verdict"], found["reasons"]) == (
        "INCOMPLETE",
        ["class of hybrid unknown: the exactness test was not run"],
    )


@pytest.mark.parametrize("what", ["params_sha256", "predictions_sha256", "test_wrong", "train_loss"])
def test_one_poisoned_rerun_makes_the_study_invalid(tmp_path, what, capsys):
    other = {"test_wrong": 1, "train_loss": 0.0101}.get(what, sha("poisoned"))

    def poison(row):
        return {**row, what: other} if (row["control_kind"], row["trial"]) == ("rerun", 4) else row

    write_study(tmp_path, change=poison)
    assert main(tmp_path) == 1
    found = json.loads((tmp_path / "verdict.json").read_text())
    assert found["verdict"] == "INVALID"
    assert found["gates"]["rerun_identical"] is False
    assert "differ in trials 4" in found["reasons"][0]
    printed = capsys.readouterr().out
    assert "verdict: INVALID for hybrid\n" in printed
    assert "- control rerun is not bit-identical" in printed
    line = next(line for line in printed.splitlines() if "`rerun`" in line)
    assert "| bit-identical in 9 of 10; NOT bit-identical: the study is INVALID" in line


def test_a_rerun_without_hashes_proves_nothing(tmp_path):
    found = record(write_study(tmp_path, change=changed(RERUN, params_sha256="")))
    assert (found["verdict"], found["gates"]["rerun_identical"]) == ("INVALID", False)


@pytest.mark.parametrize("column", ["jax", "jaxlib", "flax", "python", "device_count"])
def test_rerun_is_held_against_the_baseline_of_its_own_machine_and_versions(tmp_path, column):
    wrong = good_study()
    anew = [value + 9 for value in wrong[BASE]]  # another machine, other rounding
    wrong |= {RERUN: anew, ("separable", "rerun_baseline", "width"): anew}
    study = write_study(tmp_path, wrong, change=distinct)
    assert record(study)["verdict"] == "SUPPORTED"
    elsewhere = changed(("separable", "rerun_baseline", "width"), **{column: 9})
    found = record(write_study(tmp_path, wrong, change=lambda row: elsewhere(distinct(row))))
    assert (found["verdict"], found["gates"]["rerun_identical"]) == ("INCOMPLETE", None)
    assert f"no baseline of its environment ({column} differ) in trials 0-9" in found["reasons"][0]
    del wrong["separable", "rerun_baseline", "width"]
    write_study(tmp_path, wrong, change=distinct)
    assert record(study)["verdict"] == "INVALID"


def test_a_mixed_execution_mode_is_invalid_and_another_environment_is_said(tmp_path):
    resnext = ("resnext", "", "width")
    found = record(write_study(tmp_path / "a", change=changed(resnext, exec_mode="vmap", trial_batch=10)))
    assert (found["verdict"], found["gates"]["one_execution_mode"]) == ("INVALID", False)
    assert found["reasons"] == ["resnext: mixed exec_mode, trial_batch within the pairs of trials 0-9"]
    found = record(write_study(tmp_path / "b", change=changed(resnext, device_kind="gpu")))
    assert found["verdict"] == "SUPPORTED"
    assert found["notes"] == ["resnext: device_kind differ within the pairs of trials 0-9"]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ({"max_rel_grad_f64": 2e-10}, "relative difference 2.0e-10 in float64, more than 1e-10"),
        ({"max_rel_out_f64": float("nan")}, "relative difference nan"),
        ({"class": "reparam"}, "class reparam, not exact"),
        ({"passed": False}, "failed"),
    ],
    ids=["large", "nan", "class", "failed"],
)
def test_a_failed_exactness_test_is_invalid(tmp_path, pair, reason):
    exactness = {"pairs": [{**EXACTNESS["pairs"][0], **pair}]}
    found = record(write_study(tmp_path, exactness=exactness))
    assert (found["verdict"], found["gates"]["exactness_holds"]) == ("INVALID", False)
    assert any(reason in text for text in found["reasons"])


def test_an_exactness_test_of_other_arms_leaves_the_study_incomplete(tmp_path):
    """As where two arms of a study were run alone: nothing has failed."""
    found = record(write_study(tmp_path, exactness={"pairs": [{**EXACTNESS["pairs"][0], "b": "hybrid"}]}))
    assert found["verdict"] == "INCOMPLETE"
    assert any("not tested yet" in reason for reason in found["reasons"])


@pytest.mark.parametrize("key", [("separable", "seed", "width"), ("separable_strict", "exact", "width")])
def test_a_gated_control_outside_the_margin_is_invalid(tmp_path, key):
    wrong = good_study()
    study = write_study(tmp_path, {**wrong, key: [value + 60 for value in wrong[key]]}, change=distinct)
    found = record(study)
    assert (found["verdict"], found["gates"]["control_outside"]) == ("INVALID", True)
    assert main(study) == 1


@pytest.mark.parametrize(
    ("shift", "gate"),
    [
        ({"hybrid": 60}, "candidate_outside"),
        ({"hybrid": 24, "resnext": -62}, "rival_nearer"),
        ({"resnext": -55}, "rival_equivalent"),
    ],
)
def test_not_supported_in_each_of_its_ways(tmp_path, shift, gate):
    wrong = {key: [value + (shift.get(key[0], 0) if not key[1] else 0) for value in values]
             for key, values in good_study().items()}  # fmt: skip
    found = record(write_study(tmp_path, wrong, change=distinct))
    assert (found["verdict"], found["gates"][gate]) == ("NOT SUPPORTED", True)
    assert main(tmp_path) == 0


def test_undecided_where_the_noise_is_wider_than_the_margin(tmp_path):
    found = record(write_study(tmp_path, good_study(spread=60), change=distinct))
    assert found["verdict"] == "UNDECIDED"
    assert any("not inside ±0.25" in reason for reason in found["reasons"])


@pytest.mark.parametrize("key", list(good_study()), ids="-".join)
def test_every_cell_of_the_protocol_is_needed(tmp_path, key):
    wrong = good_study()
    plan = list(wrong)
    del wrong[key]
    found = record(write_study(tmp_path, wrong, plan=plan, change=distinct))
    assert (found["verdict"], found["gates"]["complete"]) == ("INCOMPLETE", False)
    name = f"control {key[1]}" if key[1] else key[0]
    assert f"missing {name}: run `dsresearch run hybrid --data cifar10 --profile confirm --out DIR`" in found["reasons"]


@pytest.mark.parametrize("key", [("resnext", "", "width"), ("separable", "bit", "width"), RERUN], ids="-".join)
def test_a_study_planned_without_a_rival_or_a_control_never_concludes(tmp_path, key):
    wrong = good_study()
    del wrong[key]
    found = record(write_study(tmp_path, wrong, change=distinct))
    name = f"control {key[1]}" if key[1] else f"rival {key[0]}"
    assert (found["verdict"], found["reasons"]) == ("INCOMPLETE", [f"{name} is not part of this study"])


def test_seven_trials_conclude_nothing(tmp_path):
    found = record(write_study(tmp_path, good_study(trials=7), change=distinct))
    assert (found["verdict"], found["reasons"]) == ("INCOMPLETE", ["7 trials, no verdict is formed below 8"])


def test_every_reading_of_the_hybrid_has_its_own_verdict(tmp_path, capsys):
    wrong = good_study()
    wrong["hybrid_residual", "", "width"] = [value + 60 for value in wrong[BASE]]
    wrong["hybrid_learned", "", "width"] = [a + b for a, b in zip(wrong[BASE], noise(10, 90, 3), strict=True)]
    write_study(tmp_path, wrong)
    main(tmp_path)
    readings = json.loads((tmp_path / "verdict.json").read_text())["readings"]
    assert {name: found["verdict"] for name, found in readings.items()} == {
        "hybrid": "CONSISTENT", "hybrid_residual": "NOT SUPPORTED", "hybrid_learned": "UNDECIDED",
    }  # fmt: skip
    printed = capsys.readouterr().out
    for text in ("CONSISTENT for hybrid", "NOT SUPPORTED for hybrid_residual", "UNDECIDED for hybrid_learned"):
        assert f"\nverdict: {text}\n" in printed
    told = " ".join(printed.split())
    assert "as far as the paper's: 45 % for this design (10 trials, 10000 test pictures)" in told
    assert "9 % for 10 trials, 6000 test pictures; 96 % for 20 trials, 10000 test pictures" in told


def test_capacity_is_cleared_by_both_matched_studies_of_the_same_verdict(tmp_path):
    wrong = good_study()
    arms = ["hybrid", *GAP]
    wrong |= {(arm, "", match): wrong[arm, "", "width"] for arm in arms for match in ("params", "macs")}
    study = write_study(tmp_path, wrong, change=distinct)
    assert "capacity-confounded" not in record(study)["readings"]["hybrid"]["qualifiers"]
    key = ("resnext", "", "macs")
    write_study(tmp_path, {**wrong, key: [value - 62 for value in wrong[key]]}, change=distinct)
    found = record(study)["readings"]["hybrid"]
    assert (found["verdict"], "capacity-confounded" in found["qualifiers"]) == ("SUPPORTED", True)
    del wrong["hybrid", "", "macs"]
    write_study(tmp_path, wrong, change=distinct)
    assert "capacity-confounded" in record(study)["readings"]["hybrid"]["qualifiers"]


def test_capacity_stays_confounded_where_a_matched_arm_is_not_of_equal_size(tmp_path):
    wrong = good_study()
    wrong |= {(arm, "", match): wrong[arm, "", "width"] for arm in ["hybrid", *GAP] for match in ("params", "macs")}
    wrong[("bsconv_u", "", "macs")] = wrong[BASE]  # exploratory: it stands outside what the rule asks
    of_resnext = "matched arms that are not of equal size: resnext +12.0 % (macs)"
    for arm, size, says in (("resnext", 1090, None), ("resnext", 1120, of_resnext), ("bsconv_u", 1120, None)):
        grown = changed((arm, "", "macs"), macs_fwd=size)
        study = write_study(
            tmp_path / f"{arm}{size}", wrong, change=lambda row, grown=grown: grown({**row, "macs_fwd": 1000})
        )
        assert record(study)["readings"]["hybrid"]["qualifiers"].get("capacity-confounded") == says


def test_what_was_asked_for_later_and_is_not_trained_is_named_and_decides_nothing(tmp_path):
    study = write_study(tmp_path, change=distinct)
    before = record(study)
    cell = {"arm": "inception", "setup": "inception", "role": "rival", "control": "", "match": "params"}
    (study / "cells.json").write_text(json.dumps({f"{at:016x}": {**cell, "first": at} for at in (0, 1)}))
    after = record(study)
    assert after["verdict"] == before["verdict"]
    (said,) = set(after["notes"]) - set(before["notes"])
    assert said.startswith(
        "asked for beyond the protocol and not all trained: inception (params matched): run `dsresearch"
    )
    assert "--match params" in said


def predictions(wrong, redrawn, n_test):
    """Predicted classes with the given errors; each cell errs on the baseline's pictures but for a redrawn share."""
    rng = np.random.default_rng(5)
    out = {}
    hard = rng.permutation(n_test)
    for key, counts in wrong.items():
        out[key] = []
        for count in counts:
            moved = round(redrawn.get((key[0], key[1]), 0) * count)
            at = np.r_[hard[: count - moved], rng.choice(hard[count:], moved, replace=False)]
            classes = np.zeros(n_test, int)
            classes[at] = 1
            out[key].append(classes.tolist())
    return out


def test_outcome_only_is_lifted_by_predictions_that_set_the_rivals_apart(tmp_path):
    n_test = 400
    wrong = {key: [value * n_test // 10_000 for value in values] for key, values in good_study(spread=60).items()}
    redrawn = {("separable", "seed"): 0.5, ("hybrid", ""): 0.45, **{(rival, ""): 0.9 for rival in GAP}}
    study = write_study(tmp_path, wrong, n_test=n_test, change=distinct)
    assert "outcome-only" in record(study)["readings"]["hybrid"]["qualifiers"]
    write_predictions(study, predictions(wrong, redrawn, n_test), [0] * n_test)
    assert "outcome-only" not in record(study)["readings"]["hybrid"]["qualifiers"]
    alike = {**redrawn, ("resnext", ""): 0.45}
    write_predictions(study, predictions(wrong, alike, n_test), [0] * n_test)
    assert "outcome-only" in record(study)["readings"]["hybrid"]["qualifiers"]


def test_qualifiers_of_a_small_study(tmp_path):
    study = write_study(tmp_path, good_study(), profile="quick", change=distinct)
    found = record(study)["readings"]["hybrid"]["qualifiers"]
    assert list(found) == ["underpowered", "capacity-confounded", "outcome-only", "profile"]
    assert found["profile"] == "quick: not a profile of the paper's 190 epochs"


def test_verdict_json_names_its_rule_its_inputs_and_its_numbers(tmp_path):
    study = write_study(tmp_path, exactness=EXACTNESS)
    main(study)
    text = (study / "verdict.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["rule_version"] == 1
    for name in ("protocol.toml", "trials.csv", "exactness.json"):
        assert found["inputs_sha256"][name] == hashlib.sha256((study / name).read_bytes()).hexdigest()
    assert found["inputs_sha256"]["predictions.parquet"] is None
    assert set(found["readings"]["hybrid"]["gates"]) == {
        "rerun_identical", "one_execution_mode", "exactness_holds", "complete", "control_outside", "candidate_outside",
        "rival_nearer", "rival_equivalent", "controls_equivalent", "candidate_equivalent", "rivals_farther",
    }  # fmt: skip
    arms = {(row["arm"], row["control_kind"]): row for row in found["comparisons"]}
    assert arms["resnext", ""]["p_sign_flip"] == 2 / 2**10
    assert arms["separable", "rerun"]["t95"] == [0.0, 0.0]
    assert found["planned"]["tost_power"] == pytest.approx(0.73, abs=0.005)
    assert found["planned"]["mde80_pp"] == pytest.approx(0.264, abs=0.001)
    assert found["commits"] == ["0123456789ab"]
