"""The paper: what is committed is what the results give, no number is typed, a claim is decided by its own setting."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_builder import good_study, write_study

from dsresearch.design import InputError
from dsresearch.paper import main
from dsresearch.paper.checks import CHECKS, STATUSES, expected_noise
from dsresearch.paper.claims import Claims, claims_tex, decided, read_claims
from dsresearch.paper.facts import Results, StudyFacts, read_results
from dsresearch.paper.latex import STUDY, numbers_tex
from dsresearch.paper.numbers import _largest
from dsresearch.report import main as report

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.parent for path in ROOT.glob("results/*/trials.csv"))
COMMITTED = ("claims.csv", *(f"generated/{name}.tex" for name in ("claims", "interior", "numbers", "studies")))
TEXT = (ROOT / "paper" / "main.tex").read_text(encoding="utf-8")
NOTHING = Results({}, {}, {})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's generated files, made anew from the committed results."""
    folder = tmp_path_factory.mktemp("paper")
    assert main(ROOT, to=folder) == 0
    return folder


# --- the committed results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_tables_figure_data_and_verdict_are_drawn_from_the_rows(study: Path, drawn: Path) -> None:
    anew = drawn / "generated" / study.name
    names = {path.relative_to(anew) for path in anew.rglob("*") if path.is_file()}
    committed = {path.relative_to(study) for kind in ("tables/*", "figures/*", "*.html") for path in study.glob(kind)}
    assert names == committed | {Path("verdict.json")}
    for name in names:
        if name.suffix not in (".png", ".pdf"):  # pictures are the same for one version of the drawing library
            assert without_pictures(anew / name) == without_pictures(study / name), name


def without_pictures(path: Path) -> bytes:
    """A file's bytes; of the page what is not a picture."""
    return re.sub(rb'src="data:[^"]*" width="\d+" height="\d+"', b'src=""', path.read_bytes())


# --- the committed paper ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMITTED)
def test_what_is_committed_is_what_the_results_give(drawn: Path, name: str) -> None:
    assert (drawn / name).read_bytes() == (ROOT / "paper" / name).read_bytes(), "run `dsresearch paper`"


def test_every_number_that_the_text_asks_for_is_there(drawn: Path) -> None:
    known = set(re.findall(r"\\setresult\{([^}]*)\}", (drawn / "generated/numbers.tex").read_text()))
    body = TEXT.split(r"\begin{document}")[1]
    asked = set(re.findall(r"\\result\{([^}]*)\}", body))
    asked |= {f"{STUDY}/{name}" for name in re.findall(r"\\ours\{([^}]*)\}", body)}
    assert asked - known == set()
    assert len(asked) > 40


# What may be written with digits: names of things, places in the papers, formulas, levels that a method fixes.
NOT_RESULTS = (
    r"(?m)(?<!\\)%.*$",
    r"\$[^$]*\$",
    r"\\(label|ref|input|drawing|result|ours|bibitem)(\[[^]]*\])?\{[^}]*\}",
    r"CIFAR-10|Inception V3",
    r"95\\,\\%",
    r"[13]x[13]",
    r"(Figures?|Tables?|[sS]ections?) [\d.]+( to \d)?",
    r"\(?(19|20)\d\d\)?",
)


def test_a_number_that_a_study_has_not_is_no_number(drawn: Path) -> None:
    """A published network has a factor, and neither width nor depth."""
    numbers = (drawn / "generated/numbers.tex").read_text("utf-8")
    assert r"\setresult{xception-digits-quick/factor}" in numbers
    assert r"\setresult{xception-digits-quick/width}" not in numbers
    assert r"\setresult{hybrid-digits-full/width}" in numbers


def test_no_number_is_typed_in_the_text() -> None:
    body = TEXT.split(r"\begin{document}")[1].split(r"\begin{thebibliography}")[0]
    for pattern in NOT_RESULTS:
        body = re.sub(pattern, "", body)
    assert re.findall(r".*\d.*", body) == []


