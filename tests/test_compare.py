"""Any two arms of any studies: paired where the pairs are real, refused with the reason where they are not."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from study_builder import good_study, write_study

from dsresearch.cli import main
from dsresearch.compare import _relation, against, compare, pairs, read
from dsresearch.design import InputError
from dsresearch.report.evidence import Analysis
from dsresearch.report.study import read_study

ROOT = Path(__file__).parents[1]
HYBRID, RESNEXT, BASE = (("hybrid", "", "width"), ("resnext", "", "width"), ("separable", "", "width"))


def changed(**values: Any) -> Any:
    """An edit of a study's rows."""
    return lambda row: {**row, **values}


def dsresearch(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dsresearch", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_reading_gives_one_row_a_trained_model_with_its_error(tmp_path: Path) -> None:
    wrong = good_study()
    rows = read(write_study(tmp_path / "one", wrong))
    assert len(rows) == sum(map(len, wrong.values()))
    assert list(rows[rows["key"] == "hybrid"]["error_pct"]) == [n / 100 for n in wrong[HYBRID]]
    assert set(rows["key"]) == {kind or arm for arm, kind, _ in wrong}
    assert set(rows["folder"]) == {"one"}


def test_against_the_studys_own_baseline_the_numbers_are_the_reports(tmp_path: Path) -> None:
    study = write_study(tmp_path / "one")
    rows, analysis = read(study), Analysis(read_study(study))
    for cell, found in analysis.comparisons.items():
        if cell.control_kind != "split":  # that control draws its own pictures
            assert compare(rows, cell.control_kind or cell.arm, "separable") == found


def test_two_arms_that_are_no_baseline_are_compared_as_scipy_does(tmp_path: Path) -> None:
    wrong = good_study()
    found = compare(read(write_study(tmp_path, wrong)), "resnext", "hybrid")
    d = (np.array(wrong[RESNEXT]) - np.array(wrong[HYBRID])) / 100
    assert found.a == pytest.approx(np.abs(d).mean())
    assert found.mean == pytest.approx(d.mean())
    assert found.t95 == pytest.approx(tuple(stats.ttest_1samp(d, 0).confidence_interval()))
    exact = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.p_sign_flip == pytest.approx(exact.pvalue)


def test_arms_of_two_studies_are_paired_by_trial(tmp_path: Path) -> None:
    wrong = good_study()
    one, two = write_study(tmp_path / "a", {BASE: wrong[BASE]}), write_study(tmp_path / "b", wrong, study="other")
    rows = read(one, two)
    both = pairs(rows, "resnext", "a/separable")
    assert list(both["d_pp"]) == pytest.approx(
        [(r - b) / 100 for r, b in zip(wrong[RESNEXT], wrong[BASE], strict=True)]
    )
    same = compare(rows, "b/separable", "a/separable")
    assert (same.a, same.sd, same.p_tost) == (0.0, 0.0, 0.0)
    assert against(rows, "a/separable").set_index("arm").loc["b/separable", "relation"] == "bit-identical"


def test_only_common_trials_are_pairs_and_the_others_are_named(tmp_path: Path) -> None:
    wrong = good_study()
    less = {**wrong, HYBRID: wrong[HYBRID][:7]}
    found = against(read(write_study(tmp_path, less, trials=10)), "separable").set_index("key")
    assert found.loc["hybrid", "pairs"] == 7
    assert "no pair in trials 7-9" in found.loc["hybrid", "note"]
    assert found.loc["resnext", "pairs"] == 10


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("data_sha256", "0" * 64, "other pictures"),
        ("split_sha256", "0" * 64, "other split"),
        ("split_protocol", "test10k_sub6k", "other split"),
        ("exec_mode", "vmap", "other execution mode"),
        ("trial_batch", 5, "other execution mode"),
        ("jax", "0.0.1", "other environment"),
        ("jaxlib", "0.0.1", "other environment"),
        ("python", "3.9.0", "other environment"),
        ("kernels", "native", "other environment"),
        ("device_kind", "NVIDIA H200", "other environment"),
    ],
)
def test_what_is_no_pair_is_refused_and_says_why(tmp_path: Path, column: str, value: Any, reason: str) -> None:
    rows = read(write_study(tmp_path / "a"), write_study(tmp_path / "b", change=changed(**{column: value})))
    with pytest.raises(InputError, match=rf"^'b/hybrid' cannot be paired with baseline='a/separable': {reason}"):
        compare(rows, "b/hybrid", "a/separable")
    assert compare(rows, "b/resnext", "b/hybrid").trials == 10  # among themselves they are pairs


