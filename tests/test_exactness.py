"""What is proven about the formulations: classes, witnesses, and that neither can be had for nothing."""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from dsresearch import exactness, fused_form, transport
from dsresearch.design import SETUPS, Design, InputError, setup
from dsresearch.exactness import Pair, classify, fit, witness
from dsresearch.exactness.measure import Bits, same_bits

Floats = np.ndarray[Any, np.dtype[Any]]
S: dict[str, Any] = {"activation": "relu", "normalise": True}
PLAIN: dict[str, Any] = {"activation": "none", "normalise": False}


def small(name: str, **changes: Any) -> Design:
    return setup(name, **{"width": 8, "depth": 1, **changes})


def everywhere(name: str, **changes: Any) -> Design:
    """As many groups as channels in every stage."""
    return small(name, groups=32, **changes)


def name_of(value: Any) -> str | None:
    return transport.describe(value).replace("'", "") if isinstance(value, Design) else None


# --- classes --------------------------------------------------------------------------------------------------------


@functools.cache
def table() -> Mapping[frozenset[str], Pair]:
    """Some formulations whose relations are known from paper and pencil."""
    designs = {
        "separable": small("separable"),
        "hybrid": small("hybrid"),
        "groups=C": everywhere("grouped"),
        "groups=4": small("grouped"),
        "bsconv_u": small("bsconv_u"),
        "extreme": small("inception_extreme", **PLAIN),
        "regular": small("regular"),
        "q=9": small("separable", multiplier=9),
        "hybrid_residual": small("hybrid_residual"),
        "hybrid_learned": small("hybrid_learned"),
        "with s": small("separable", **S),
    }
    return {frozenset((pair.a, pair.b)): pair for pair in classify(designs)}


def of(a: str, b: str) -> Pair:
    return table()[frozenset((a, b))]


def test_every_pair_is_decided() -> None:
    assert len(table()) == 11 * 10 // 2
    assert exactness.sound(table().values())
    together = {"exact": [], "reparam": [], "distinct": []}
    for names, pair in table().items():
        together[pair.relation].append(set(names))
    trio = [{"separable", "hybrid"}, {"separable", "groups=C"}, {"hybrid", "groups=C"}]
    assert all(pair in together["exact"] for pair in [*trio, {"bsconv_u", "extreme"}])
    assert len(together["exact"]) == 4
    assert together["reparam"] == [{"regular", "q=9"}]


def test_a_relation_comes_with_its_evidence() -> None:
    exact, reparam, distinct = of("separable", "hybrid"), of("regular", "q=9"), of("separable", "hybrid_residual")
    assert exact.method == "index map"
    assert exact.params_equal
    assert max(exact.max_rel_out_f64, exact.max_rel_grad_f64) <= 1e-12
    assert exact.max_rel_out_f32 <= 1e-4
    assert exact.same_bits is True  # one fused kernel in two layouts, on this backend
    assert reparam.method == "linear map"
    assert not reparam.params_equal
    assert reparam.max_rel_out_f64 <= 1e-12
    assert (reparam.max_rel_grad_f64, reparam.same_bits) == (None, None)
    assert distinct.params_equal  # the same count does not make the same function
    assert distinct.method == "closed-form"
    assert distinct.witness > 0.1
    assert distinct.max_rel_out_f64 is None


def test_a_table_and_a_document_say_the_same() -> None:
    pairs = list(table().values())
    rows = json.loads(json.dumps(exactness.document(pairs), allow_nan=False))["pairs"]
    keys = {
        "a",
        "b",
        "class",
        "max_rel_out_f64",
        "max_rel_grad_f64",
        "max_rel_out_f32",
        "params_equal",
        "method",
        "witness",
        "same_bits",
    }
    assert all(keys <= row.keys() for row in rows)
    text = exactness.render(pairs).splitlines()
    assert len(text) == 1 + len(rows) + 1
    assert text[-1] == "55 pairs: 4 exact, 1 reparam, 50 distinct, 0 undecided"
    for row in rows:
        assert any(
            line.startswith(f"{row['a']} ") and f" {row['b']} " in line and row["class"] in line for line in text
        )


