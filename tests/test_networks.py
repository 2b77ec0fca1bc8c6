"""Networks by name: counts against other implementations and papers, closed forms against what is built and traced."""

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from traced import traced

from dsresearch import cost, cost_tables
from dsresearch.cost import Cost
from dsresearch.design import InputError
from dsresearch.networks import alexnet, bn_inception, catalogue, darknet, deeplab_v3plus, layers, resnet, vgg
from dsresearch.networks.build import Network
from dsresearch.networks.catalogue import POINTS, named
from dsresearch.networks.efficientnet import EfficientNet
from dsresearch.networks.fractalnet import FractalNet
from dsresearch.networks.inception_v1 import InceptionV1
from dsresearch.networks.inception_v3 import InceptionV3
from dsresearch.networks.mobilenet_v1 import SHALLOW, MobileNetV1
from dsresearch.networks.mobilenet_v2 import MobileNetV2
from dsresearch.networks.mobilenet_v3 import SMALL, MobileNetV3
from dsresearch.networks.quicknet import QuickNet
from dsresearch.networks.shufflenet_v1 import ShuffleNetV1
from dsresearch.networks.shufflenet_v2 import ShuffleNetV2
from dsresearch.networks.vocabulary import Architecture
from dsresearch.networks.xception import Xception
from dsresearch.references import counts


def built(architecture: Architecture) -> Cost:
    return traced(Network(architecture), (architecture.image, architecture.image), architecture.channels)


# --- counts of others ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", counts.BUILT)
def test_counts_are_those_of_other_implementations(implementation: str) -> None:
    for name, theirs in counts.BUILT[implementation].items():
        ours = cost.network(named(name))
        assert ours.params == theirs.params, name
        assert theirs.stats in (None, ours.stats), name
        assert theirs.macs in (None, ours.macs), name


@pytest.mark.parametrize("name", counts.PRINTED)
def test_what_papers_print_is_within_rounding_or_has_a_note(name: str) -> None:
    paper, ours = counts.PRINTED[name], cost.network(named(name))
    differences = {cost_tables.difference(ours.params, paper.params), cost_tables.difference(ours.macs, paper.macs)}
    assert differences <= {"", "0"} or paper.note, differences


@pytest.mark.parametrize(
    ("name", "kwargs", "params", "macs"),
    [
        ("inception_v3", {}, 23_817_352, 5_713_216_096),
        ("efficientnet_b2", {"image": 288}, 9_109_994, 1_087_529_456),
        ("darknet19", {"image": 256}, 20_842_376, 3_645_374_464),
        ("darknet19", {"image": 448}, 20_842_376, 11_163_959_296),
        ("darknet19", {"classes": 10}, 19_827_626, None),
        ("darknet19_separable", {"classes": 10}, 3_450_981, None),
        ("darknet_reference", {"classes": 10}, 6_304_666, None),
        ("darknet_reference_separable", {"classes": 10}, 722_341, None),
        ("darknet_cifar", {"image": 32}, 7_681_674, 1_060_831_232),
        ("darknet_cifar_separable", {}, 882_469, None),
        ("fractalnet_separable", {}, 3_849_051, None),
        ("fractalnet_4", {}, 76_106_634, None),
        ("bn_inception_slim", {"classes": 1001}, 11_179_361, None),
        ("deeplab_v3plus_xception65", {"image": 512}, 41_055_413, 51_284_320_256),
    ],
)
def test_counts_at_other_classes_and_pictures(name: str, kwargs: dict[str, int], params: int, macs: int | None) -> None:
    found = cost.network(named(name, **kwargs))
    assert found.params == params
    assert macs in (None, found.macs)


def test_the_two_numbers_of_the_xception_papers_table_3() -> None:
    xception, inception = cost.network(named("xception")), cost.network(named("inception_v3_2016"))
    assert (xception.params, inception.params) == (22_855_952, 23_626_728)
    assert 1 - xception.params / inception.params == pytest.approx(0.0326, abs=5e-5)  # "within 3.5 %"


