"""From hand-made study folders to Table 4, figures and files; what cannot be said is named."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from study_builder import good_study, noise, sha, undrawn, write_epochs, write_predictions, write_study

from dsresearch.design import InputError
from dsresearch.report import main
from dsresearch.report.draw_curves import profile_rows
from dsresearch.report.evidence import Analysis, plain
from dsresearch.report.study import read_study
from dsresearch.report.table4 import table4
from dsresearch.report.tables import injected, to_csv, to_markdown

HYBRID, SEED = ("hybrid", "", "width"), ("separable", "seed", "width")


@pytest.fixture(autouse=True)
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn and no design simulated but where a test asks for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("dsresearch.report.figures", undrawn)
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)


@pytest.fixture
def drawn() -> None:
    """Asks for the figures."""


def table(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of a study's table by setup, as its CSV spells them; nothing is written."""
    text = to_csv(table4(Analysis(read_study(folder)))).decode()
    assert "nan" not in text
    return {row["setup"]: row for row in csv.DictReader(io.StringIO(text))}


def record(folder: Path) -> dict:
    """The content of a study's verdict.json; nothing is written."""
    return plain(Analysis(read_study(folder)).record())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_table4_holds_the_papers_rows_in_its_order_then_the_controls_then_the_readings(tmp_path, capsys):
    wrong = {**good_study(), ("hybrid_residual", "", "width"): [650] * 10, ("bsconv_u", "", "width"): [640] * 10}
    write_study(tmp_path, wrong)
    assert main(tmp_path) == 0
    rows = table(tmp_path)
    paper = {"separable": 0, "inception": 0.83, "resnext": 0.62, "inception_reformulated": 0.71,
             "separable_strict": 0.08, "hybrid": 0.12}  # fmt: skip
    assert list(rows) == [*paper, "rerun", "bit", "exact", "seed", "split", "hybrid_residual", "bsconv_u"]
    assert {name: float(rows[name]["paper_abs_diff_pp"]) for name in paper} == paper
    assert [row["part"] for row in rows.values()] == ["paper"] * 6 + ["control"] * 5 + ["reading", "exploratory"]
    printed = capsys.readouterr().out
    assert printed.count("\nverdict: ") == 2, "two readings, two words"
    assert to_markdown(table4(Analysis(read_study(tmp_path))), full=False) in printed
    tabular = [line for line in printed.splitlines() if line.startswith("| ")]
    assert max(map(len, tabular)) < 150, "narrow enough for a terminal"
    assert max(len(line) for line in printed.split("\nverdict: ", 1)[1].split("written to")[0].splitlines()) <= 110


def test_numbers_of_a_row_are_those_of_scipy_and_numpy(tmp_path):
    wrong = good_study(spread=25)
    write_study(tmp_path, wrong)
    for arm in ("hybrid", "resnext", "separable_strict"):
        row = table(tmp_path)[arm]
        base, mine, seed = (np.array(wrong[key]) for key in (("separable", "", "width"), (arm, "", "width"), SEED))
        d, floor = (mine - base) / 100, (seed - base) / 100
        interval = stats.ttest_rel(mine / 100, base / 100).confidence_interval(0.95)
        expected = {
            "A_mean_abs_diff_pp": np.abs(d).mean(),
            "B_abs_mean_diff_pp": abs(d.mean()),
            "mean_diff_pp": d.mean(),
            "mean_diff_t95_lo": interval.low,
            "mean_diff_t95_hi": interval.high,
            "sd_diff_pp": d.std(ddof=1),
            "A_over_floor": np.abs(d).mean() / np.abs(floor).mean(),
            "test_error_mean_pct": mine.mean() / 100,
            "test_error_sd_pp": (mine / 100).std(ddof=1),
            "n_trials": 10,
        }
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, abs=1e-6), (arm, name)
        bca = stats.bootstrap((np.abs(d),), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
        assert (float(row["A_ci95_lo"]), float(row["A_ci95_hi"])) == pytest.approx(tuple(bca), abs=0.03)


def test_the_three_spellings_show_the_same_rows(tmp_path):
    write_study(tmp_path, good_study())
    main(tmp_path)
    markdown, latex = ((tmp_path / "tables" / f"table4.{kind}").read_text() for kind in ("md", "tex"))
    for name, row in table(tmp_path).items():
        error = f"{float(row['test_error_mean_pct']):.2f}"
        assert any(f"`{name}`" in line and error in line for line in markdown.splitlines())
        escaped = name.replace("_", r"\_")
        assert any(rf"\texttt{{{escaped}}}" in line and error in line for line in latex.splitlines())
    assert r"\toprule" in latex
    assert r"\label{tab:table4}" in latex
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in lines} == {10}, "every row of the tabular has its cells"