def test_every_table_and_figure_of_the_text_is_generated(drawn: Path) -> None:
    body = TEXT.split(r"\begin{document}")[1]
    assert len(re.findall(r"\\(?:input|drawing)\{([^}]*)\}", body)) == 5
    text = body + (drawn / "generated/studies.tex").read_text()
    for name in re.findall(r"\\(?:input|drawing)\{([^}]*)\}", text):
        path = drawn / name.replace(r"\study", STUDY)
        assert path.is_file() or path.with_suffix(".tex").is_file(), name


def plain(text: str) -> str:
    """Words alone, as a page spells them or as a claim quotes them."""
    for fancy, simple in {"“": '"', "”": '"', "’": "'", "ﬁ": "fi", "ﬂ": "fl", "−": "-"}.items():
        text = text.replace(fancy, simple)
    return re.sub(r"[\s-]+", "", text)  # line breaks fall within words


def test_every_quotation_stands_in_its_source() -> None:
    seeds = ROOT.parent / "shared" / "seeds"
    if not seeds.is_dir():
        pytest.skip(f"no {seeds}: the papers are not part of the checkout")
    names = {"encyclopedia": "000_*", "hybrid": "001_*", "xception": "002_*"}
    pages = {source: plain(next(seeds.glob(name)).read_text("utf-8")) for source, name in names.items()}
    missing = [c["id"] for c in read_claims(ROOT / "paper/claims.toml") if plain(c["quote"]) not in pages[c["source"]]]
    assert missing == []


def test_every_claim_has_all_that_a_reader_needs(drawn: Path) -> None:
    with (drawn / "claims.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} <= set(STATUSES)
    assert all(cell for row in rows for cell in row.values())
    assert {row["source"] for row in rows} == {"hybrid", "xception", "encyclopedia"}
    for row in rows:  # what has not been run says so, and shows no value of ours but a smaller study's
        assert row["status"] == "not run" or row["ours"] != "none", row["id"]


# --- what decides a claim ---------------------------------------------------------------------------------------


def results(folder: Path, **about: Any) -> Results:
    """The results of one hand-made study."""
    study = write_study(folder / "results" / "one", **about)
    report(study, to=folder / "drawn")
    return read_results(folder / "results", {"one": folder / "drawn"})


def next_mean(values: np.ndarray, trials: int) -> tuple[float, float]:
    """Where the mean of so many further values lies with a chance of 95 %: by the t law of two independent means."""
    error = values.std(ddof=1) * np.sqrt(1 / len(values) + 1 / trials)
    return stats.t(len(values) - 1, values.mean(), error).interval(0.95)


@pytest.mark.parametrize(
    ("dataset", "profile", "expected"),
    [("CIFAR-10", "confirm", "reproduced"), ("CIFAR-10", "quick", "not run"), ("mine", "confirm", "not run")],
)
def test_figure_4_is_decided_on_cifar_10_at_190_epochs_alone(
    tmp_path: Path, dataset: str, profile: str, expected: str
) -> None:
    found = results(tmp_path, dataset=dataset, profile=profile)
    row = CHECKS["difference"](found, arm="resnext", value=0.62, reading="B", against=0.12)
    assert row.status == expected
    torn = CHECKS["difference"](found, arm="resnext", value=0.62, reading="B", against=float(row.value)).status
    assert torn == ("undecided" if expected == "reproduced" else "not run"), "an interval that holds both tells nothing"
    d = (np.array(good_study()["resnext", "", "width"]) - np.array(good_study()["separable", "", "width"])) / 100
    assert (float(row.lo), float(row.hi)) == pytest.approx(next_mean(d, 10), abs=0.005)
    as_a = CHECKS["difference"](found, arm="hybrid", value=0.0, reading="A", against=9.0)
    far = np.abs(np.array(good_study()["hybrid", "", "width"]) - np.array(good_study()["separable", "", "width"])) / 100
    lo, hi = next_mean(far, 10)
    assert (float(as_a.lo), float(as_a.hi)) == pytest.approx((max(0.0, lo), hi), abs=0.005)
    other = CHECKS["difference"](found, arm="resnext", value=5.0, reading="A", against=0.12).status
    assert other == ("not" if expected == "reproduced" else "not run")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("SUPPORTED", "reproduced"), ("NOT SUPPORTED", "not"), ("CONSISTENT", "undecided"), ("UNDECIDED", "undecided"),
        ("INVALID", "not run"), ("INCOMPLETE", "not run"),
    ],
)  # fmt: skip
def test_the_papers_conclusion_has_the_status_of_the_verdict(word: str, status: str) -> None:
    for profile, expected in (("confirm", status), ("full", "not run")):
        verdict = {"dataset": "CIFAR-10", "trained_as": profile, "readings": {"hybrid": {"verdict": word}}}
        found = Results({"one": StudyFacts(verdict, pd.DataFrame(), {}, None)}, {}, {})
        row = CHECKS["verdict"](found, reading="hybrid")
        assert (row.status, row.value, row.source) == (expected, word, "one")
        assert CHECKS["verdict"](found, reading="hybrid_residual").value == ""