def test_xception_by_part() -> None:
    parts = {"entry": 0, "middle": 0, "exit": 0, "dense": 0}
    convolutions = 0
    for layer in cost.layers(named("xception")):
        block = layer.name.partition("_")[0].removeprefix("block")
        part = "dense" if block == "predictions" else "entry" if int(block) < 5 else "middle"
        part = "exit" if part == "middle" and int(block) > 12 else part
        parts[part] += layer.cost.params
        convolutions += layer.kind == "conv" and not layer.name.endswith(("_dw", "_shortcut"))
    assert parts == {"entry": 1_106_760, "middle": 12_911_808, "exit": 6_788_384, "dense": 2_049_000}
    assert convolutions == 36  # the paper's "36 convolutional layers"
    maps = {layer.name: layer.output for layer in cost.layers(named("xception"))}
    assert maps["block1_conv1"] == (149, 149, 32)
    assert maps["block4_shortcut"] == (19, 19, 728)
    assert maps["block14_sepconv2_pw"] == (10, 10, 2048)


def test_the_inception_v3_of_2016_differs_in_four_ways() -> None:
    """Kernels 21,526,368 and a dense layer 2,049,000, then bias, scale and offset of each of 17,120 channels."""
    layers = cost.layers(named("inception_v3_2016"))
    convolutions = [layer for layer in layers if layer.kind == "conv"]
    channels = sum(layer.output[-1] for layer in convolutions)
    assert (len(convolutions), channels) == (94, 17_120)
    assert 21_526_368 + 2_049_000 + 3 * channels == cost.network(named("inception_v3_2016")).params
    standard = dataclasses.asdict(named("inception_v3"))
    old = dataclasses.asdict(named("inception_v3_2016"))
    assert {field for field in standard if standard[field] != old[field]} == {
        "pools",
        "last_double",
        "bias_relu_norm",
        "scale",
    }


def test_quicknets_hypothesis() -> None:
    found = cost.network(named("quicknet"))
    assert found.params + found.stats == 3_564_741  # 3.56 M, 14.24 MB


def test_googlenets_separable_stem_saves_what_its_table_says() -> None:
    dense, separable = cost.network(named("inception_v1")), cost.network(named("inception_v1_separable_stem"))
    assert dense.params - separable.params == 9_408 + 64 - (2_712 + 0)
    assert dense.macs - separable.macs == (9_408 - 2_712) * 112 * 112


# --- closed forms against what is built ---------------------------------------------------------------------------

SHORT: dict[str, Architecture] = {  # a network of every family, and of every branch of its code, as short as it goes
    "xception": Xception(middle=1, hidden=12),
    "xception, plain": Xception(middle=1, residual=False, between="relu", small=True, image=32),
    "xception, dense": Xception(middle=1, separable=False),
    "inception_v3": InceptionV3(count_padding=True, scale=True, auxiliary=True),
    "inception_v3, 2016": InceptionV3(bias_relu_norm=True, scale=True, pools=(32, 32, 32)),
    "inception_v3, small": InceptionV3(small=True, separable=True, image=32),
    "inception_v1": InceptionV1(auxiliary=True),
    "inception_v1, torchvision": InceptionV1(torchvision=True, separable_stem=True),
    "bn_inception": bn_inception.BNInception(),
    "bn_inception, slim": bn_inception.BNInception(slim=True),
    "fractalnet": FractalNet(separable=True),
    "fractalnet, 4": FractalNet(columns=4, features=(8, 16), dropouts=(0.0, 0.1)),
    "darknet": darknet.Darknet(stages=darknet.REFERENCE, head_act="leaky"),
    "darknet, separable": darknet.Darknet(separable=True),
    "quicknet": QuickNet(),
    "vgg": vgg.VGG(depths=vgg.DEPTHS["vgg11"]),
    "vgg, separable": vgg.VGG(depths=vgg.DEPTHS["vgg11"], separable=True, normalise=True, hidden=0),
    "alexnet": alexnet.AlexNet(groups=2),
    "alexnet, separable": alexnet.AlexNet(separable=True, padding=2, responses=False),
    "resnet": resnet.ResNet(depths=(1, 1, 1, 1)),
    "resnet, keras": resnet.ResNet(depths=(1, 2, 1, 1), keras=True),
    "resnet, bsconv_u": resnet.ResNet(depths=(1, 1), features=16, inner=0, window=3, kind="bsconv_u"),
    "resnet, bsconv_s": resnet.ResNet(
        depths=(1, 2), features=16, inner=0, window=3, kind="bsconv_s", before=True, normalise_input=True
    ),
    "resnext": resnet.resnext(8, 4, (1, 1, 1, 1)),
    "mobilenet_v1": MobileNetV1(blocks=SHALLOW),
    "mobilenet_v1, conv": MobileNetV1(blocks=SHALLOW, kind="conv"),
    "mobilenet_v1, bsconv_u": MobileNetV1(blocks=SHALLOW, kind="bsconv_u", authors_of_bsconv=True),
    "mobilenet_v2": MobileNetV2(),
    "mobilenet_v2, bsconv": MobileNetV2(authors_of_bsconv=True, stem_stride=1, image=32),
    "mobilenet_v3": MobileNetV3(rows=SMALL, last=1024),
    "mobilenet_v3, minimalistic": MobileNetV3(minimalistic=True),
    "efficientnet": EfficientNet(depth=0.4),
    "shufflenet_v1": ShuffleNetV1(),
    "shufflenet_v2": ShuffleNetV2(),
    "shufflenet_v2, official": ShuffleNetV2(official=True),
    "deeplab": deeplab_v3plus.DeepLabV3Plus(image=65),
    "deeplab, mobilenet_v2": deeplab_v3plus.DeepLabV3Plus(encoder="mobilenet_v2", output_stride=8, image=65),
}