def test_captions_say_where_the_numbers_come_from(tmp_path):
    write_study(tmp_path, good_study(), profile="full")
    main(tmp_path)
    for kind, margin in (("md", "±0.25"), ("tex", r"\ensuremath{\pm}0.25")):
        text = (tmp_path / "tables" / f"table4.{kind}").read_text()
        told = f"Profile full; data cifar10; 10 trials; 10000 test pictures; margin {margin} pp; alpha 0.05; "
        assert told + "device cpu; execution sequential, 1 a program; commit of the runs 0123456789ab." in text


def test_commits_of_a_changed_checkout_and_of_none_are_told(tmp_path):
    study = write_study(tmp_path, dirty=True)
    assert read_study(study).caption().endswith("commit of the runs 0123456789ab with local changes.")
    (study / "runs.csv").unlink()
    assert read_study(study).caption().endswith("commit of the runs not recorded.")


def test_a_missing_cell_is_named_with_its_command_and_never_blank(tmp_path, capsys):
    wrong = good_study()
    plan = [*wrong, ("hybrid_learned", "", "width")]
    del wrong[("resnext", "", "width")], wrong[("separable", "bit", "width")]
    write_study(tmp_path, wrong, plan=plan, change=lambda r: None if r["arm"] == "hybrid" and r["trial"] > 6 else r)
    assert main(tmp_path) == 0
    rows, command = table(tmp_path), "run `dsresearch run hybrid --data cifar10 --profile confirm --out DIR`"
    for name in ("resnext", "bit", "hybrid_learned"):
        assert rows[name]["note"] == f"missing: {command}"
        assert (rows[name]["n_trials"], rows[name]["mean_diff_pp"]) == ("0", "missing")
    assert rows["hybrid"]["note"] == f"missing trials 7-9: {command}"
    assert rows["hybrid"]["n_trials"] == "7"
    assert all(cell.strip() for row in rows.values() for cell in row.values()), "no cell is blank"
    markdown = (tmp_path / "tables" / "table4.md").read_text()
    assert not [line for line in markdown.splitlines() if "|  |" in line]
    assert "INCOMPLETE" in capsys.readouterr().out


def test_a_failed_model_is_missing_and_says_why(tmp_path):
    def fail(row):
        if (row["arm"], row["trial"]) != ("resnext", 3):
            return row
        empty = dict.fromkeys(("test_wrong", "train_wrong", "test_nll", "train_loss"))
        return {**row, **empty, "status": "failed", "error_msg": "out of\nmemory"}

    write_study(tmp_path, good_study(), change=fail)
    assert table(tmp_path)["resnext"]["n_trials"] == "9"
    missing = record(tmp_path)["missing"]
    assert missing == ["missing resnext trials 3 (failed: out of memory): run `dsresearch run hybrid --data cifar10 "
                       "--profile confirm --out DIR`"]  # fmt: skip


def test_a_diverged_model_counts_as_it_is(tmp_path):
    def diverge(row):
        last = row["arm"] == "inception" and row["trial"] == 0
        return {**row, "status": "diverged", "test_nll": None, "train_loss": None, "test_wrong": 9_000} if last else row

    wrong = good_study()
    write_study(tmp_path, wrong, change=diverge)
    row = table(tmp_path)["inception"]
    assert (row["n_trials"], row["note"]) == ("10", "1 diverged")
    assert float(row["test_error_mean_pct"]) == pytest.approx((sum(wrong["inception", "", "width"][1:]) + 9_000) / 1000)


def test_bit_identical_arms_say_so_instead_of_a_noise_figure(tmp_path):
    def identical(row):
        same = row["arm"] in ("separable_strict", "hybrid") and row["control_kind"] in ("", "exact")
        same |= row["arm"] == "separable" and row["control_kind"] in ("", "rerun")
        return {**row, "predictions_sha256": sha("the baseline's", row["trial"])} if same else row

    wrong = good_study()
    base = wrong["separable", "", "width"]
    wrong |= {("separable_strict", "exact", "width"): base, HYBRID: [*base[:-1], base[-1] + 1]}
    write_study(tmp_path, wrong, change=identical)
    rows = table(tmp_path)
    spreads = ("A_ci95_lo", "A_ci95_hi", "mean_diff_t95_lo", "sd_diff_pp", "A_over_floor", "B_pctl_of_null")
    for name in ("rerun", "exact"):
        assert {rows[name][field] for field in spreads} == {"bit-identical"}
        assert (rows[name]["A_mean_abs_diff_pp"], rows[name]["note"]) == ("0.000000", "bit-identical")
    assert rows["hybrid"]["note"] == "bit-identical in 9 of 10"