def test_against_a_baseline_each_arm_has_one_pair() -> None:
    arms = {"wide": small("separable", width=16), "separable": small("separable"), "inception": small("inception")}
    pairs = classify(arms, baseline="separable", bits=False)
    assert [(pair.a, pair.b, pair.relation) for pair in pairs] == [
        ("separable", "wide", "undecided"),
        ("separable", "inception", "distinct"),
    ]
    assert "other width or depth" in pairs[0].detail
    assert pairs[0].passed
    assert not exactness.sound(pairs)
    with pytest.raises(InputError, match=r"baseline='seperable' is not known.*did you mean 'separable'"):
        classify(arms, baseline="seperable")


def test_group_counts_mean_what_they_mean_in_the_network() -> None:
    """Eight groups are all channels of the first stage, but not of the others."""
    arms = {"separable": small("separable"), "G=8": small("grouped", groups=8), "G=32": small("grouped", groups=32)}
    first, last = classify(arms, baseline="separable", bits=False)
    assert (first.b, first.relation, first.method) == ("G=8", "distinct", "closed-form")
    assert "16 -> 16" in first.detail or "16 -> 32" in first.detail
    assert (last.b, last.relation) == ("G=32", "exact")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index map of paths with the first two paths exchanged, one way."""
    good = fused_form.split

    def bad(array: Floats, layout: str, paths: int) -> Floats:
        out = good(array, layout, paths)
        return out[[1, 0, *range(2, paths)]] if layout == "paths" and paths > 1 else out

    monkeypatch.setattr(transport, "split", bad)


@pytest.mark.usefixtures("poisoned")
def test_a_poisoned_index_map_is_caught(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {
        "separable": small("separable"),
        "hybrid": small("hybrid"),
        "groups=C": everywhere("grouped"),
        "towers": small("inception_simplified"),
        "segments": small("inception_reformulated"),
    }
    pairs = {(pair.a, pair.b): pair for pair in classify(arms, bits=False)}
    for wrong in (pairs["separable", "hybrid"], pairs["towers", "segments"], pairs["hybrid", "groups=C"]):
        assert (wrong.relation, wrong.passed) == ("undecided", False)
        assert "the index map is wrong" in wrong.detail
        assert wrong.max_rel_out_f64 > 1e-3
    assert pairs["separable", "groups=C"].relation == "exact"  # no paths there
    monkeypatch.setattr(exactness, "formulations", lambda: {name: arms[name] for name in ("separable", "hybrid")})
    assert exactness.main(as_json=False) == 1
    assert "FAILED" in capsys.readouterr().out
    assert exactness.main(as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["pairs"][0]["passed"] is False


def test_one_bit_is_a_difference() -> None:
    one = Bits(np.ones(3, np.float32), [np.zeros(2, np.float32)])
    other = Bits(one.logits, [np.array([0.0, -0.0], np.float32)])
    assert same_bits(one, one)
    assert not same_bits(one, other)


# --- witnesses ------------------------------------------------------------------------------------------------------


BOUNDED = {
    **{name: small(name) for name in SETUPS},
    "grouped pointwise first": small("grouped", groups=2, order="pointwise_first"),
    "elu": small("separable", activation="elu", residual=True),
    "q=2 with BatchNorm": small("separable", multiplier=2, normalise=True),
    "extreme elu": small("inception_extreme", activation="elu"),
    "inception without s": small("inception", **PLAIN),
    "resnext without s": small("resnext", **PLAIN),
    "5x5": small("grouped", kernel=5, normalise=True),
}
INCLUDED = [  # every map of the first is one of the second
    (small("separable"), small("grouped")),
    (small("separable"), small("hybrid_learned")),
    (small("separable"), small("separable", multiplier=2)),
    (small("bsconv_u"), small("grouped", order="pointwise_first")),
    (small("bsconv_s"), small("bsconv_u")),
    (small("grouped"), small("regular")),
    (small("regular"), small("regular", kernel=5)),
    (small("resnext", **PLAIN), small("regular")),
    (small("inception_extreme"), small("inception_reformulated")),
    (small("separable", **S), small("grouped", **S)),
]


@pytest.mark.parametrize("name", BOUNDED)
def test_no_bound_keeps_a_formulation_from_its_own_maps(name: str) -> None:
    for seed, shape in ((0, (8, 8)), (1, (8, 16))):
        found = witness.bounded(BOUNDED[name], BOUNDED[name], *shape, 5, seed)
        assert found.miss <= 1e-10, found


@pytest.mark.parametrize(("inner", "outer"), INCLUDED, ids=name_of)
def test_no_bound_keeps_a_formulation_from_maps_that_it_includes(inner: Design, outer: Design) -> None:
    for shape in ((8, 8), (8, 16)):
        assert witness.bounded(inner, outer, *shape, 5, 0).miss <= 1e-10
    found = witness.witness(inner, outer, 5, 0)
    assert found is not None  # but not the other way
    assert found.miss > 1e-3
    assert found.method != "fit"


def test_the_closed_form_is_where_a_search_ends() -> None:
    """The nearest separable kernel to a dense one, by alternating least squares from many starts."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 3, 4))
    fitted = transport.best_fit(kernel, small("separable"), 3, 4)
    assert fitted is not None
    closed = np.linalg.norm(transport.dense_kernel(fitted, small("separable"), 3, 4) - kernel)

    def rest(theta: Floats) -> Floats:
        spatial, pointwise = theta[:27].reshape(3, 3, 3), theta[27:].reshape(3, 4)
        return (spatial[..., None] * pointwise - kernel).ravel()

    searched = min(np.linalg.norm(least_squares(rest, rng.standard_normal(39)).fun) for _ in range(8))
    assert closed == pytest.approx(searched, rel=1e-6)