@st.composite
def networks(draw: st.DrawFn) -> Architecture:
    """Any family, at a width, a class count and a picture of its own."""
    network = SHORT[draw(st.sampled_from(sorted(SHORT)))]
    changes: dict[str, Any] = {
        "width": draw(st.sampled_from([0.25, 0.5, 0.7, 1.0, 1.3])),
        "classes": draw(st.integers(1, 30)),
        "channels": draw(st.sampled_from([1, 3])),
    }
    try:
        network = dataclasses.replace(network, **changes)
        side = cost.smallest(network)
        network = dataclasses.replace(network, image=side + draw(st.integers(0, 25)))
        cost.network(network)
    except InputError:  # a group count that does not divide
        assume(False)
    return network


@settings(max_examples=8)
@given(network=networks())
def test_the_closed_form_is_what_is_built_at_any_width_and_picture(network: Architecture) -> None:
    assert cost.network(network) == built(network)


@pytest.mark.slow
@settings(max_examples=80)
@given(network=networks())
def test_the_closed_form_is_what_is_built_at_very_many(network: Architecture) -> None:
    assert cost.network(network) == built(network)


@pytest.mark.slow
@pytest.mark.parametrize("name", POINTS)
def test_the_closed_form_of_a_published_network_is_what_is_built(name: str) -> None:
    assert cost.network(named(name)) == built(named(name))


def test_every_family_is_among_the_short_ones() -> None:
    kinds = {type(network) for network in SHORT.values()}
    assert {type(network) for network in POINTS.values()} == kinds


@pytest.mark.parametrize("name", POINTS)
def test_layers_have_names_of_their_own(name: str) -> None:
    names = [layer.name for layer in cost.layers(named(name))]
    assert len(names) == len(set(names))


# --- names --------------------------------------------------------------------------------------------------------

GRAMMAR = """xception inception_v1 bn_inception inception_v3 inception_v3_2016 vgg16 alexnet resnet50 resnet101
resnet152
resnext50_32x4d resnext101_64x4d resnext29_8x64d mobilenet_v1_0.75 mobilenet_v2_1.4 mobilenet_v3_large
mobilenet_v3_small efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
efficientnet_b6 efficientnet_b7 shufflenet_v1_g3 shufflenet_v2_1.5 bsconv_u_mobilenet_v1 darknet19 darknet_reference
fractalnet quicknet deeplab_v3plus_xception65"""


@pytest.mark.parametrize("name", GRAMMAR.split())
def test_the_contracts_names_are_known(name: str) -> None:
    assert isinstance(named(name), Architecture)


def test_a_missing_width_is_one_and_any_other_may_be_named() -> None:
    assert named("mobilenet_v1") == named("mobilenet_v1_1.0")
    assert named("shufflenet_v1") == named("shufflenet_v1_g3")
    assert named("shufflenet_v2") == named("shufflenet_v2_1.0")
    assert named("mobilenet_v1_0.6").width == 0.6
    assert named("efficientnet_b4_0.5").width == 0.7


