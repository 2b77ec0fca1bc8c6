"""Published networks as arms of a study: fitted to the pictures, as large as published, refused where none is left."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsresearch import data, ledger
from dsresearch.design import SETUPS, InputError
from dsresearch.networks.build import Network
from dsresearch.networks.catalogue import POINTS
from dsresearch.networks.darknet import Darknet
from dsresearch.networks.fractalnet import FractalNet
from dsresearch.record.store import configuration
from dsresearch.schema import TRIAL_COLUMNS
from dsresearch.studies import Plan, is_published
from dsresearch.studies.plan import Request, plan
from dsresearch.studies.recipes import RECIPES
from dsresearch.trials.start import _one_ulp_away, _weights_key, enlarged, seeds_of
from tests.test_plan import cifar_like

DIGITS = data.load("digits")
PUBLISHED = ("fractalnet", "darknet", "xception")


def planned(study: str, pictures: Any = DIGITS, **request: Any) -> Plan:
    return plan(Request(study=study, **request), pictures)


def arms(study: str, pictures: Any = DIGITS, **request: Any) -> dict[str, Any]:
    """(parameters, multiply-adds, design) of each arm."""
    made = planned(study, pictures, **request)
    return {c.arm: (made.cost(c).params, made.cost(c).macs, c.design) for c in made.cells if not c.control}


def test_no_setup_has_the_name_of_a_network() -> None:
    assert not set(SETUPS) & set(POINTS)
    assert [name for name in (*SETUPS, *POINTS) if is_published(name)] == list(POINTS)


@pytest.mark.parametrize(
    ("study", "arm", "params"),
    [  # the counts of test_networks, which come from the authors' code, for ten classes of colour pictures
        ("fractalnet", "fractalnet", 33_724_618),
        ("fractalnet", "fractalnet_separable_deepest", 3_849_051),
        ("darknet", "darknet19", 19_827_626),
        ("darknet", "darknet19_separable", 3_450_981),
        ("darknet", "darknet_reference_separable", 722_341),
        ("darknet", "darknet_cifar", 7_681_674),
    ],
)
def test_at_the_papers_profile_the_networks_have_their_published_size(study: str, arm: str, params: int) -> None:
    assert arms(study, cifar_like(), profile="paper")[arm][0] == params


def test_xception_and_inception_v3_are_of_equal_size() -> None:
    """In the paper the Inception V3 is 3.4 % larger."""
    for profile, pictures, most in (("quick", DIGITS, 0.025), ("full", DIGITS, 0.035), ("paper", cifar_like(), 0.05)):
        sizes = {name: params for name, (params, _, _) in arms("xception", pictures, profile=profile).items()}
        for kind in ("imagenet", "jft"):
            assert abs(sizes[f"inception_v3_{kind}"] / sizes[f"xception_{kind}"] - 1) < most, (profile, kind)
        assert sizes["xception_jft_fc"] > sizes["xception_jft"] == sizes["xception_imagenet"]


def test_small_pictures_are_enlarged_for_networks_that_halve_them_often_and_the_row_says_so() -> None:
    cells = {cell.arm: cell for name in PUBLISHED for cell in planned(name).cells}
    sides = {arm: cell.columns["image"] for arm, cell in cells.items()}
    assert sides["fractalnet"] == sides["darknet19"] == 32  # five halvings of 8 pixels
    assert sides["darknet_reference"] == 64  # six
    assert sides["darknet_cifar"] == 8  # two
    assert sides["xception_imagenet"] == sides["inception_v3_imagenet"] == 16
    row = cells["fractalnet_global"].columns
    assert (row["network"], row["factor"], row["width"], row["kernel"]) == ("fractalnet", 1 / 16, None, None)
    assert "global_share=0.5" in row["options"]
    assert set(row) <= set(TRIAL_COLUMNS)
    assert {cell.design.image for cell in planned("darknet", cifar_like()).cells} == {32, 64}


def test_enlarging_repeats_every_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 3, 2)).astype(np.uint8)
    np.testing.assert_array_equal(enlarged(images, 6), np.kron(images, np.ones((1, 2, 2, 1), np.uint8)))
    assert enlarged(images, 3) is images


@pytest.mark.parametrize("study", PUBLISHED)
def test_a_cell_is_made_again_from_its_file(study: str) -> None:
    made = planned(study, profile="smoke")
    for cell in made.cells:
        config = json.loads(json.dumps(configuration(cell, made)))
        known = {key: config[key] for key in ledger._defaults(study) if key in config}
        known["protocol"] = {k: v for k, v in config["protocol"].items() if k not in ("seed", "trials")}
        known |= {"seed": config["protocol"]["seed"], "trials": config["protocol"]["trials"]}
        again = ledger.cell_of(study, {**ledger._defaults(study), **known})
        assert (again.id, again.design, again.recipe, again.name) == (cell.id, cell.design, cell.recipe, cell.name)
    assert len({cell.id for cell in made.cells}) == len(made.cells)


def test_both_recipes_of_the_xception_paper_have_names() -> None:
    cells = {cell.arm: cell for cell in planned("xception").cells if not cell.control}
    for arm, name, decay in (
        ("xception_imagenet", "xception_imagenet", 1e-5),
        ("inception_v3_jft_fc", "xception_jft", 4e-5),
    ):
        wanted = {**RECIPES[name], "decay": decay, "smoothing": 0.0}
        assert {key: getattr(cells[arm].recipe, key) for key in wanted} == wanted
    slower = planned("xception", choices={"recipe.rate": [0.01]}).cells
    assert {cell.recipe.rate for cell in slower} == {0.01}, "what the user says is said of every arm"
    assert len({cell.recipe.optimiser for cell in slower}) == 2
    asked = planned("hybrid", choices={"recipe": ["xception_jft"], "recipe.rate": [0.01]})
    assert (asked.recipe.optimiser, asked.recipe.rate, asked.recipe.every) == ("rmsprop", 0.01, 3_000_000)


@pytest.mark.parametrize(
    ("study", "request_", "message"),
    [
        ("fractalnet", {"choices": {"design.drop_path": [1.0]}}, "drop_path=1.0 is not allowed: a number from 0 up to"),
        ("fractalnet", {"choices": {"design.drop_path": [-0.1]}}, "drop_path=-0.1 is not allowed"),
        ("fractalnet", {"choices": {"design.global_share": [1.5]}}, "global_share=1.5 is not allowed"),
        ("fractalnet", {"choices": {"design.columns": [0]}}, "design.columns=0 is not allowed: a whole number from 1"),
        ("fractalnet", {"choices": {"design.columns": ["two"]}}, "columns='two' is not allowed: a whole number"),
        ("fractalnet", {"choices": {"design.image": [16]}}, "image=16 is not allowed: too small for the strides"),
        ("fractalnet", {"choices": {"design.width": [0.001]}}, "width=0.001 is not allowed: it leaves no channel"),
        ("fractalnet", {"choices": {"design.blocks": [-1]}}, "blocks=-1 is not allowed: a whole number from 0"),
        ("xception", {"choices": {"design.between": ["rellu"]}}, "between='rellu' is not allowed: none, relu, elu"),
        ("darknet", {"choices": {"design.head_act": ["leeky"]}}, "head_act='leeky' is not allowed: none, relu"),
        ("fractalnet", {"choices": {"design.features": [[64, 128]]}}, "design.features=(64, 128) is not allowed: one"),
        ("darknet", {"choices": {"design.stages": [[[3, 8]]]}}, "design.stages=((3, 8),) is not allowed: (((a whole"),
        ("fractalnet", {"choices": {"design.colums": [2]}}, "design.colums is not a key"),
        ("fractalnet", {"choices": {"design.classes": [7]}}, "design.classes=7 is not allowed: the pictures have 10"),
        ("fractalnet", {"choices": {"design.groups": [2]}}, "design.groups is not a key"),
        ("fractalnet", {"setups": ("separable",)}, "setup='separable' is not known"),
        ("hybrid", {"setups": ("fractalnet",)}, "setup='fractalnet' is not known"),
        ("darknet", {"match": "params"}, "a published network"),
        ("darknet", {"choices": {"recipe.polyak": [1.0]}}, "recipe.polyak=1.0 is not allowed"),
        ("darknet", {"choices": {"recipe.smoothing": [1]}}, "recipe.smoothing=1.0 is not allowed"),
        ("xception", {"choices": {"recipe": ["xception_imagnet"]}}, "did you mean 'xception_imagenet'"),
        ("xception", {"choices": {"design.dropout": [1]}}, "dropout=1.0 is not allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(study: str, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        planned(study, **request_)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_published_networks_take_square_pictures() -> None:
    pictures = dataclasses.replace(cifar_like(), images=np.zeros((60_000, 32, 16, 3), np.uint8))
    with pytest.raises(InputError, match="square pictures"):
        planned("darknet", pictures, profile="smoke")


def test_networks_that_differ_in_evaluation_alone_are_trained_as_one() -> None:
    cells = {cell.arm: cell for cell in planned("fractalnet").cells if not cell.control}

    def key(arm: str) -> list[int]:
        cell = cells[arm]
        return list(jax.random.key_data(_weights_key(seeds_of(cell, 0), cell.design)).tolist())

    assert cells["fractalnet"].id != cells["fractalnet_deepest"].id
    assert key("fractalnet") == key("fractalnet_deepest") != key("fractalnet_separable")


def test_the_bit_control_moves_one_weight_of_the_first_kernel() -> None:
    network = Network(Darknet(stages=(((3, 4),), ((3, 4),)), image=8, channels=1, classes=3))
    params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), True)["params"]
    moved = jax.tree.map(lambda a, b: int((np.asarray(a) != np.asarray(b)).sum()), params, _one_ulp_away(params))
    assert sum(jax.tree.leaves(moved)) == 1


# --- FractalNet -------------------------------------------------------------------------------------------------------

SMALL = FractalNet(columns=2, blocks=1, features=(6,), dropouts=(0.0,), image=4, channels=1, classes=3, drop_path=0.0)


def _drawn(network: FractalNet) -> Any:
    rng = np.random.default_rng(3)
    variables = Network(network).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), True)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.2, 1, leaf.shape), leaf.dtype), variables)


def _column(variables: Any, x: jax.Array, convolutions: list[str]) -> jax.Array:
    """One column as the plain network that it is, by hand: convolution, BatchNorm, ReLU, ..., pool, mean, layer."""
    params, stats = variables["params"], variables["stats"]
    for name in convolutions:
        kernel, norm, seen = params[name]["kernel"], params[f"{name}_bn"], stats[f"{name}_bn"]
        z = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        z = (z - seen["mean"].reshape(1, 1, 1, -1)) / jnp.sqrt(seen["variance"].reshape(1, 1, 1, -1) + 1e-5)
        x = jnp.maximum(z * norm["scale"].reshape(1, 1, 1, -1) + norm["offset"].reshape(1, 1, 1, -1), 0)
    x = x.reshape(x.shape[0], 2, 2, 2, 2, -1).max((2, 4)).mean((1, 2))
    return x @ params["predictions"]["kernel"] + params["predictions"]["bias"].reshape(1, -1)


def test_the_deepest_column_is_a_plain_network() -> None:
    deepest = dataclasses.replace(SMALL, deepest=True)
    variables, x = _drawn(SMALL), jax.random.normal(jax.random.key(1), (5, 4, 4, 1))
    found = Network(deepest).apply(variables, x, False)
    alone = _column(variables, x, ["block1_col2_conv1", "block1_col2_conv2"])
    np.testing.assert_allclose(found, alone, rtol=2e-5)
    assert not np.allclose(Network(SMALL).apply(variables, x, False), alone, rtol=1e-3)


def test_global_drop_path_trains_one_column_of_the_whole_network_each_about_as_often() -> None:
    network = dataclasses.replace(SMALL, blocks=2, features=(3, 3), dropouts=(0.0, 0.0), columns=3, global_share=1.0)
    x = jax.random.normal(jax.random.key(1), (5, 4, 4, 1))
    variables = Network(network).init(jax.random.key(0), x, True)

    @jax.jit
    def gradients(key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            given = {**variables, "params": params}
            return Network(network).apply(given, x, True, mutable=["stats"], rngs={"dropout": key})[0][:, 0].sum()

        return {
            name: jnp.abs(of["kernel"]).sum()
            for name, of in jax.grad(loss)(variables["params"]).items()
            if "kernel" in of
        }

    counts = dict.fromkeys((1, 2, 3), 0)
    for seed in range(60):
        taught = {name for name, size in gradients(jax.random.key(seed)).items() if float(size) > 0}
        columns = {int(name.split("_col")[1][0]) for name in taught if "_col" in name}
        assert len(columns) == 1, taught  # in both blocks the same one
        counts[columns.pop()] += 1
    assert min(counts.values()) >= 8, counts  # of 60 thirds: less has a chance of 0.1 %