RELU, ELU = small("separable", activation="relu"), small("separable", activation="elu")
TWIN = small("hybrid", activation="relu")


def test_a_fit_finds_what_is_there_and_misses_what_is_not() -> None:
    rng = np.random.default_rng(0)
    images = fit.pictures(8, 3, rng)
    relu, elu, twin = (fit.Part(design, 8, images, rng) for design in (RELU, ELU, TWIN))
    assert relu.miss(relu.own_map()) <= fit.FOUND
    assert relu.miss(twin.own_map()) <= fit.FOUND
    assert relu.miss(elu.own_map()) >= fit.MISSED


def test_a_fit_is_evidence_only_where_nothing_bounds() -> None:
    found = witness.witness(ELU, RELU, 3, 0)
    assert found is not None
    assert found.method == "fit"
    assert found.miss >= fit.MISSED
    assert witness.witness(RELU, TWIN, 3, 0) is None  # twins stay undecided, whatever their names are


def test_a_fit_that_does_not_find_its_own_maps_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 3)  # too few to arrive anywhere
    assert witness.witness(ELU, RELU, 3, 0) is None


@pytest.mark.slow
def test_verify_decides_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    assert exactness.main(as_json=True) == 0
    out = capsys.readouterr()
    rows = json.loads(out.out)["pairs"]
    assert len(rows) == 25 * 24 // 2
    assert {row["method"] for row in rows if row["class"] == "distinct"} == {"closed-form", "lower-bound"}
    assert re.search(r"networks compiled: (\d+) of \1\b", out.err)  # all of them
    classes = {frozenset((row["a"], row["b"])): row["class"] for row in rows}
    assert classes[frozenset(("inception_simplified", "inception_reformulated"))] == "exact"
    assert classes[frozenset(("hybrid_residual", "separable"))] == "distinct"