def test_one_trial_decides_nothing_about_an_error(tmp_path: Path) -> None:
    one = {key: values[:1] for key, values in good_study().items()}
    row = CHECKS["error"](results(tmp_path, wrong=one, dataset="CIFAR-10"), arm="resnext", value=99.0)
    assert (row.status, row.lo, row.hi) == ("not run", "", "")


@pytest.mark.parametrize(("profile", "expected"), [("confirm", "reproduced"), ("quick", "not run")])
def test_an_error_is_held_against_its_interval_over_trials(tmp_path: Path, profile: str, expected: str) -> None:
    found = results(tmp_path, dataset="CIFAR-10", profile=profile)
    errors = np.array(good_study()["resnext", "", "width"]) / 100
    row = CHECKS["error"](found, arm="resnext", value=float(errors.mean()))
    assert row.status == expected
    assert (float(row.lo), float(row.hi)) == pytest.approx(next_mean(errors, 1), abs=0.005)
    assert float(row.value) == pytest.approx(errors.mean(), abs=0.005)
    assert CHECKS["error"](found, arm="resnext", value=50.0).status == (
        "not" if expected == "reproduced" else "not run"
    )
    assert CHECKS["error"](found, arm="darknet19", value=50.0).value == ""


def test_without_results_nothing_is_decided_but_what_needs_none() -> None:
    found = decided(read_claims(ROOT / "paper/claims.toml"), NOTHING)
    for row in found.rows:
        if row["ours_from"] not in ("closed form", "the printed values", "simulation", "normal model", "read"):
            assert row["status"] == "not run", row["id"]


def test_noise_of_identical_functions_is_what_simulation_says() -> None:
    d = np.random.default_rng(1).normal(0, np.sqrt(2) * 100 * np.sqrt(0.07 / (2 * 6000)), (20_000, 10))
    assert expected_noise() == pytest.approx((np.abs(d).mean(), np.abs(d.mean(1)).mean()), rel=0.01)
    assert CHECKS["noise"](NOTHING, value=0.08).status == "not"
    assert CHECKS["noise"](NOTHING, value=0.3).status == "reproduced"


@pytest.mark.parametrize(
    ("check", "value", "status"),
    [
        ({"values": [6.15, 7.61], "below": 0.83}, "-1.46", "not"),
        ({"values": [6.15, 7.61], "sign": 1}, "-1.46", "not"),
        ({"values": [6.03, 11.9], "sign": -1, "beyond": 0.83}, "-5.87", "reproduced"),
        ({"values": [22855952, 23626728], "percent_within": 3.5}, "3.26", "reproduced"),
        ({"values": [22855952, 23626728], "below": 1}, "-770,776", "not"),
        ({"values": [6.78, 6.5], "relative": 4.3}, "4.3", "reproduced"),
    ],
)
def test_the_printed_values_are_held_against_their_sentence(check: dict[str, Any], value: str, status: str) -> None:
    found = CHECKS["printed"](NOTHING, **check)
    assert (found.value, found.status) == (value, status)


