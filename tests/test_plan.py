"""From a request to the plan of cells."""

import dataclasses
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsresearch import data
from dsresearch.cli import main
from dsresearch.data import Pictures
from dsresearch.design import DTYPES, KERNELS, MATCHES, InputError, Recipe, replace
from dsresearch.parser import build
from dsresearch.record.store import Store
from dsresearch.studies import PROFILES, STUDIES, Arm, Plan, Study, base_profile, custom_profile
from dsresearch.studies.plan import Request, plan, refuse_large
from dsresearch.studies.settings import read_grid

DIGITS = data.load("digits")


def planned(**request: Any) -> Plan:
    return plan(Request(**request), DIGITS)


def cifar_like(train: int = 50_000, test: int = 10_000) -> Pictures:
    labels = np.tile(np.arange(10, dtype=np.int32), (train + test) // 10)
    images = np.zeros((train + test, 32, 32, 3), np.uint8)
    return Pictures("like", "like", images, labels, train, tuple("abcdefghij"), "0" * 64)


def test_a_data_set_that_could_not_be_recorded_is_refused_before_anything_is_trained() -> None:
    plan(Request(profile="smoke"), cifar_like(60_000, 5_530))
    with pytest.raises(
        InputError, match=r"^data='like' is not allowed: 65,540 pictures, a study records up to 65,536$"
    ):
        plan(Request(profile="smoke"), cifar_like(60_000, 5_540))
    plan(Request(), dataclasses.replace(cifar_like(), classes=tuple(map(str, range(256)))))
    with pytest.raises(InputError, match=r"^data='like' is not allowed: 257 classes, a study records up to 256$"):
        plan(Request(), dataclasses.replace(cifar_like(), classes=tuple(map(str, range(257)))))


def test_the_study_has_the_papers_rows_the_readings_and_the_controls() -> None:
    cells = planned().cells
    assert [cell.arm for cell in cells if not cell.control][:6] == [
        "separable", "inception", "resnext", "inception_reformulated", "separable_strict", "hybrid",
    ]  # fmt: skip
    assert [cell.control for cell in cells if cell.control] == ["rerun", "bit", "exact", "seed", "split"]
    assert {cell.arm: cell.role for cell in cells if not cell.control} == {
        arm.name: arm.role for arm in STUDIES["hybrid"].arms
    }
    assert len({cell.id for cell in cells}) == len(cells) == 13


def test_a_study_goes_on_by_what_its_profile_meant_when_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version may give a profile other settings; a folder keeps its own, and what is asked for beside them."""
    store = Store(tmp_path / "begun")
    first = planned(profile="smoke")
    store.prepare(first)
    later = {**PROFILES["smoke"], "recipe": {"epochs": 5, "batch": 32}, "protocol": {"trials": 2, "threads": 2}}
    monkeypatch.setitem(PROFILES, "smoke", later)  # type: ignore[arg-type]
    assert planned(profile="smoke").recipe.epochs == 5
    begun = store.as_begun("hybrid", "smoke", "digits")
    again = plan(Request(profile="smoke"), DIGITS, begun)
    assert (again.document(), again.cells) == (first.document(), first.cells)
    store.check(again)
    same = plan(Request(profile="smoke", choices={"recipe.epochs": [2]}), DIGITS, begun)
    assert same.profile == "smoke"
    other = plan(Request(profile="smoke", choices={"recipe.epochs": [5]}), DIGITS, begun)
    with pytest.raises(InputError, match="another protocol"):
        store.check(other)
    for request in (("twins", "smoke", "digits"), ("hybrid", "quick", "digits"), ("hybrid", "smoke", "other")):
        assert store.as_begun(*request) == {}
    assert Store(tmp_path / "new").as_begun("hybrid", "smoke", "digits") == {}
    bare = store.protocol_file.read_text().replace("[recipe]", "[other]")  # a file may lack it
    store.protocol_file.write_text(bare)
    assert store.as_begun("hybrid", "smoke", "digits")["recipe"] == dataclasses.asdict(Recipe())


def test_settings_of_ones_own_do_not_take_the_folder_of_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --out they are a study of another name, which what the profile meant elsewhere does not touch."""
    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "runs" / "hybrid-digits-smoke").prepare(planned(profile="smoke"))
    monkeypatch.setitem(PROFILES, "smoke", {**PROFILES["smoke"], "recipe": {"epochs": 5, "batch": 32}})
    for words, epochs in (((), 2), (("recipe.rate=0.3",), 5)):
        assert main(["run", "hybrid", "--profile", "smoke", *words, "--dry-run"]) == 0
        assert f"epochs={epochs} " in capsys.readouterr().out


