"""The design of a module: the formulations, their fields, and the named points among them."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch.design.inputs import InputError, flag, known_keys, one_of, whole

STAGES = 3  # stem, three stages with pooling between them, head

ORDERS = ("spatial_first", "pointwise_first")
ACTIVATIONS = ("none", "relu", "elu")
MATCHES = ("width", "params", "macs")

_BETWEEN = frozenset({"activation", "normalise"})
# The fields of Design that a formulation reads beside width, depth, kernel and residual, which all of them read. A
# field that a formulation does not read may not be set: two names for one experiment would be two cells.
FORMULATIONS: Mapping[str, frozenset[str]] = {
    "separable": _BETWEEN | {"multiplier"},  # the baseline: depthwise, then pointwise
    "separable_strict": _BETWEEN,  # the paper's quasi-control: explicit slices, concatenated
    "hybrid": _BETWEEN,  # the paper's hypothesis: ResNeXt with cardinality = channels, summed
    "inception": _BETWEEN,  # four towers with different receptive fields
    "inception_simplified": _BETWEEN | {"groups"},  # Xception Fig. 2: equal towers (groups of them)
    "inception_reformulated": _BETWEEN | {"groups"},  # Xception Fig. 3: one 1x1, then a grouped convolution
    "inception_extreme": _BETWEEN,  # Xception Fig. 4: one spatial filter per output channel of the 1x1
    "resnext": _BETWEEN | {"groups"},  # cardinality = groups, bottleneck of half the output width
    "hybrid_learned": _BETWEEN,  # ResNeXt at cardinality = channels with a learned reduce: PW-DW-PW
    "grouped": _BETWEEN | {"groups", "order"},  # the continuum: spatial convolution in groups, and a 1x1
    "super_separable": _BETWEEN | {"groups"},  # a separable one on each of G channel groups (Kaiser et al. 2018)
    "bsconv_u": _BETWEEN,  # blueprint separable: pointwise, then depthwise (Haase and Amthor 2020)
    "bsconv_s": _BETWEEN,  # the same with the pointwise one factored through a quarter of the channels
    "regular": frozenset(),  # one k x k convolution, the other end of the spectrum
}
GROUPED = tuple(sorted(name for name, reads in FORMULATIONS.items() if "groups" in reads))


@dataclass(frozen=True, kw_only=True)
class Design:
    """One module formulation and the small study network around it (the setups of Ghosh 2017, Figure 4).

    Attributes:
        formulation: which arithmetic a module uses, a key of FORMULATIONS.
        width: channels of the first stage; the stages have width, 2 width, 4 width.
        depth: modules in each stage.
        kernel: side k of the spatial kernel in pixels, odd.
        groups: segments, towers or cardinality G; a stage uses min(G, its channels). 0 means that the formulation
            has no group count (one path per channel, or none).
        order: which of the two operations of `grouped` comes first.
        multiplier: depth multiplier q of `separable`: q spatial filters for each channel.
        residual: add the module's input to its output where the shapes agree (Xception Fig. 9).
        activation: non-linearity between the operations of a module (Xception Fig. 10).
        normalise: BatchNorm before that non-linearity (the setups of the paper: relu with normalise).
    """

    formulation: str = "separable"
    width: int = 16
    depth: int = 2
    kernel: int = 3
    groups: int = 0
    order: str = "spatial_first"
    multiplier: int = 1
    residual: bool = False
    activation: str = "none"
    normalise: bool = False

    def __post_init__(self) -> None:
        one_of("setup", self.formulation, FORMULATIONS)
        whole("design.width", self.width, 1, 4096)
        whole("design.depth", self.depth, 1, 64)
        whole("design.kernel", self.kernel, 1, 15)
        if self.kernel % 2 == 0:
            raise InputError(f"design.kernel={self.kernel} is not allowed: an odd number of pixels")
        whole("design.groups", self.groups, 0, 4 * 4096)
        one_of("design.order", self.order, ORDERS)
        whole("design.multiplier", self.multiplier, 1, 64)
        flag("design.residual", self.residual)
        one_of("design.activation", self.activation, ACTIVATIONS)
        flag("design.normalise", self.normalise)
        if self.groups > self.widths[-1]:  # one per channel everywhere: more would be another name for the same network
            raise InputError(
                f"design.groups={self.groups} is not allowed: the last stage has {self.widths[-1]} channels"
            )
        self._refuse_unread_fields()
        self._refuse_indivisible_channels()

    def _refuse_unread_fields(self) -> None:
        reads = FORMULATIONS[self.formulation]
        for field in ("groups", "order", "multiplier", "activation", "normalise"):
            if field not in reads and getattr(self, field) != _DEFAULTS[field]:
                readers = ", ".join(name for name, fields in FORMULATIONS.items() if field in fields)
                raise InputError(
                    f"design.{field}={getattr(self, field)!r} is not allowed: setup {self.formulation!r} "
                    f"does not read it, allowed with {readers}"
                )
        if "groups" in reads and self.groups == 0:
            raise InputError(f"design.groups=0 is not allowed: setup {self.formulation!r} needs a whole number from 1")

    def _refuse_indivisible_channels(self) -> None:
        for c_in, c_out in self.module_shapes():
            parts = {"inception": 4, "resnext": 2}.get(self.formulation, 1)  # towers; the bottleneck is half as wide
            if c_out % parts:
                raise InputError(
                    f"design.width={self.width} is not allowed: setup {self.formulation!r} needs a multiple of {parts}"
                )
            for what, channels in self._divided_channels(c_in, c_out):
                if channels % self.segments(channels):
                    raise InputError(
                        f"design.groups={self.groups} is not allowed: it does not divide the {channels} {what} "
                        f"channels of a stage at design.width={self.width}, allowed: {self._allowed_groups()}"
                    )

    def _divided_channels(self, c_in: int, c_out: int) -> list[tuple[str, int]]:
        """The channel counts that the group count must divide in a module of c_in -> c_out channels."""
        if self.groups == 0:
            return []
        if self.formulation == "resnext":
            return [("bottleneck", c_out // 2)]
        if self.formulation == "super_separable" or (self.formulation, self.order) == ("grouped", "spatial_first"):
            return [("input", c_in)]
        return [("output", c_out)]

    def _allowed_groups(self) -> str:
        """The group counts that divide the channels of every stage, or are more than it has."""
        divided = {n for shape in self.module_shapes() for _, n in self._divided_channels(*shape)}
        counts = range(1, self.widths[-1] + 1)
        return ", ".join(str(groups) for groups in counts if not any(n % min(groups, n) for n in divided))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the stages."""
        return tuple(self.width * 2**stage for stage in range(STAGES))

    def segments(self, channels: int) -> int:
        """Group count of a convolution over so many channels: min(G, channels)."""
        return min(self.groups, channels)

    def module_shapes(self) -> list[tuple[int, int]]:
        """(input channels, output channels) of every module from the stem to the head."""
        shapes, channels = [], self.width
        for width in self.widths:
            shapes += [(channels if block == 0 else width, width) for block in range(self.depth)]
            channels = width
        return shapes


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Design)}