def test_equal_errors_of_unequal_models_are_no_bit_identity(tmp_path):
    wrong = good_study()
    write_study(tmp_path, {**wrong, HYBRID: wrong["separable", "", "width"]})
    row = table(tmp_path)["hybrid"]
    assert (row["note"], row["mean_diff_t95_lo"], row["sd_diff_pp"]) == ("no variance", "0.000000", "0.000000")


def test_one_trial_has_numbers_and_no_spread(tmp_path):
    write_study(tmp_path, {key: values[:1] for key, values in good_study().items()})
    row = table(tmp_path)["resnext"]
    assert float(row["mean_diff_pp"]) == pytest.approx(0.62, abs=0.3)
    assert {row[name] for name in ("A_ci95_lo", "mean_diff_t95_hi", "sd_diff_pp", "test_error_sd_pp")} == {"one trial"}
    assert "; 1 trial; 10000 test pictures;" in read_study(tmp_path).caption()
    assert "fewer" not in row["note"]
    assert record(tmp_path)["verdict"] == "INCOMPLETE"


def test_a_pair_without_its_baseline_is_not_a_pair(tmp_path):
    write_study(tmp_path, change=lambda r: None if r["role"] == "baseline" and not r["control_kind"]
                and r["trial"] == 2 else r)  # fmt: skip
    rows = table(tmp_path)
    assert rows["resnext"]["note"] == "9 pairs"
    assert "missing trials 2" in rows["separable"]["note"]


def test_a_fixed_split_has_no_split_control_and_says_so(tmp_path):
    wrong = good_study()
    del wrong["separable", "split", "width"]
    write_study(tmp_path, wrong, protocol={"split": "standard"})
    assert table(tmp_path)["split"]["note"] == "the protocol draws no split (standard)"
    assert record(tmp_path)["verdict"] == "CONSISTENT"


def test_a_study_without_a_hybrid_has_its_comparisons(tmp_path):
    wrong = {key: values for key, values in good_study().items() if key[0] in ("separable", "bsconv_u")}
    wrong["bsconv_u", "", "width"] = [680 + value for value in noise(10, 5, 1)]
    write_study(tmp_path, wrong, study="continuum")
    assert float(table(tmp_path)["bsconv_u"]["mean_diff_pp"]) == pytest.approx(-0.2)
    found = record(tmp_path)
    assert (found["verdict"], found["readings"]) == ("NOT APPLICABLE", {})


def test_arms_without_a_baseline_are_listed_with_their_errors(tmp_path):
    write_study(tmp_path, {("bsconv_u", "", "width"): [680, 690], ("grouped groups=4", "", "width"): [700, 700]})
    row = table(tmp_path)["grouped groups=4"]
    assert (row["test_error_mean_pct"], row["mean_diff_pp"]) == ("7.000000", "no baseline")


def test_matched_arms_pair_with_the_one_baseline_and_say_how_far_they_match(tmp_path):
    wrong = good_study()
    wrong["resnext", "", "params"] = [value + 5 for value in wrong["resnext", "", "width"]]
    write_study(tmp_path, wrong, change=lambda r: {**r, "params": 1030 if r["match"] == "params" else 1000})
    row = next(row for row in table4(Analysis(read_study(tmp_path))).rows if row["match"] == "params")
    assert (row["part"], row["note"]) == ("params matched", "params +3.0 % of the baseline's")
    assert float(row["mean_diff_pp"]) == pytest.approx(0.67)


def test_an_arm_of_a_grid_says_in_which_settings_it_is_not_the_baselines(tmp_path):
    wrong = good_study()
    wrong["grouped:width=32:groups=2", "", "width"] = [value + 5 for value in wrong["resnext", "", "width"]]
    write_study(tmp_path, wrong, change=lambda r: {**r, "width": 32 if r["arm"].startswith("grouped") else 16})
    notes = {row["setup"]: row["note"] for row in table4(Analysis(read_study(tmp_path))).rows}
    assert notes["grouped:width=32:groups=2"] == "other settings: width 32, the baseline's 16"
    assert notes["resnext"] == ""