def test_counts_and_proofs_are_read_and_compared() -> None:
    found = Results({}, {"xception": {"trainable": 22855952}}, {("separable", "hybrid"): "exact"})
    assert CHECKS["count"](found, network="xception", field="trainable", value=22855952).status == "reproduced"
    assert CHECKS["count"](found, network="xception", field="trainable", value=22855951).status == "not"
    assert CHECKS["count"](found, network="vgg16", field="trainable", value=1).status == "not run"
    assert CHECKS["class"](found, arm="hybrid", expected="distinct").status == "not"
    assert CHECKS["class"](found, arm="resnext", expected="distinct").status == "not run"
    assert CHECKS["layer"](NOTHING, separable=True, field="macs", value=52_283_392).status == "reproduced"


def test_markup_in_a_claim_or_a_number_stays_text() -> None:
    evil = {"location": r"\input{/etc/passwd}", "quantity": "$a_b$ & 100 % #1", "status": "not run"}
    row = dict.fromkeys(("paper_value", "ours", "ours_lo", "ours_hi", "ours_from"), "x") | evil | {"source": "hybrid"}
    text = claims_tex(Claims([row]))
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert r"\$a\_b\$ \& 100 \% \#1" in text
    assert r"{\ensuremath{4\times10^{-9}}}" in numbers_tex({"a": "4e-09"})
    made = numbers_tex({"a/b": r"50 % of \x", r"c}\input{x": "1", "d": "[-0.5, +1.0]"})
    assert r"\setresult{a/b}{50 \% of \textbackslash{}x}" in made
    assert "input" not in made
    assert r"\setresult{d}{[\ensuremath{-}0.5, \ensuremath{+}1.0]}" in made


CLAIM = 'id = "a"\nsource = "hybrid"\nlocation = "x"\nquote = "x"\nquantity = "x"\npaper_value = "x"\ncriterion = "x"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[[claim]]\n{CLAIM}[[claim]]\n{CLAIM}", "twice"),
        (f"[[claim]]\n{CLAIM}colour = 1\n", "colour"),
        (f'[[claim]]\n{CLAIM}check = {{ kind = "cuont" }}\n', "did you mean 'count'"),
        ("[[claim]]\n" + CLAIM.replace("hybrid", "hybird"), "did you mean 'hybrid'"),
        ("[[claim]]\n" + CLAIM.replace('quote = "x"\n', ""), "quote=None"),
        ("claim = [", "TOML"),
    ],
    ids=["twice", "key", "check", "source", "quote", "toml"],
)
def test_a_wrong_claims_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(said)) as error:
        read_claims(path)
    assert "\n" not in str(error.value)


def test_outside_of_a_checkout_the_command_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dsresearch", "paper"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "checkout" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_study_of_the_largest_profile_is_cited() -> None:
    def study(profile: str) -> StudyFacts:
        verdict = {"dataset": "some", "trained_as": profile, "readings": {"hybrid": {}}}
        return StudyFacts(verdict, pd.DataFrame(), {}, None)

    found = Results({f"{name}-study": study(name) for name in ("quick", "full", "cpu", "smoke")}, {}, {}).hybrid()
    assert found is not None
    assert found[0] == "cpu-study"


def test_the_largest_difference_of_one_trial_is_paired_by_the_trial() -> None:
    """Trials in another order than the baseline's; the baseline itself is 0 from itself."""
    rows = pd.DataFrame(
        [("separable", "baseline", "", 0, 5.0), ("separable", "baseline", "", 1, 8.0),
         ("bit", "control", "bit", 1, 4.5), ("bit", "control", "bit", 0, 6.0)],
        columns=["key", "role", "control_kind", "trial", "error_pct"],
    )  # fmt: skip
    assert dict(_largest(rows)) == {"separable/largest": "0.00", "bit/largest": "3.50"}