@pytest.mark.parametrize(("name", "value"), [("seed", 7), ("margin", 0.5), ("alpha", 0.01)])
def test_another_protocol_is_refused(tmp_path: Path, name: str, value: float) -> None:
    rows = read(write_study(tmp_path / "a"), write_study(tmp_path / "b", protocol={name: value}))
    with pytest.raises(InputError, match="other protocol in trials 0-9"):
        compare(rows, "b/hybrid", "a/separable")


def test_another_recipe_is_compared_and_said(tmp_path: Path) -> None:
    one, two = write_study(tmp_path / "a"), write_study(tmp_path / "b", change=changed(epochs=60, dtype="bfloat16"))
    found = against(read(one, two), "a/separable").set_index("arm")
    assert "epochs 60, the baseline's 1" in found.loc["b/hybrid", "note"]
    assert "dtype bfloat16" in found.loc["b/hybrid", "note"]
    assert "settings" not in found.loc["a/hybrid", "note"]


def test_rows_from_before_a_setting_were_trained_as_its_default_says(tmp_path: Path) -> None:
    usual = changed(fall=1.0, every=1, smoothing=0.0, polyak=0.0)
    older = changed(fall=None, every=None, smoothing=None, polyak=None)
    old, new = write_study(tmp_path / "a", change=older), write_study(tmp_path / "b", change=usual)
    found = against(read(new, old), "b/separable").set_index("arm")
    assert "settings" not in found.loc["a/hybrid", "note"]
    averaged = write_study(tmp_path / "c", change=changed(fall=None, every=None, polyak=0.99))
    found = against(read(averaged, new), "b/separable").set_index("arm")
    assert "polyak 0.99, the baseline's 0.0" in found.loc["c/hybrid", "note"]
    assert "every" not in found.loc["c/hybrid", "note"]


def test_no_folder_is_refused() -> None:
    with pytest.raises(InputError, match="DIR is missing"):
        read()


def test_arms_of_one_setup_say_in_which_factor_they_differ(tmp_path: Path) -> None:
    one, two = write_study(tmp_path / "a"), write_study(tmp_path / "b", change=changed(activation="relu"))
    found = against(read(one, two), "a/separable").set_index("arm")
    assert "activation relu, the baseline's none" in found.loc["b/separable", "note"]
    assert "activation" not in found.loc["b/hybrid", "note"], "another setup is another design anyhow"


def test_holm_is_over_the_arms_with_predictions_of_their_own(tmp_path: Path) -> None:
    found = against(read(write_study(tmp_path)), "separable")
    own = found["bit_identical"] == found["pairs"]  # nothing is there to test
    assert set(found[own & (found["pairs"] > 0)]["key"]) == {"rerun"}
    assert set(found[own & (found["pairs"] > 0)]["p_holm"]) == {1.0}
    compared = found[(found["pairs"] > 0) & ~own]
    expected = multipletests(compared["p_sign_flip"], method="holm")[1]
    assert list(compared["p_holm"]) == pytest.approx(list(expected))
    relation = dict(zip(found["key"], found["relation"], strict=True))
    assert relation["hybrid"] == "equivalent"
    assert relation["inception"] == "different"
    assert relation["split"] == "no pairs"