def bsconv_s_rank(channels: int, share: float = 0.25) -> int:
    """Channels through which `bsconv_s` factors its 1x1: that share, at least 4 (the authors' published code)."""
    return min(channels, max(4, math.ceil(share * channels)))


# The named points: a setup is a point of the design space. The first six are the rows of the paper's Figure 4; there
# s = BatchNorm and ReLU after each convolution of a tower but its last, as in the networks that they come from.
_S = {"activation": "relu", "normalise": True}
SETUPS: Mapping[str, Mapping[str, Any]] = {
    "separable": {"formulation": "separable"},
    "inception": {"formulation": "inception", **_S},
    "resnext": {"formulation": "resnext", "groups": 4, "residual": True, **_S},
    "inception_reformulated": {"formulation": "inception_reformulated", "groups": 4, **_S},
    "separable_strict": {"formulation": "separable_strict"},
    "hybrid": {"formulation": "hybrid"},
    "inception_simplified": {"formulation": "inception_simplified", "groups": 4, **_S},
    "inception_extreme": {"formulation": "inception_extreme", **_S},
    "hybrid_residual": {"formulation": "hybrid", "residual": True},
    "hybrid_learned": {"formulation": "hybrid_learned"},
    "super_separable": {"formulation": "super_separable", "groups": 2},
    "bsconv_u": {"formulation": "bsconv_u"},
    "bsconv_s": {"formulation": "bsconv_s"},
    "grouped": {"formulation": "grouped", "groups": 4},
    "regular": {"formulation": "regular"},
}


def setup(name: str, **changes: Any) -> Design:
    """The design of a named setup, with fields changed. Raises InputError for an unknown setup, key or value."""
    one_of("setup", name, SETUPS)
    known_keys("design", Design, changes)
    return Design(**{**SETUPS[name], **changes})