def test_kernels_that_this_machine_lacks_are_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)  # as where the extra is not installed
    with pytest.raises(InputError) as refused:
        planned(choices={"protocol.kernels": ["native"]})
    assert str(refused.value) == (
        "protocol.kernels='native' is not allowed here: llvmlite is not installed (the extra `native`); `xla` always is"
    )
    assert planned(choices={"protocol.kernels": ["xla"]}).protocol == planned().protocol


BASE = Arm("separable", role="baseline")


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (
            (BASE, Arm("bsconv-u", "bsconv_u")),
            "arm 'bsconv-u' of study 'place' is not allowed: a name is letters, digits",
        ),
        (
            (BASE, Arm("bsconv_u", role="baseline")),
            "arm 'bsconv_u' of study 'place' is not allowed: the first arm, and no",
        ),
        ((Arm("separable"), Arm("bsconv_u")), "arm 'separable' of study 'place' is not allowed: the first arm, and no"),
        (
            (BASE, Arm("bsconv_u"), Arm("bsconv_u", design={"activation": "relu"})),
            "arm 'bsconv_u' of study 'place' is not allowed: it has the name of another arm, 'bsconv_u'",
        ),
        (
            (BASE, Arm("bsconv_u"), Arm("mine", "bsconv_u")),
            "arm 'mine' of study 'place' is not allowed: it has the settings of another arm, 'bsconv_u'",
        ),
        (
            (Arm("bsconv_u", role="baseline"),),
            "arm 'bsconv_u' of study 'place' is not allowed: the control `exact` needs",
        ),
    ],
)
def test_a_study_whose_arms_cannot_be_told_apart_is_refused_before_it_is_trained(
    arms: tuple[Arm, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsresearch.studies.plan.STUDIES", {"place": Study("Which place?", arms)})
    with pytest.raises(InputError) as refused:
        planned(study="place")
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_the_catalogue_is_allowed(name: str) -> None:
    STUDIES[name].check(name)


def test_the_control_is_part_of_a_cells_identity_and_its_name_is_not() -> None:
    cells = {(cell.arm, cell.control): cell for cell in planned().cells}
    assert cells["separable", ""].design == cells["separable", "rerun"].design
    assert cells["separable", ""].id != cells["separable", "rerun"].id
    point = planned(setups=("hybrid",), choices={"design.residual": [True]}).asked[0]
    assert point.arm == "hybrid:residual=true"
    assert point.id == cells["hybrid_residual", ""].id


def test_cells_are_called_what_they_were() -> None:
    """Golden: another identity here would leave the cells of every stored study behind, as if they were not done."""
    assert [cell.id for cell in planned().cells[:2]] == ["c526b527469692b4", "a03dcd2d57a4f936"]


def test_short_cells_train_the_first_trials_of_all_arms_before_the_next_ones() -> None:
    whole = planned(profile="smoke")
    short = planned(profile="smoke", choices={"protocol.trials_per_cell": [1]})
    n = len(whole.cells)
    assert len(short.cells) == 2 * n
    assert [cell.trials for cell in short.cells] == [range(1)] * n + [range(1, 2)] * n
    assert [cell.arm for cell in short.cells[:n]] == [cell.arm for cell in short.cells[n:]]
    assert len({cell.id for cell in (*whole.cells, *short.cells)}) == 3 * n
    assert sum(map(short.images, short.cells)) == sum(map(whole.images, whole.cells))
    assert [cell.name for cell in short.cells[:: 2 * n - 1]] == ["separable trial 0", "separable [split] trial 1"]


def test_a_field_that_came_later_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    """A protocol.toml from before a field was there goes on where the field has its default, and only there."""
    store, asked = Store(tmp_path / "study"), planned(profile="smoke")
    store.prepare(asked)
    written = store.protocol_file.read_text(encoding="utf-8")
    assert "warmup = 0.2\n" in written
    store.protocol_file.write_text(written.replace("warmup = 0.2\n", ""), encoding="utf-8")
    store.check(asked)
    with pytest.raises(InputError, match=r"another protocol \(recipe\.warmup=0\.2, asked for 0\.3\)"):
        store.check(dataclasses.replace(asked, recipe=replace("recipe", asked.recipe, {"warmup": 0.3})))


def test_arms_made_for_another_baseline_are_not_taken_in(tmp_path: Path) -> None:
    """Matched to a baseline of another width than the folder's, they would stand beside one that they do not match."""
    store = Store(tmp_path / "study")
    wide: dict[str, list[int]] = {"design.width": [16]}
    store.prepare(planned(profile="smoke", choices=wide))
    with pytest.raises(InputError, match=r"has another 'separable"):
        store.check(planned(profile="smoke", match="params"))
    store.check(planned(profile="smoke", match="params", choices=wide))
    with pytest.raises(InputError, match=r"has another 'separable"):
        store.check(planned(profile="smoke", setups=("bsconv_u",)))


@pytest.mark.parametrize("batches", [[512], [32, 512]])
def test_a_batch_of_more_pictures_than_there_are_is_refused_at_every_point_of_a_grid(batches: list[int]) -> None:
    with pytest.raises(InputError, match=r"recipe\.batch=512 is not allowed: more than the 256 training pictures"):
        planned(profile="smoke", choices={"recipe.batch": batches})


@pytest.mark.parametrize(("key", "value"), [("every", 3), ("fall", 0.5)])
def test_a_setting_that_the_schedule_does_not_read_is_refused(key: str, value: float) -> None:
    """Two names for one training would be two cells."""
    with pytest.raises(InputError, match=rf"recipe\.{key}={value} is not allowed with recipe\.schedule='cosine'"):
        planned(profile="smoke", choices={f"recipe.{key}": [value]})
    planned(profile="smoke", choices={f"recipe.{key}": [value], "recipe.schedule": ["staircase_epochs"]})


def test_pictures_that_the_stack_cannot_halve_twice_are_refused_and_both_sides_count() -> None:
    def cropped(height: int, width: int) -> Pictures:
        return dataclasses.replace(DIGITS, images=DIGITS.images[:, :height, :width])

    with pytest.raises(InputError, match=r"sides of 4 pixels or more, not 8 x 3"):
        plan(Request(profile="smoke"), cropped(8, 3))
    costs = {
        sides: (found := plan(Request(profile="smoke"), cropped(*sides))).cost(found.cells[0])
        for sides in ((8, 4), (4, 8), (8, 8))
    }
    assert costs[8, 4] == costs[4, 8]
    assert costs[8, 4].macs < costs[8, 8].macs


def test_a_split_that_is_not_drawn_has_no_control() -> None:
    kinds = [cell.control for cell in plan(Request(profile="confirm"), cifar_like()).cells]
    assert "split" not in kinds
    assert "split" in [cell.control for cell in plan(Request(profile="paper"), cifar_like()).cells]


def test_several_values_are_a_product_over_grouped() -> None:
    grid = planned(choices={"design.groups": [1, 2, 4], "design.residual": [True, False]})
    assert [cell.arm for cell in grid.asked] == [
        f"grouped:groups={groups}:residual={residual}" for groups in (1, 2, 4) for residual in ("true", "false")
    ]
    assert [(c.design.groups, c.design.residual) for c in grid.asked[:2]] == [(1, True), (1, False)]
    assert grid.profile == "custom (from quick)"
    assert {cell.role for cell in grid.asked} == {"exploratory"}


def test_a_grid_of_keys_that_all_arms_read_varies_all_arms() -> None:
    grid = planned(choices={"design.width": [16, 32]})
    assert len(grid.asked) == 2 * len(STUDIES["hybrid"].arms)


def test_a_grid_of_keys_that_no_arm_reads_together_is_refused() -> None:
    with pytest.raises(InputError, match=r"design.middle, design.scale together are not allowed: no arm of 'xception'"):
        planned(study="xception", choices={"design.middle": [2, 4], "design.scale": [True]})


def test_one_value_changes_the_whole_study_controls_included() -> None:
    wide = planned(choices={"design.width": [32]})
    assert {cell.design.width for cell in wide.cells} == {32}
    assert len(wide.cells) == 13
    assert wide.study_id == "hybrid-digits-custom-quick"


def test_what_the_profile_says_anyhow_leaves_it_what_it_is() -> None:
    assert planned(choices={"protocol.trials": [10], "recipe.epochs": [20]}).profile == "quick"
    assert planned(choices={"protocol.trials": [11]}).profile == "custom (from quick)"


def test_the_name_of_a_custom_profile_says_its_base() -> None:
    custom = planned(choices={"protocol.trials": [11]})
    assert custom.profile == custom_profile("quick")
    assert custom.base_profile == base_profile(custom.profile) == base_profile("quick") == "quick"


def test_the_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Typed again in the parser, which must not wait for the studies to be imported."""
    for command, lists in {
        "run": [list(STUDIES), list(PROFILES), MATCHES],
        "bench": [DTYPES, KERNELS],
    }.items():
        with pytest.raises(SystemExit):
            main([command, "--help"])
        said = " ".join(capsys.readouterr().out.split()).replace(" (default)", "")
        for names in lists:
            assert f" {', '.join(names)}" in said


@pytest.mark.parametrize("command", ["run", "status", "report", "again", "compare", "verify", "cost", "data", "bench"])
def test_what_the_help_teaches_is_what_the_command_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build().parse_args([command, "--help"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  dsresearch {command}")]
    assert lines
    for line in lines:
        words = re.split(r" {2,}| > ", line.strip())[0].split()[1:]  # behind them: what it does, or a file
        asked, settings = build().parse_known_args(words)
        assert asked.command.startswith(command)
        assert all("=" in word for word in settings)


def test_setups_select_and_strangers_are_exploratory() -> None:
    chosen = planned(setups=("hybrid", "bsconv_u"))
    assert [(cell.arm, cell.role) for cell in chosen.asked] == [("hybrid", "candidate"), ("bsconv_u", "exploratory")]
    assert len(chosen.cells) == 13  # what was decided beforehand does not follow what is run first


def test_one_value_of_the_recipe_leaves_chosen_setups_arms_of_the_study() -> None:
    """They are trained like all the others of this folder, and have a baseline among them."""
    keys = {"recipe.dtype": ["bfloat16"], "protocol.trials_per_cell": [5]}
    whole, some = planned(choices=keys), planned(setups=("separable", "hybrid", "bsconv_u"), choices=keys)
    assert [(cell.name, cell.role) for cell in some.asked] == [
        ("separable trial 0 to 4", "baseline"), ("hybrid trial 0 to 4", "candidate"),
        ("separable trial 5 to 9", "baseline"), ("hybrid trial 5 to 9", "candidate"),
        ("bsconv_u trial 0 to 4", "exploratory"), ("bsconv_u trial 5 to 9", "exploratory"),
    ]  # fmt: skip
    assert {cell.recipe.dtype for cell in some.asked} == {"bfloat16"}
    assert some.document() == whole.document()
    width = planned(setups=("separable",), choices=keys | {"design.width": [8]})
    assert [cell.arm for cell in width.asked] == ["separable:width=8"] * 2
    assert {cell.recipe.dtype for cell in width.asked} == {"bfloat16"}


def test_matched_arms_take_the_nearest_feasible_width() -> None:
    matched = planned(match="params")
    target = matched.cost(matched.cells[0]).params
    for cell in matched.asked:
        assert cell.match == "params"
        assert cell.deviation == pytest.approx(matched.cost(cell).params / target - 1)
    by_arm = {cell.arm: cell for cell in matched.asked}
    assert by_arm["hybrid"].deviation == 0
    assert by_arm["inception"].design.width < 16
    assert all(cell.match == "width" for cell in matched.cells)


def test_chosen_setups_are_matched_strangers_too_and_the_baseline_is_of_its_own_size() -> None:
    asked = planned(match="params", setups=("resnext", "separable", "bsconv_u")).asked
    assert [(cell.arm, cell.role, cell.match) for cell in asked] == [
        ("separable", "baseline", "width"), ("resnext", "rival", "params"), ("bsconv_u", "exploratory", "params")
    ]  # fmt: skip
    of_all = {cell.arm: cell for cell in planned(match="params").asked}
    assert asked[1] == of_all["resnext"]
    assert planned(study="residual", match="params", setups=("regular",)).asked[0].match == "params", (
        "others' do not matter"
    )


def test_a_design_key_of_chosen_setups_is_said_of_them_though_the_profile_says_it_of_others() -> None:
    (chosen,) = planned(study="continuum", setups=("g1_width12",), choices={"design.width": [16]}).asked
    assert (chosen.arm, chosen.design.width) == ("g1_width12:width=16", 16)
    assert planned(study="continuum", choices={"design.width": [16]}).profile == "quick"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"study": "hybird"}, r"study='hybird' .* did you mean 'hybrid'"),
        ({"profile": "ful"}, r"profile='ful' .* did you mean 'full'"),
        ({"profile": "paper"}, r"profile='paper' .* needs 50,000 \+ 10,000 of 32 px"),
        ({"setups": ("hybrd",)}, r"did you mean 'hybrid'"),
        ({"match": "params", "choices": {"design.groups": [1, 2]}}, r"match='params' is not allowed with a grid"),
        ({"choices": {"design.residual": [True]}}, r"whole study: 'hybrid_residual' would be 'hybrid'; --setup"),
        ({"match": "flops"}, r"match='flops' .* allowed: width, params, macs"),
        ({"choices": {"design.goups": [2]}}, r"did you mean 'design.groups'"),
        ({"choices": {"groups": [2]}}, r"groups is not a key"),
        ({"choices": {"design.formulation": ["hybrid"]}}, r"allowed: --setup S"),
        ({"choices": {"design.groups": [8]}}, r"setup 'separable' does not read it"),
        ({"choices": {"design.groups": []}}, r"design\.groups= has no value"),
        ({"choices": {"design.groups": [2, 2]}}, r"names a value twice"),
        ({"choices": {"protocol.seed": [1, 2]}}, r"one protocol, one value"),
        ({"choices": {"protocol.test_pictures": [1790]}}, r"protocol\.test_pictures=1790 is not allowed"),
        ({"choices": {"recipe.batch": [5000]}}, r"recipe\.batch=5000 .* more than the 1437 training pictures"),
        ({"setups": ("grouped",), "choices": {"design.groups": [2, 5]}}, r"design\.groups=5 .* does not divide"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(request_: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as found:
        planned(**request_)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_plans_on_cifar_like_pictures(profile: str) -> None:
    made = plan(Request(profile=profile), cifar_like())
    assert made.parts == {
        "smoke": (256, 100), "quick": (4096, 1000), "full": (50_000, 10_000), "paper": (54_000, 6_000),
        "confirm": (50_000, 10_000), "cpu": (50_000, 10_000),
    }[profile]  # fmt: skip
    models = made.protocol.trials * made.recipe.epochs
    arm = [cell for cell in made.cells if cell.name.startswith("separable") and not cell.control]
    steps = made.parts[0] // made.recipe.batch
    assert sum(made.images(cell) for cell in arm if cell.arm == "separable") == steps * made.recipe.batch * models


def test_digits_are_split_as_the_contract_says() -> None:
    for profile in ("quick", "full"):
        assert planned(profile=profile).parts == (1437, 360)


def test_the_continuum_reaches_from_regular_to_separable_at_the_widths_of_its_profile() -> None:
    """G = C is the separable convolution, the baseline: no arm has so many groups."""
    for profile, channels in (("smoke", 32), ("quick", 64), ("full", 128)):
        cells = planned(study="continuum", profile=profile).cells
        spine = [
            cell.design.groups for cell in cells if cell.setup == "grouped" and cell.arm == f"g{cell.design.groups}"
        ]
        assert spine[: len(spine) // 3] == [2**at for at in range(channels.bit_length() - 1)]
        assert {cell.match for cell in cells} == {"width", "params", "macs"}


def test_a_cell_of_two_names_is_asked_for_once() -> None:
    made = planned(study="continuum")
    names = [(cell.arm, cell.match) for cell in made.asked if cell.arm == "g8" and not cell.control]
    assert names == [("g8", "width"), ("g8", "params"), ("g8", "macs")]
    assert len({cell.id for cell in made.asked}) == len(made.once) < len(made.asked)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_plans_at_every_small_profile_with_one_baseline_first(study: str) -> None:
    for profile in ("smoke", "quick", "full"):
        cells = planned(study=study, profile=profile).cells
        assert [cell.arm for cell in cells if cell.role == "baseline"] == [cells[0].arm]
        names = [(cell.arm, cell.control, cell.match) for cell in cells]
        assert len(set(names)) == len(names)


def test_a_match_that_no_width_reaches_is_refused() -> None:
    """A width from 1 to 4 in steps of resnext's bottleneck cannot hold as little as a separable network of width 1."""
    with pytest.raises(InputError, match=r"match='params' .* misses the baseline's .* allowed: a factor of 2"):
        planned(study="residual", match="params", choices={"design.width": [1], "design.kernel": [15]})


def test_a_large_grid_is_planned_and_trained_only_when_it_was_meant() -> None:
    many = planned(profile="smoke", choices={"design.width": list(range(8, 2056, 8)), "design.residual": [True, False]})
    assert len(many.asked) == 8 * 512  # the arms of the study read both keys
    with pytest.raises(InputError, match=r"this is 201 cells to train .*allowed: up to 200, more with --yes"):
        refuse_large(many, 201)
    refuse_large(many, 200)
    with pytest.raises(InputError, match="points is not allowed: at most 100000"):
        planned(choices={"design.width": list(range(1, 4097)), "design.depth": list(range(1, 65))})


@pytest.mark.parametrize("setups", ["false", "{}", "[1]"])
def test_a_grid_files_setups_are_names(setups: str, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(f"setup = {setups}\n", encoding="utf-8")
    with pytest.raises(InputError, match="names in quotes"):
        read_grid(tmp_path / "grid.toml")


@pytest.mark.parametrize(("text", "wrong"), [("setups = ['grouped']", "setups"), ("[desing]\nwidth = 8", "desing")])
def test_a_grid_files_wrong_key_is_named(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(f"{text}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"grid.toml: {wrong} is not allowed: `setup` and the tables design, recipe"):
        read_grid(tmp_path / "grid.toml")


def test_an_empty_grid_file_asks_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text("[design]\n", encoding="utf-8")
    with pytest.raises(InputError, match="it is empty"):
        read_grid(tmp_path / "grid.toml")