def test_the_rivals_of_a_study_are_a_family_of_their_own(tmp_path: Path) -> None:
    wrong = good_study(spread=60)
    wrong |= {(arm, "", "params"): wrong[arm, "", "width"][::-1] for arm in ("inception", "resnext")}
    found = against(read(write_study(tmp_path, wrong)), "separable").set_index("key")
    families = [["inception", "resnext", "inception_reformulated"], ["inception@params", "resnext@params"]]
    for family in families:
        expected = multipletests(found.loc[family, "p_sign_flip"], method="holm")[1]
        assert list(found.loc[family, "p_holm_rivals"]) == pytest.approx(list(expected))
    others = found.index.difference([name for family in families for name in family])
    assert found.loc[others, "p_holm_rivals"].isna().all()
    assert (found.loc[families[0], "p_holm_rivals"] <= found.loc[families[0], "p_holm"]).all()


def test_the_same_predictions_in_two_studies_are_one_test(tmp_path: Path) -> None:
    one, two = write_study(tmp_path / "a"), write_study(tmp_path / "b", study="other")
    alone = against(read(one), "separable").set_index("arm")["p_holm"]
    both = against(read(one, two), "a/separable").set_index("arm")["p_holm"]
    pd.testing.assert_series_equal(both.filter(like="a/").rename(lambda name: name[2:]), alone, check_names=False)
    assert both["b/inception"] == both["a/inception"]


def test_an_arm_under_two_names_is_one_test(tmp_path: Path) -> None:
    rows = read(write_study(tmp_path))
    alone = against(rows, "separable").set_index("key")["p_holm"]
    twin = rows[rows["key"] == "inception"].assign(key="inception@params", match="params")
    both = against(pd.concat([rows, twin], ignore_index=True), "separable").set_index("key")["p_holm"]
    assert both["inception@params"] == both["inception"]
    pd.testing.assert_series_equal(both[alone.index], alone)


def test_the_command_writes_a_table_without_jax(tmp_path: Path) -> None:
    study = write_study(tmp_path / "one")
    (tmp_path / "jax.py").write_text("raise ImportError('compare may not import jax')")
    words = ("compare", study, "--baseline", "separable", "--to", tmp_path / "out")
    done = dsresearch(*words, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in (tmp_path / "out" / "tables").iterdir()}
    assert set(written) == {"compare.csv", "compare.md", "compare.tex"}
    assert written["compare.md"] == done.stdout
    table = {row["arm"]: row for row in csv.DictReader(io.StringIO(written["compare.csv"]))}
    assert float(table["inception"]["mean"]) == pytest.approx(compare(read(study), "inception", "separable").mean)
    assert table["split"]["mean"] == "no pairs"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{a}", "--baseline", "separble"), "did you mean 'separable'"),
        (("{a}", "{b}", "--baseline", "separable"), "allowed: a/separable, b/separable"),
        (("{a}", "{b}", "--baseline", "a/separable"), "DIR='b' cannot be compared with baseline='a/separable': other"),
        (("{a}/no", "--baseline", "separable"), "is not a study"),
        (("{c}", "--baseline", "separable"), "has no other arm"),
    ],
)
def test_a_wrong_word_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    folders = {name: tmp_path / name for name in "abc"}
    write_study(folders["a"])
    write_study(folders["b"], change=changed(split_sha256="0" * 64))
    write_study(folders["c"], {BASE: good_study()[BASE]})
    assert main(["compare", *(word.format(**folders) for word in words), "--to", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_comparison_needs_a_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(tmp_path)])
    assert "--baseline" in capsys.readouterr().err


def test_one_trial_has_no_interval_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path / "one", {BASE: [700], HYBRID: [710]})
    assert main(["compare", str(study), "--baseline", "separable"]) == 0
    printed = capsys.readouterr().out
    assert "one trial" in printed
    assert "inf" not in printed
    assert against(read(study), "separable")["mean"].iloc[0] == pytest.approx(0.1)


def test_two_equal_differences_are_no_equivalence() -> None:
    """Without variance a t test gives 0 or 1 whatever the number of trials."""
    row = pd.Series({"bit_identical": 0, "pairs": 2, "sd": 0.0, "p_holm": 1.0, "p_tost": 0.0})
    assert _relation(row, 0.05) == "undecided"
    assert _relation(pd.Series({**row, "sd": 0.1}), 0.05) == "equivalent"
