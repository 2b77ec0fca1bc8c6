"""What may vary is validated when it is made: what is wrong is one line that tells what is allowed."""

import dataclasses

import pytest

from dsresearch.design import (
    FORMULATIONS,
    SETUPS,
    Design,
    InputError,
    Protocol,
    Recipe,
    digest,
    identity,
    replace,
    seed_of,
    setup,
)


@pytest.mark.parametrize("name", SETUPS)
def test_every_named_point_is_a_design(name: str) -> None:
    design = setup(name)
    assert design.formulation in FORMULATIONS
    assert dataclasses.replace(design) == design


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("seprable", {}, r"setup='seprable' .* did you mean 'separable'\?"),
        ("grouped", {"grops": 2}, r"design\.grops is not a key.* did you mean 'groups'\?"),
        (
            "grouped",
            {"groups": 3},
            r"does not divide the 16 input channels.*allowed: 1, 2, 4, 8, 16, 32, 64$",
        ),
        ("grouped", {"groups": 0}, r"design\.groups=0 .* needs a whole number from 1"),
        ("grouped", {"groups": True}, r"design\.groups=True is not allowed: a whole number"),
        ("grouped", {"groups": "2"}, r"design\.groups='2' is not allowed: a whole number"),
        ("resnext", {"groups": 3}, r"does not divide the 8 bottleneck channels"),
        ("separable", {"groups": 2}, r"setup 'separable' does not read it, allowed with .*grouped"),
        ("hybrid", {"multiplier": 2}, r"design\.multiplier=2 .* allowed with separable"),
        ("regular", {"activation": "relu"}, r"setup 'regular' does not read it"),
        ("separable", {"activation": "gelu"}, r"design\.activation='gelu' .* allowed: none, relu, elu"),
        ("separable", {"order": "pointwise_first"}, r"does not read it, allowed with grouped"),
        ("separable", {"kernel": 4}, r"design\.kernel=4 .* odd"),
        ("separable", {"width": 0}, r"design\.width=0 .* from 1"),
        ("separable", {"residual": 1}, r"design\.residual=1 .* true or false"),
        ("inception", {"width": 6}, r"design\.width=6 .* needs a multiple of 4"),
        ("resnext", {"width": 1}, r"design\.width=1 .* needs a multiple of 2"),
    ],
)
def test_a_wrong_design_is_refused_in_one_line(name: str, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as found:
        setup(name, **changes)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("group", "base", "changes", "said"),
    [
        ("recipe", Recipe(), {"epoch": 3}, r"recipe\.epoch is not a key.* did you mean 'epochs'"),
        ("recipe", Recipe(), {"epochs": 0}, r"recipe\.epochs=0 .* from 1"),
        ("recipe", Recipe(), {"rate": float("nan")}, r"recipe\.rate=nan"),
        ("recipe", Recipe(), {"dtype": "float16"}, r"allowed: float32, bfloat16; did you mean"),
        ("recipe", Recipe(), {"momentum": 1.0}, r"recipe\.momentum=1\.0"),
        (
            "recipe",
            Recipe(schedule="constant"),
            {"warmup": 0.1},
            r"warmup=0\.1 .*='constant': cosine alone reads it, 0\.2",
        ),
        ("recipe", Recipe(schedule="staircase_epochs"), {"warmup": 0.0}, r"warmup=0\.0 is not allowed"),
        ("recipe", Recipe(), {"every": 3}, r"every=3 .*='cosine': staircase alone reads it, 1 there"),
        ("protocol", Protocol(), {"trials": 0}, r"trials=0 .* from 1"),
        ("protocol", Protocol(), {"trials": -3}, r"trials=-3"),
        ("protocol", Protocol(), {"seed": 2**32}, r"protocol\.seed=4294967296"),
        ("protocol", Protocol(), {"trial_batch": 3}, r"protocol\.trial_batch=3 .* does not divide the 10 trials"),
        ("protocol", Protocol(), {"split": "standrad"}, r"did you mean 'standard'"),
        ("protocol", Protocol(), {"margin": 0.0}, r"protocol\.margin=0\.0"),
        (
            "protocol",
            Protocol(),
            {"trials_per_cell": 3},
            r"trials_per_cell=3 is .* divide the 10 trials",
        ),
        ("protocol", Protocol(trials_per_cell=5), {"trial_batch": 2}, r"does not divide the 5 trials of a cell"),
    ],
)
def test_a_wrong_recipe_or_protocol_is_refused(group: str, base: object, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(group, base, changes)


def test_a_whole_number_is_a_number_where_one_is_asked_for() -> None:
    assert replace("recipe", Recipe(), {"rate": 1}) == Recipe(rate=1.0)
    assert digest(dataclasses.asdict(replace("recipe", Recipe(), {"rate": 1}))) == digest(
        dataclasses.asdict(Recipe(rate=1.0))
    )


def test_groups_stop_at_the_channels_of_a_stage() -> None:
    design = setup("grouped", groups=64)
    assert [design.segments(channels) for channels in (16, 32, 64, 128)] == [16, 32, 64, 64]


def test_the_shapes_of_the_modules() -> None:
    design = Design(width=8, depth=2)
    assert design.widths == (8, 16, 32)
    assert design.module_shapes() == [(8, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]


def test_digest_sees_every_field_and_no_order() -> None:
    assert digest({"a": 1, "b": [True, None]}) == digest({"b": [True, None], "a": 1})
    base = Design()
    changed = [dataclasses.replace(base, width=17), dataclasses.replace(base, residual=True), setup("hybrid")]
    assert len({digest(dataclasses.asdict(design)) for design in [base, *changed]}) == 4


DEFAULTS: dict[type, dict[str, object]] = {
    Design: {
        "formulation": "separable", "width": 16, "depth": 2, "kernel": 3, "groups": 0, "order": "spatial_first",
        "multiplier": 1, "residual": False, "activation": "none", "normalise": False,
    },
    Recipe: {
        "epochs": 20, "batch": 64, "optimiser": "sgd", "rate": 0.1, "momentum": 0.9, "decay": 5e-4,
        "schedule": "cosine", "warmup": 0.2, "augment": "dataset", "dtype": "float32",
    },
    Protocol: {
        "seed": 0, "trials": 10, "split": "standard", "train_pictures": 0, "test_pictures": 0, "trial_batch": 1,
        "threads": 1, "margin": 0.25, "alpha": 0.05,
    },
}  # fmt: skip


@pytest.mark.parametrize("part", DEFAULTS)
def test_no_default_ever_changes(part: type) -> None:
    """Golden: identities leave defaults out, so another one would be another experiment under the same name. A field
    that is new since the first study is not in this list."""
    values = dataclasses.asdict(part())
    assert {name: values[name] for name in DEFAULTS[part]} == DEFAULTS[part]
    assert identity(part()) == {}


def test_an_identity_is_what_differs_from_the_defaults() -> None:
    assert identity(setup("resnext", width=8)) == {
        "formulation": "resnext", "width": 8, "groups": 4, "residual": True, "activation": "relu", "normalise": True,
    }  # fmt: skip


def test_seeds_are_what_they_were() -> None:
    """Golden: another value here means that every stored study would be trained from other numbers."""
    assert [seed_of(0, 0, purpose) for purpose in ("split", "init", "order", "augment")] == [
        3563251923, 3185245149, 2711045595, 2223713482,
    ]  # fmt: skip
    assert seed_of(0, 1, "init") != seed_of(1, 0, "init")