def test_a_figure_that_is_not_drawn_any_more_leaves_the_folder_and_the_users_own_stays(tmp_path):
    write_study(tmp_path)
    (tmp_path / "figures").mkdir()
    for name in ("f2_forest.png", "f2_forest.csv", "f1_score.png"):
        (tmp_path / "figures" / name).write_bytes(b"of an earlier report, or the user's")
    main(tmp_path)
    assert [path.name for path in (tmp_path / "figures").glob("*.*g")] == ["f1_score.png"]
    assert not (tmp_path / "figures" / "f2_forest.csv").exists()


def test_a_network_under_several_names_is_one_row_where_people_read():
    """Inception nearest in parameters is Inception nearest in multiply-adds; the hybrid is of the baseline's size."""
    study = read_study(Path(__file__).parents[1] / "results" / "hybrid-digits-full")
    full = table4(Analysis(study))
    matched = [(row["setup"], row["match"]) for row in full.narrow().rows if row["match"] != "width"]
    assert matched == [
        ("inception", "params"),
        ("resnext", "params"),
        ("inception_reformulated", "params"),
        ("hybrid_learned", "params"),
        ("inception_reformulated", "macs"),
    ]
    assert "| macs matched   | `hybrid`" not in to_markdown(full, full=False)
    assert "| macs matched   | `hybrid`" in to_markdown(full)
    assert len(to_csv(full).splitlines()) == 1 + len(full.rows) == 1 + 13 + 14
    assert "one row here" in full.caption


