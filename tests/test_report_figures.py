"""F1 to F10: what is drawn is what the rows say; what cannot be drawn says why; a name has one colour everywhere."""

import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from study_builder import good_study, undrawn, write_epochs, write_study

from dsresearch.design import InputError
from dsresearch.report import Analysis, draw_cost, draw_curves, draw_design, draw_trials, read_study
from dsresearch.report.figures import figure_files
from dsresearch.report.style import (
    ARMS,
    COLUMN,
    CONTROL_COLOUR,
    LONGEST,
    PAGE,
    SOFT,
    WORSE,
    Picture,
    label,
    legend_above,
    looks,
    narrow_label,
    picture,
)
from dsresearch.schema import DIVERGENCE_COLUMNS

ORDER = [f"f{at}" for at in range(1, 11)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few simulated studies: their number is not what these tests are about."""
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)


def drawn(picture: Picture) -> pd.DataFrame:
    assert picture.files, picture.absent
    assert picture.files[f"{picture.name}.pdf"].startswith(b"%PDF")
    assert picture.files[f"{picture.name}.png"].startswith(b"\x89PNG")
    assert b"/FontType 3" not in picture.files[f"{picture.name}.pdf"], "publishers refuse it"
    return pd.read_csv(io.BytesIO(picture.files[f"{picture.name}.csv"]))


def laid_out(draw: Callable[[Analysis], Picture], analysis: Analysis) -> Figure:
    """The figure that is about to be written."""
    seen: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsresearch.report.style._METADATA", {"svg": {}})
        patch.setattr(Figure, "savefig", lambda figure, sink, **_: (seen.append(figure), sink.write(b"<svg></svg>")))
        draw(analysis)
    return seen[0]


def test_f1_draws_every_trial(tmp_path: Path) -> None:
    wrong = good_study()
    rows = drawn(draw_trials.errors(Analysis(read_study(write_study(tmp_path, wrong)))))
    assert list(rows.loc[rows["name"] == "resnext", "test_error_pct"]) == [
        w / 100 for w in wrong["resnext", "", "width"]
    ]
    assert len(rows) == sum(map(len, wrong.values()))


def test_f2_says_which_arms_were_trained_elsewhere(tmp_path: Path) -> None:
    there = write_study(
        tmp_path / "a", change=lambda row: row | ({"device_kind": "x"} if row["arm"] == "resnext" else {})
    )
    here = write_study(tmp_path / "b")
    said = [draw_trials.forest(Analysis(read_study(study))).caption for study in (there, here)]
    assert said[0] == f"{said[1]} On another device_kind than the baseline's: resnext."


def test_f3_is_the_noise_of_identical_formulations(tmp_path: Path) -> None:
    """For normal differences of SD s over T trials A averages s sqrt(2/pi), and B that over sqrt(T)."""
    wrong = good_study(trials=40, spread=30)
    moved = np.random.default_rng(3).normal(0, 34, 40).astype(int)
    seed = [value + int(by) for value, by in zip(wrong["separable", "", "width"], moved, strict=True)]
    wrong["separable", "seed", "width"] = seed
    rows = drawn(draw_design.null(Analysis(read_study(write_study(tmp_path, wrong)))))
    spread = np.sqrt(np.mean((np.array(seed) - wrong["separable", "", "width"]) ** 2.0)) / 100
    for reading, expected in {"A": spread * np.sqrt(2 / np.pi), "B": spread * np.sqrt(2 / np.pi / 40)}.items():
        null = rows[(rows["reading"] == reading) & (rows["what"] == "identical")]
        assert np.average(null["value_pp"], weights=null["density"]) == pytest.approx(expected, rel=0.12)
    assert set(rows.loc[rows["what"] == "paper", "value_pp"]) == {0.83, 0.62, 0.71, 0.08, 0.12}


def test_f3_puts_ticks_that_would_hide_each_other_in_lanes() -> None:
    assert draw_design.lanes([0.5, 0.1, 0.505, 0.51, 0.9], near=0.02) == [0, 0, 1, 2, 0]
    assert draw_design.lanes([0.0, 0.015, 0.03], near=0.02) == [0, 1, 0]


def test_f4_colours_what_errs_more_of_controls_too(tmp_path: Path) -> None:
    analysis = Analysis(read_study(write_study(tmp_path, good_study())))
    figure = laid_out(draw_trials.slopes, analysis)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    for name in ("hybrid", "control seed"):
        lines = [
            line for line in panels[name].get_lines() if len(line.get_ydata()) == 2 and line.get_marker() == "None"
        ]
        assert len(lines) == 10
        for line in lines:
            here, there = line.get_ydata()
            assert line.get_color() == (WORSE if there > here else SOFT)


def test_f5_shows_the_last_per_cents(tmp_path: Path) -> None:
    wrong = good_study()
    write_epochs(write_study(tmp_path, wrong), wrong)
    rows = drawn(draw_curves.profiles(Analysis(read_study(tmp_path))))
    seed = rows[rows["name"] == "control seed"]
    assert set(seed["quantity"]) == {"abs_diff_pp"}, "of the control its distance alone"
    last = rows[(rows["name"] == "resnext") & (rows["quantity"] == "abs_diff_pp") & (rows["epoch"] == 5)]
    d = np.subtract(wrong["resnext", "", "width"], wrong["separable", "", "width"]) / 100
    assert float(last["median"].iloc[0]) == pytest.approx(np.median(np.abs(d)), abs=1e-6)


def test_f5_of_one_epoch_is_not_drawn(tmp_path: Path) -> None:
    wrong = good_study()
    write_epochs(write_study(tmp_path, wrong), wrong, epochs=1)
    assert draw_curves.profiles(Analysis(read_study(tmp_path))).absent == (
        "one epoch makes no curve; the tables have its errors"
    )


def test_f6_sets_arms_of_one_size_a_few_points_aside_and_no_others() -> None:
    aside = draw_cost._apart(pd.Series([100, 100, 300, 100, 310]))
    assert list(aside) == [-4, 0, 0, 4, 0]
    crowd = draw_cost._apart(pd.Series([7] * 30))
    assert crowd.is_unique
    assert crowd.abs().max() <= 6, "however many they are, they stay near their size"


def test_f6_has_one_entry_an_arm_and_a_mark_only_in_the_panel_of_its_match(tmp_path: Path) -> None:
    wrong = good_study()
    wrong |= {("inception", "", match): wrong["inception", "", "width"] for match in ("params", "macs")}
    wrong["resnext", "", "params"] = wrong["resnext", "", "width"]
    study = read_study(write_study(tmp_path, wrong))
    alike = {("hybrid", "", "params"): ("hybrid", "", "width"), ("resnext", "", "macs"): ("resnext", "", "params")}
    figure = laid_out(draw_cost.cost, Analysis(dataclasses.replace(study, namesakes=alike)))
    arms = [arm for arm, kind, match in wrong if not kind and match == "width"]
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(arms)
    for axes in figure.axes:
        assert len(axes.containers) == len(arms) + 2, "what is matched in another measure alone is not here"


def test_f5_tells_arms_apart_by_more_than_colour(tmp_path: Path) -> None:
    names = ["regular", *(f"separable_depth{depth}" for depth in (4, 8))]
    wrong = {(f"{name}{ending}", "", "width"): [1] for name in names for ending in ("", "_residual")}
    look = {cell.arm: of for cell, of in looks(read_study(write_study(tmp_path, wrong)).cells).items()}
    assert len({look[name].colour for name in names}) == len(names), "a hue a depth"
    assert len({of.marker for of in look.values()}) == len(look)
    for name in names:
        assert look[f"{name}_residual"].colour == look[name].colour
        assert (look[f"{name}_residual"].dash, look[name].dash) == ("--", "-")


def test_f5_draws_every_arm_once(tmp_path: Path) -> None:
    wrong = good_study()
    wrong["hybrid", "", "params"] = [value + 9 for value in wrong["hybrid", "", "width"]]
    write_epochs(write_study(tmp_path, wrong), wrong)
    figure = laid_out(draw_curves.profiles, Analysis(read_study(tmp_path)))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts() if text.get_text().startswith("hybrid (")] == []


def test_f8_draws_the_twins_and_refuses_what_is_no_number(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    assert "no divergence.csv" in draw_curves.divergence(Analysis(read_study(study))).absent
    head = ",".join(DIVERGENCE_COLUMNS) + "\n"
    far = {"bit": 1e-7, "exact": 0, "seed": 1}
    lines = [f"it,{kind},{t},{step},{far[kind] * (t + 1) * step},1" for kind in far for t in (0, 1) for step in (1, 10)]
    (study / "divergence.csv").write_text(head + "\n".join(lines) + "\n")
    rows = drawn(draw_curves.divergence(Analysis(read_study(study))))
    assert float(rows[(rows["control_kind"] == "seed") & (rows["step"] == 10)]["median"].iloc[0]) == pytest.approx(15)
    for bad, message in {
        "it,bit,0,1,far,1\n": "line 2: column relative_distance: 'far' is not allowed: a finite number",
        "it,bit,0,1,nan,1\n": "line 2: column relative_distance: 'nan'",
        "it,bit,0,1,-1,1\n": "line 2: column relative_distance: -1.0 is not allowed: a number from 0",
        "it,twin,0,1,0,1\n": "line 2: column control_kind: 'twin' is not allowed: one of 'bit', 'exact', 'seed'",
        "": "line 2: no rows",
    }.items():
        (study / "divergence.csv").write_text(head + bad)
        with pytest.raises(InputError, match=message):
            draw_curves.divergence(Analysis(read_study(study)))
    (study / "divergence.csv").write_text("study_id,control_kind,trial,step,param_norm\n")
    with pytest.raises(InputError, match="column 'relative_distance' is missing"):
        draw_curves.divergence(Analysis(read_study(study)))


def test_f10_changes_its_word_where_the_interval_leaves_the_margin(tmp_path: Path) -> None:
    analysis = Analysis(read_study(write_study(tmp_path, good_study(spread=30))))
    rows = drawn(draw_design.margin(analysis))
    words = dict(zip(rows["margin_pp"].round(6), rows["word"], strict=True))
    needed = max(analysis.comparisons[c].equivalence_margin for c in analysis.comparisons
                 if c.arm == "hybrid" or c.control_kind in ("seed", "exact"))  # fmt: skip
    assert words[0.25] == analysis.verdicts["hybrid"].word
    assert {word for margin, word in words.items() if margin < needed} == {"UNDECIDED"}
    assert words[min(margin for margin in words if margin > needed)] == "CONSISTENT"
    assert words[max(words)] == "NOT SUPPORTED", "a margin in which the rivals fit too tells nothing apart"


def test_f10_of_one_word_at_every_margin_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = [("hybrid", margin, "UNDECIDED") for margin in (0.5, 1.0, 1.5)]
    monkeypatch.setattr(Analysis, "words_by_margin", lambda _: one)
    absent = draw_design.margin(Analysis(read_study(write_study(tmp_path)))).absent
    assert absent == "the word is UNDECIDED on every reading at every margin up to 1.5 pp"


def test_what_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    analysis = Analysis(read_study(write_study(tmp_path, {("bsconv_u", "", "width"): [680]})))
    assert draw_trials.forest(analysis).absent == "no arm has a pair with a baseline"
    assert draw_design.null(analysis).absent.startswith("no seed control")
    assert "no hybrid arm" in draw_design.margin(analysis).absent
    files = figure_files(undrawn(analysis), analysis.study.caption())
    assert files["captions.csv"].decode().count("not drawn: left out by the test") == 10
    assert set(files) == {"captions.csv", "figures.tex"}


def test_a_name_has_one_colour_in_every_study_and_controls_are_grey(tmp_path: Path) -> None:
    one = looks(read_study(write_study(tmp_path / "a")).cells)
    two = looks(read_study(write_study(tmp_path / "b", {("hybrid", "", "width"): [1], ("zz", "", "width"): [2]})).cells)
    for look in (one, two):
        for cell, of in look.items():
            expected = CONTROL_COLOUR if cell.control_kind else ARMS.get(cell.arm, of).colour
            assert of.colour == expected
    assert len({of.colour for of in ARMS.values()}) == len({of.marker for of in ARMS.values()}) == len(ARMS)


def test_colours_stand_out_on_both_grounds() -> None:
    """WCAG 2.2, 1.4.11: graphics at 3 : 1 to their ground; 2 : 1 on white, where marker and label help."""

    def luminance(colour: str) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    for name, (colour, _, _) in ARMS.items():
        for ground, least in (("#ffffff", 2.0), ("#171b1f", 3.0)):
            if ground != "#ffffff" and name in ("separable", "hybrid"):
                continue  # these two have another colour on dark ground
            bright, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= least, (name, ground)


def test_no_identifier_of_a_picture_is_random(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    one, two = (draw_trials.forest(Analysis(read_study(study))) for _ in range(2))
    assert one.svg == two.svg
    assert one.files == two.files
    assert not re.search(r"20\d\d-\d\d-\d\d", one.svg)


def test_the_line_under_a_narrow_figure_is_not_cut_off() -> None:
    figure = Figure(figsize=(COLUMN, 2.0), layout="constrained")
    figure.add_subplot()
    source = "hybrid, CIFAR-10 (JPEG copy), profile custom (from cpu), 20 trials, 10000 test pictures, runs "
    source += "8959e293271b, " * 9
    picture("one", figure, pd.DataFrame(), title="", caption="", alt="", source=source)
    (line,) = (text for text in figure.texts if text.get_text().startswith("hybrid"))
    box = line.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert line.get_text().replace("\n", " ") == source.strip(), "nothing is left out"


def test_a_legend_takes_the_columns_that_fit_and_names_nothing_twice() -> None:
    figure = Figure(figsize=(PAGE, 2.0), layout="constrained")
    lines = figure.add_subplot().plot(np.zeros((2, 14)))
    legend_above(figure, lines, [f"inception_reformulated_{at % 7}_of_seven" for at in range(14)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert len(legend.get_texts()) == 7


def test_a_long_label_keeps_what_tells_arms_of_a_grid_apart() -> None:
    names = [
        f"{setup}:groups={groups}:residual={residual}:activation=relu"
        for setup in ("grouped", "resnext")
        for groups in (4, 16)
        for residual in ("true", "false")
    ]
    assert label(names[0]) == "grouped:gro=4:res=true:act=relu"
    assert len({label(name) for name in names}) == len(names)
    for name in (*names, "inception_reformulated:groups=16:residual=false", "x:" + 60 * "y", 60 * "z", names[0] * 3):
        assert len(label(name)) <= LONGEST


def test_a_label_keeps_the_match_of_a_long_name() -> None:
    assert label("inception_reformulated (params matched)") == "inception_reformulated (params)"
    assert narrow_label("separable_batchnorm_relu", 22) == "separable_batchnorm_\nrelu"
    assert narrow_label("control seed", 22) == "control seed"
