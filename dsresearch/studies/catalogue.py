"""Every study as data. To add one, add an entry here and a file of its name to `experiments/`: docs/add-a-study.md."""

from collections.abc import Mapping
from typing import Any

from dsresearch.studies.published import DARKNET, FRACTALNET, XCEPTION
from dsresearch.studies.study import Arm, Study

# An ablation of real pictures on two cores: the papers had one trial, and with eight it would take days.
THREE_TRIALS = {"protocol": {"trials": 3}}

# --- hybrid: Figure 4 of the hybrid paper ----------------------------------------------------------------------------

HYBRID = Study(
    title="Is a separable convolution best understood as a hybrid of Inception and ResNeXt? (Ghosh 2017, Figure 4)",
    arms=(
        Arm("separable", role="baseline"),
        Arm("inception", role="rival"),
        Arm("resnext", role="rival"),
        Arm("inception_reformulated", role="rival"),
        Arm("separable_strict", role="control"),
        Arm("hybrid", role="candidate"),
        Arm("hybrid_residual", role="reading"),
        Arm("hybrid_learned", role="reading"),
    ),
)

# --- continuum: from a regular convolution to a separable one --------------------------------------------------------

# The spine: a 3x3 convolution in G groups, then a 1x1. A group a channel is the separable convolution, which is the
# baseline and the spine's end; how many groups lie between depends on the profile's width (`Arm.exists`).
GROUPS = (1, 2, 4, 8, 16, 32, 64, 128)
SEGMENTS = (2, 4, 8)  # groups of the super-separable convolution (Kaiser et al. 2018)
SAMPLED = (1, 8)  # where, beside the separable end, one factor at a time is changed: the regular end, and between
THIRDS = (1, 3, 6, 12, 24)  # Inception has 3 or 4 segments: a series of its own at a width that 12 divides


def _g(groups: int, name: str = "", match: str = "width", **changes: Any) -> Arm:
    """A point of the continuum: `g4`, or `g4_relu` where more than the group count is changed."""
    return Arm(f"g{groups}{name}", "grouped", match=match, design={"groups": groups, **changes})


def _separable(name: str, **changes: Any) -> Arm:
    """The separable convolution with something changed."""
    return Arm(f"separable_{name}", "separable", design=changes)


CONTINUUM = Study(
    title="What lies between a regular and a separable convolution? (Chollet 2017, section 1.2)",
    arms=(
        Arm("separable", role="baseline"),
        # the spine at equal width, at equal parameters, at equal multiply-adds
        *(_g(groups, match=match) for match in ("width", "params", "macs") for groups in GROUPS),
        # an activation between the two operations, at every G: it should help deep segments and harm those of one
        # channel (Chollet 2017, section 4.7)
        *(_g(groups, f"_{name}", activation=name) for name in ("relu", "elu") for groups in GROUPS),
        *(_separable(name, activation=name) for name in ("relu", "elu")),
        # beyond the separable end: its 1x1 in groups as well, which then meet in the head alone
        *(Arm(f"super{groups}", "super_separable", design={"groups": groups}) for groups in SEGMENTS),
        # one factor at a time
        *(_g(groups, "_pointwise_first", order="pointwise_first") for groups in SAMPLED),
        Arm("bsconv_u"),  # the separable end with its 1x1 first
        *(_g(groups, "_residual", residual=True) for groups in SAMPLED),
        _separable("residual", residual=True),
        *(_g(groups, "_kernel5", kernel=5) for groups in SAMPLED[1:]),  # 5x5 and regular is the dearest of all
        _separable("kernel5", kernel=5),
        # G = 3 and 6
        *(_g(groups, "_width12", width=12) for groups in THIRDS),
        _separable("width12", width=12),
    ),
    # Ten epochs and five trials, because there are fifty arms: on digits their compilation takes longer than their
    # training. At width 16 a group count leaves few widths, so that some matched arms miss by half: wider profiles have
    # the nearer matches, and the deviation stands in every row.
    settings={"quick": {"recipe": {"epochs": 10}, "protocol": {"trials": 5}}, "cpu": THREE_TRIALS},
)

# --- residual: Figure 9 of the Xception paper, and depth -------------------------------------------------------------

# The hybrid paper's author has it that separable layers train deep without residual connections (QuickNet, 2017): the
# stack without them is VGG-like, and its depth is varied. A depth is modules a stage, of three stages.
RESIDUAL = Study(
    title="Do separable convolutions need residual connections, and how deep? (Chollet 2017, Figure 9)",
    arms=(
        Arm("separable", role="baseline"),
        _separable("residual", residual=True),
        *(
            _separable(f"depth{depth}{name}", depth=depth, residual=bool(name))
            for depth in (4, 8)
            for name in ("", "_residual")
        ),
        Arm("regular"),
        Arm("regular_residual", "regular", design={"residual": True}),
        # separable layers train deep without residual connections (Ghosh 2017b): two networks of his kind
        Arm("vgg16_separable", "vgg16_cifar", design={"separable": True}),
        Arm("quicknet"),
    ),
    settings={
        **{profile: {"network": {"width": 1 / 8}} for profile in ("smoke", "quick")},
        "full": {"network": {"width": 1 / 4}},
        "cpu": {"network": {"width": 1 / 4}, **THREE_TRIALS},
    },
)

# --- activation: Figure 10 of the Xception paper ---------------------------------------------------------------------

# Nothing, ReLU or ELU between the operations of a separable module: as it is; with the residual connections that
# Xception has; with BatchNorm before the activation; and with the 1x1 first, as in Xception's Figure 4.
ACTIVATION = Study(
    title="Is a separable convolution better without an activation between its operations? (Chollet 2017, Figure 10)",
    arms=(
        Arm("separable", role="baseline"),
        *(_separable(name, activation=name) for name in ("relu", "elu")),
        _separable("residual", residual=True),
        *(_separable(f"residual_{name}", residual=True, activation=name) for name in ("relu", "elu")),
        *(_separable(f"batchnorm_{name}", activation=name, normalise=True) for name in ("relu", "elu")),
        Arm("bsconv_u"),
        *(Arm(f"bsconv_u_{name}", "bsconv_u", design={"activation": name}) for name in ("relu", "elu")),
    ),
    settings={"cpu": THREE_TRIALS},
)

# --- twins: one function, several formulations -----------------------------------------------------------------------

# What the study is about are its controls: `exact` is another formulation on the baseline's weights, `bit` the baseline
# one ulp away, `seed` the baseline from elsewhere. How they part, step by step, stands in divergence.csv.
TWINS = Study(
    title="Where do two formulations of one function part, and where two models one ulp apart?",
    arms=(
        Arm("separable", role="baseline"),
        Arm("separable_strict", role="control"),
        Arm("hybrid", role="control"),
    ),
)

STUDIES: Mapping[str, Study] = {
    "hybrid": HYBRID,
    "continuum": CONTINUUM,
    "residual": RESIDUAL,
    "activation": ACTIVATION,
    "twins": TWINS,
    "fractalnet": FRACTALNET,
    "darknet": DARKNET,
    "xception": XCEPTION,
}