BAD: list[tuple[str, dict[str, int], str]] = [
    ("xcepton", {}, "name='xcepton' is not a network; did you mean 'xception'"),
    ("mobilenet_v1_x", {}, "name='mobilenet_v1_x' is not a network"),
    ("mobilenet_v1_0.01", {}, "width=0.01 is not allowed: it leaves no channel of 32, at least 0.03125"),
    ("mobilenet_v2_0", {}, r"width=0.0 is not allowed: a number above 0"),
    ("xception", {"image": 22}, "image=22 is not allowed: too small for the strides, at least 23 pixels"),
    ("inception_v3", {"image": 74}, "image=74 is not allowed: .* at least 75 pixels"),  # Keras's least, too
    ("mobilenet_v1", {"image": 16}, "image=16 is not allowed"),
    ("vgg16", {"image": 0}, "image=0 is not allowed"),
    ("vgg16", {"classes": 0}, "classes=0 is not allowed: a whole number from 1"),
    ("shufflenet_v1_g3_0.3", {}, "groups=3 is not allowed: stage2_unit1_expand has 18 input and 65 output"),
]


@pytest.mark.parametrize(("name", "kwargs", "message"), BAD)
def test_bad_input_is_one_line(name: str, kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        cost.network(named(name, **kwargs))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "field", "value", "allowed"),
    [
        ("mobilenet_v1", "kind", "bsconvu", "separable, conv, bsconv_u"),
        ("resnet50", "kind", "bsconv-u", "regular, bsconv_u, bsconv_s"),
        ("deeplab_v3plus_xception65", "encoder", "xception", "xception65, mobilenet_v2"),
        ("deeplab_v3plus_xception65", "output_stride", 4, "8, 16"),
        ("xception", "between", "rellu", ", ".join(layers.ACTIVATIONS)),
    ],
)
def test_a_word_that_a_family_does_not_know_is_no_other_network(
    name: str, field: str, value: Any, allowed: str
) -> None:
    """It would be the default's network under another name."""
    with pytest.raises(InputError, match=f"{field}={value!r} is not allowed: {allowed}$"):
        dataclasses.replace(named(name), **{field: value})


STAGES = "(((a whole number from 1, a whole number from 1), ...), ...)"


@pytest.mark.parametrize(
    ("name", "field", "value", "allowed"),
    [
        ("fractalnet", "features", ((64, 128),), "(a whole number from 1, ...)"),
        ("fractalnet", "features", (), "(a whole number from 1, ...)"),
        ("fractalnet", "features", (64, 128), "one for each of the 5 `dropouts`"),
        ("fractalnet", "dropouts", ("a",) * 5, "(a number, ...)"),
        ("darknet19", "stages", ((3, 8),), STAGES),
        ("darknet19", "stages", ((), ((3, 8),)), STAGES),
        ("darknet19", "stages", (((3, 8, 1),),), STAGES),
        ("darknet19", "stages", (((3, 8.0),),), STAGES),
        ("darknet19", "stages", (((0, 8),),), STAGES),
        ("vgg16", "depths", (2, 2, 3), f"({', '.join(['a whole number from 1'] * 5)})"),
        ("resnet50", "depths", (True, 2), "(a whole number from 1, ...)"),
    ],
)
def test_a_list_that_is_nested_or_long_otherwise_is_refused(name: str, field: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError, match=f"{re.escape(f'{field}={value!r} is not allowed: {allowed}')}$"):
        dataclasses.replace(named(name), **{field: value})


def test_a_whole_number_may_stand_for_a_number_within_a_list() -> None:
    assert dataclasses.replace(named("fractalnet"), dropouts=(0, 0.5, 0, 0, 0)).dropouts[1] == 0.5
    row = (1, 16, 3, 1, False, "relux")
    with pytest.raises(InputError, match=r"rows='relux' is not known, .*did you mean 'relu'"):
        dataclasses.replace(named("mobilenet_v3_small"), rows=(row,))


@pytest.mark.parametrize("name", ["xception", "inception_v3", "vgg16", "deeplab_v3plus_xception65", "mobilenet_v2"])
def test_the_least_picture_is_allowed_and_one_pixel_less_is_not(name: str) -> None:
    side = cost.smallest(named(name))
    cost.network(named(name, image=side))
    with pytest.raises(InputError, match=f"at least {side} pixels"):
        cost.network(named(name, image=side - 1))


def test_every_family_has_a_source_and_no_name_stands_twice() -> None:
    assert all(family.SOURCE for family in catalogue.FAMILIES)
    assert sum(len(family.POINTS) for family in catalogue.FAMILIES) == len(POINTS)
