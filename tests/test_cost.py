"""Closed-form costs against what is built and traced, and against published formulas."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from traced import traced

from dsresearch import cost
from dsresearch.design import ACTIVATIONS, FORMULATIONS, ORDERS, Design, InputError, setup
from dsresearch.modules import SeparableModule
from dsresearch.networks.stack import Stack


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """Any design whose channels divide."""
    name = draw(st.sampled_from(sorted(FORMULATIONS)))
    reads = FORMULATIONS[name]
    fields: dict[str, Any] = {
        "width": draw(st.sampled_from([4, 8, 12, 20])),
        "kernel": draw(st.sampled_from([1, 3, 5])),
        "residual": draw(st.booleans()),
        "depth": draw(st.integers(1, 2)),
    }
    for field, values in (
        ("groups", [1, 2, 4, 80]),
        ("order", ORDERS),
        ("multiplier", [1, 2, 9]),
        ("activation", ACTIVATIONS),
        ("normalise", [False, True]),
    ):
        if field in reads:
            fields[field] = draw(st.sampled_from(values))
    try:
        return Design(formulation=name, **fields)
    except InputError:  # a group count that does not divide
        return Design(formulation=name, **{**fields, "groups": 2})


@settings(max_examples=150)
@given(
    design=designs(),
    block=st.integers(0, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    stride=st.sampled_from([1, 2, 3]),
)
@example(design=setup("bsconv_s", width=4), block=0, height=5, width=4, stride=2)
@example(design=setup("inception", normalise=False), block=1, height=7, width=6, stride=2)
@example(design=setup("hybrid_learned", normalise=True), block=2, height=3, width=8, stride=1)
def test_a_modules_closed_form_is_what_is_built(
    design: Design, block: int, height: int, width: int, stride: int
) -> None:
    shapes = design.module_shapes()
    c_in, c_out = shapes[block % len(shapes)]
    found = cost.module(design, c_in, c_out, (height, width), stride)
    assert found == traced(SeparableModule(design, c_out, stride), (height, width), c_in)


@settings(max_examples=40)
@given(
    design=designs(),
    image=st.tuples(st.sampled_from([4, 8, 13]), st.sampled_from([8, 13, 32])),
    channels=st.sampled_from([1, 3]),
    classes=st.integers(2, 100),
)
def test_the_study_networks_closed_form_is_what_is_built(
    design: Design, image: tuple[int, int], channels: int, classes: int
) -> None:
    found = cost.stack(design, image=image, channels=channels, classes=classes)
    assert found == traced(Stack(design, classes), image, channels)


# --- published figures --------------------------------------------------------------------------------------------


def test_the_encyclopedias_table() -> None:
    """512 to 512 channels, 3 x 3, 14 x 14 pixels."""
    size = (14, 14)
    regular = cost.module(setup("regular"), 512, 512, size)
    assert (regular.params, regular.macs) == (2_359_296, 462_422_016)
    separable = cost.module(setup("separable"), 512, 512, size)
    assert (separable.params, separable.macs) == (266_752, 52_283_392)
    depthwise, pointwise = cost.conv(3, 512, 512, 14 * 14, groups=512), cost.conv(1, 512, 512, 14 * 14)
    assert (depthwise.params, depthwise.macs) == (4_608, 903_168)
    assert (pointwise.params, pointwise.macs) == (262_144, 51_380_224)
    assert regular.macs / separable.macs == pytest.approx(1 / (1 / 512 + 1 / 9), rel=1e-15)  # 8.8445


@given(
    c_in=st.integers(1, 512), c_out=st.integers(1, 512), kernel=st.sampled_from([1, 3, 5, 7]), size=st.integers(1, 64)
)
def test_a_separable_module_costs_one_over_n_plus_one_over_k_squared(
    c_in: int, c_out: int, kernel: int, size: int
) -> None:
    regular = cost.module(setup("regular", kernel=kernel), c_in, c_out, (size, size))
    separable = cost.module(setup("separable", kernel=kernel), c_in, c_out, (size, size))
    for one, all_ in ((separable.params, regular.params), (separable.macs, regular.macs)):
        assert one * c_out * kernel**2 == all_ * (c_out + kernel**2)  # the same without rounding
        assert one * kernel**2 > all_  # never k^2 times cheaper


@pytest.mark.parametrize(
    ("cardinality", "width", "params"),
    [(1, 64, 69_632), (2, 40, 69_760), (4, 24, 69_888), (8, 14, 71_456), (32, 4, 70_144)],
)
def test_resnexts_template(cardinality: int, width: int, params: int) -> None:
    """C (256 d + 9 d^2 + 256 d), Xie et al. 2017, Eq. 4 and the five rows of Table 2."""
    inner = cardinality * width
    bottleneck = cost.conv(1, 256, inner, 1) + cost.conv(3, inner, inner, 1, groups=cardinality)
    assert (bottleneck + cost.conv(1, inner, 256, 1)).params == params


def test_googlenets_separable_stem() -> None:
    """Row 1 of GoogLeNet's Table 1, 2.7 K parameters and 34 M operations, is a 7x7 with depth multiplier 8."""
    pixels = 112 * 112
    stem = cost.module(setup("separable", kernel=7, multiplier=8), 3, 64, (224, 224), 2)
    assert (stem.params, stem.macs) == (2_712, 2_712 * pixels)