def test_figures_hold_what_their_csv_says(tmp_path, drawn):
    wrong = good_study()
    write_epochs(write_study(tmp_path, wrong), wrong)
    main(tmp_path)
    with (tmp_path / "figures" / "f2_forest.csv").open(encoding="utf-8") as file:
        drawn = {row["name"]: row for row in csv.DictReader(file)}
    assert list(drawn)[:5] == ["control rerun", "control bit", "control exact", "control seed", "control split"]
    assert drawn["hybrid"]["mean_diff_pp"] == table(tmp_path)["hybrid"]["mean_diff_pp"]
    with (tmp_path / "figures" / "f5_profiles.csv").open(encoding="utf-8") as file:
        last = [row for row in csv.DictReader(file) if row["epoch"] == "5" and row["quantity"] == "test_error_pct"]
    medians = {row["name"]: float(row["median"]) for row in last}
    assert medians["resnext"] == pytest.approx(np.median(wrong["resnext", "", "width"]) / 100)
    for name in ("f2_forest", "f5_profiles"):
        assert (tmp_path / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


RUN = """
import sys
for name in ("jax", "flax", "optax", "sacred"):
    sys.modules[name] = None
from dsresearch.report import main
sys.exit(main(sys.argv[1], sys.argv[2]))
"""


def test_two_reports_have_the_same_bytes_and_neither_needs_jax(tmp_path):
    wrong = good_study()
    write_epochs(write_study(tmp_path / "study", wrong), wrong)
    before = files(tmp_path / "study")
    for out, hashes in (("one", "1"), ("two", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "SOURCE_DATE_EPOCH": hashes, "TZ": f"UTC-{hashes}"}
        done = subprocess.run([sys.executable, "-W", "error", "-c", RUN, tmp_path / "study", tmp_path / out],
                              env=environment, cwd=Path(__file__).parents[1], check=False)  # fmt: skip
        assert done.returncode == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    names = {Path(name).name for name in files(tmp_path / "one")}
    assert {"verdict.json", "report.html", "table4.csv", "determinism.tex", "f1_errors.pdf", "f10_margin.png"} <= names
    assert files(tmp_path / "study") == before, "--to leaves the study alone"
    assert not [name for name, data in files(tmp_path / "one").items() if str(tmp_path).encode() in data]


HOSTILE = [
    r"\input{/etc/passwd}",
    r"$\immediate\write18{ls}$ %&#_^~",
    "<script>alert(1)</script>",
    "a`b``c|d",
    "[x](javascript:alert(1)) *b* \\",
    "tab\tnew\nline\x1b[31m",
    "ünï 😀 $",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_does_no_harm(tmp_path, name, capsys):
    wrong = {**good_study(), (name, "", "width"): [700] * 10}
    study = write_study(tmp_path, wrong, dataset=name, change=lambda r: {**r, "device_kind": name})
    write_epochs(study, wrong)
    assert main(tmp_path) == 0
    latex = (tmp_path / "tables" / "table4.tex").read_text()
    for harmful in (r"\input", r"\immediate", r"\write", "<script", "\x1b"):
        assert harmful not in latex
    assert latex.isascii(), "pdfLaTeX prints it"
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}"), "braces balance"
    body = [line for line in latex.splitlines() if line.endswith(r" \\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {10}
    assert all(line.replace(r"\$", "").count("$") % 2 == 0 and "%" not in line.replace(r"\%", "") for line in body)
    markdown = (tmp_path / "tables" / "table4.md").read_text()
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {18}
    assert "\x1b" not in markdown + capsys.readouterr().out
    caption = markdown.split("\n\n")[-1]
    assert "<script" not in caption
    assert "](" not in caption.replace(r"\]", "")


def test_beside_another_study_every_row_is_shown_twice_and_differences_are_counted(tmp_path, capsys):
    wrong = good_study()
    here, there = write_study(tmp_path / "here", wrong), tmp_path / "there"
    other = {**wrong, HYBRID: [value + 3 for value in wrong[HYBRID]]}
    del other["resnext", "", "width"]
    write_study(there, other)
    before = files(there)
    main(here, beside=there)
    printed = capsys.readouterr().out
    assert "2 of 11 rows differ from the other study: resnext, hybrid" in printed
    line = next(line for line in printed.splitlines() if line.startswith("| `hybrid`") and line.endswith("differs |"))
    assert line.split("|")[2:4] == ["         7.00 ", "          7.03 "]
    assert any(line.startswith("| `resnext`") and " missing " in line for line in printed.splitlines())
    assert files(there) == before
    main(here, beside=here)
    assert "all 11 rows are the same to the bit, model by model" in capsys.readouterr().out


def test_beside_equal_errors_on_other_pictures_are_not_called_the_same(tmp_path, capsys):
    def other(row):
        return {**row, "predictions_sha256": "f" * 64} if row["arm"] == "hybrid" and row["trial"] == 1 else row

    alone = {key: values[:3] if key[0] == "resnext" else values for key, values in good_study().items()}
    here, there = write_study(tmp_path / "here", alone), write_study(tmp_path / "there", alone, change=other)
    main(here, beside=there)
    printed = capsys.readouterr().out
    assert "1 of 11 rows differ from the other study: hybrid" in printed
    assert any(line.startswith("| `hybrid`") and "equal errors" in line for line in printed.splitlines())


def test_the_studys_own_folder_by_another_path_keeps_its_manifest_true(tmp_path, monkeypatch):
    study = write_study(tmp_path / "study")
    main(study)
    write_study(study, good_study(spread=30))
    monkeypatch.chdir(tmp_path)
    main(Path("study"), to=study)
    manifest = json.loads((study / "manifest.json").read_text())
    assert manifest["verdict.json"]["sha256"] == hashlib.sha256((study / "verdict.json").read_bytes()).hexdigest()


def test_a_model_under_several_names_is_counted_once(tmp_path):
    study = write_study(tmp_path)
    analysis = Analysis(read_study(study))
    names = {("hybrid", "", "params"): ("hybrid", "", "width")}
    twice = dataclasses.replace(analysis.study, namesakes=names)
    assert len(twice.trials) == len(analysis.study.trials) + 10
    assert twice.models == analysis.study.models == Analysis(twice).record()["models"] == len(analysis.study.rows_read)


def test_bad_input_writes_nothing(tmp_path):
    study = write_study(tmp_path / "study")
    with pytest.raises(InputError, match=r"is not a study: no protocol\.toml"):
        main(tmp_path / "elsewhere", tmp_path / "out")
    with pytest.raises(InputError, match="is not a study"):
        main(study, tmp_path / "out", beside=tmp_path / "elsewhere")
    text = (study / "protocol.toml").read_text()
    for old, new, message in [
        ('study_id = "hybrid-cifar10-confirm"', 'study_id = "x"', r"column study_id: .* as in protocol\.toml"),
        ("trials = 10", "trials = 9", "column trial: 9 is not allowed: less than the 9 trials"),
        ("trials = 10", "trails = 10", "protocol.trails is not a key"),
        ('role = "rival"', 'role = "rivale"', "did you mean 'rival'"),
        ("[protocol]", "[protocol", "allowed: TOML"),
        ("schema_version = 1", "schema_version = 2", r"schema_version=2 is not allowed: 1"),
        ('study = "hybrid"', "study = 1", "study=1 is not allowed"),
        (
            "trials = 10",
            "trials = 10\nmargin = 0.5",
            "column protocol_sha256: .* not the one under which the rows were",
        ),
    ]:
        (study / "protocol.toml").write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=message) as error:
            main(study, tmp_path / "out")
        assert "\n" not in str(error.value)
    (study / "protocol.toml").write_text(text)
    (study / "exactness.json").write_text("{}")
    with pytest.raises(InputError, match=r"exactness\.json: pairs=None"):
        main(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in study.iterdir()) == [
        "exactness.json",
        "protocol.toml",
        "runs.csv",
        "trials.csv",
    ]


def test_a_pair_on_another_split_and_two_baselines_are_refused(tmp_path):
    def other_split(row):
        return {**row, "split_sha256": sha("other")} if (row["arm"], row["trial"]) == ("resnext", 4) else row

    with pytest.raises(
        InputError, match="split_sha256: resnext stands on other pictures than the baseline in trials 4"
    ):
        main(write_study(tmp_path / "split", change=other_split))
    roles = {"hybrid": "baseline", "separable": "baseline"}
    with pytest.raises(InputError, match="baselines hybrid, separable, allowed: one"):
        main(write_study(tmp_path / "two", roles=roles))


def test_predictions_that_contradict_the_rows_are_refused(tmp_path):
    labels = [0] * 100
    wrong = {("separable", "", "width"): [7], HYBRID: [9]}
    predicted = {key: [[1] * count + [0] * (100 - count) for count in counts] for key, counts in wrong.items()}
    write_study(tmp_path, wrong, n_test=100)
    write_predictions(tmp_path, predicted, labels)
    assert main(tmp_path) == 0
    write_predictions(tmp_path, {**predicted, HYBRID: [[1] * 8 + [0] * 92]}, labels)
    with pytest.raises(InputError, match=r"hybrid trial 0: 8 wrong, allowed: 9 as in trials\.csv"):
        main(tmp_path)


def test_a_page_gets_the_table_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table4: how it is made -->\nold\n<!-- /table4 -->\nafter\n")
    changed = injected(page, {"table4": "\n| a |\n\\1\n", "f2_forest": "a name without markers"})
    assert changed == "before\n<!-- table4: how it is made -->\n| a |\n\\1\n<!-- /table4 -->\nafter\n"
    page.write_text(changed)
    assert injected(page, {"table4": "| a |\n\\1"}) == changed
    page.write_text(changed + changed)
    with pytest.raises(InputError, match="2 pairs of markers of 'table4', allowed: one"):
        injected(page, {"table4": "text"})
    for end in ("\n", "\r\n"):
        page.write_bytes(changed.replace("\n", end).encode())
        assert injected(page, {"table4": "a\nb"}) == changed.replace("| a |\n\\1", "a\nb").replace("\n", end)
    page.write_text("no markers")
    with pytest.raises(InputError, match="no pair of markers, allowed: table4, such as <!-- table4: dsres"):
        injected(page, {"table4": "text"})
    with pytest.raises(InputError, match="cannot be read"):
        injected(tmp_path / "none.md", {"table4": "text"})


def test_a_page_of_two_studies_gets_from_each_its_own(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    first, second = (
        f"<!-- table4: dsresearch report results/{name} --into README.md -->\n<!-- /table4 -->\n" for name in ("a", "b")
    )
    page.write_text(first + second)
    assert injected(page, {"table4": "of b"}, "b") == first + second.replace("-->\n<!", "-->\nof b\n<!")
    with pytest.raises(InputError, match="no pair of markers"):
        injected(page, {"table4": "of c"}, "c")
    page.write_text(first + first)
    with pytest.raises(InputError, match="2 pairs of markers of 'table4', allowed: one"):
        injected(page, {"table4": "of a"}, "a")


def test_one_arm_alone_has_no_empty_panel(tmp_path: Path) -> None:
    """A study of the baseline alone has no differences to draw."""
    alone = {key: wrong for key, wrong in good_study().items() if key == ("separable", "", "width")}
    write_study(tmp_path, alone)
    write_epochs(tmp_path, alone)
    analysis = Analysis(read_study(tmp_path))
    epochs = analysis.study.parquet("epochs")
    assert epochs is not None
    assert set(profile_rows(analysis, epochs)["quantity"]) == {"test_error_pct", "train_loss"}
