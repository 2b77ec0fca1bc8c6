"""What may vary: a module's design, a training recipe, a protocol, and the named points among them.

Everything here is a frozen dataclass of plain values, validated when it is made, without jax, so that a plan
of ten thousand cells can be checked, hashed and printed in a second. An error is one line: the argument, its value,
what is allowed.

Where the hybrid paper (Ghosh 2017, arXiv:1701.04489) leaves a choice open, it is a field with a recorded default.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

STAGES = 3  # stem, three stages with pooling between them, head


class InputError(ValueError):
    """The user's input or data is wrong: one line naming argument, value and what is allowed (exit status 2)."""


def nearest(value: str, allowed: Iterable[str]) -> str:
    """A hint «did you mean ...?» for a misspelt name, or nothing where no name is near."""
    match = difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def one_of(argument: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise InputError unless `value` is among `allowed`."""
    allowed = list(allowed)
    if value not in allowed:
        raise InputError(f"{argument}={value!r} is not known, allowed: {', '.join(allowed)}{nearest(value, allowed)}")


def _whole(argument: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{argument}={value!r} is not allowed: a whole number from {low} to {high}")


def _number(argument: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{argument}={value!r} is not allowed: a number from {low} to {high}")


def _flag(argument: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{argument}={value!r} is not allowed: true or false")


# --- the design of a module -------------------------------------------------------------------------------------

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
        _whole("design.width", self.width, 1, 4096)
        _whole("design.depth", self.depth, 1, 64)
        _whole("design.kernel", self.kernel, 1, 15)
        if self.kernel % 2 == 0:
            raise InputError(f"design.kernel={self.kernel} is not allowed: an odd number of pixels")
        _whole("design.groups", self.groups, 0, 4 * 4096)
        one_of("design.order", self.order, ORDERS)
        _whole("design.multiplier", self.multiplier, 1, 64)
        _flag("design.residual", self.residual)
        one_of("design.activation", self.activation, ACTIVATIONS)
        _flag("design.normalise", self.normalise)
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
                        f"channels of a stage at design.width={self.width}, allowed: {_divisors(channels)}"
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


def bsconv_s_rank(channels: int) -> int:
    """Channels through which `bsconv_s` factors its 1x1: a quarter, at least 4 (the authors' published code)."""
    return min(channels, max(4, -(-channels // 4)))


def _divisors(n: int) -> str:
    return ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)


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
    _known_keys("design", Design, changes)
    return Design(**{**SETUPS[name], **changes})


# --- how it is trained ------------------------------------------------------------------------------------------

OPTIMISERS = ("sgd", "momentum", "rmsprop")
SCHEDULES = ("constant", "cosine", "staircase_epochs", "staircase_samples")
DTYPES = ("float32", "bfloat16")
AUGMENTATIONS = ("dataset", "none", "crop_flip")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one network is trained. The paper gives only the number of epochs (190); the rest is a recorded choice.

    Attributes:
        epochs: passes over the training pictures; the error after the last one is the result, never the best one.
        batch: pictures a step; what is left of an epoch after the last whole batch is not used in that epoch.
        optimiser: `sgd` has Nesterov momentum, `momentum` the plain one; `rmsprop` is Keras's.
        rate: peak learning rate.
        momentum: of the optimiser.
        decay: weight decay added to the gradient of kernels (not of BatchNorm's scale and offset, nor of biases).
        schedule: learning rate against steps: constant; a linear rise over `warmup` and a cosine to zero; a staircase,
            times `fall` after `every` epochs or training pictures.
        warmup: share of the steps in which the rate rises.
        augment: `dataset` takes what belongs to the data set (crop-4 and flip for 32 px colour sets, none for digits).
        dtype: of the activations; parameters, sums and gradients are always float32.
        smoothing: label smoothing, the share of the target that all classes get alike.
        polyak: decay of the running average of the weights that is evaluated; 0 evaluates the weights themselves.
    """

    epochs: int = 20
    batch: int = 64
    optimiser: str = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    schedule: str = "cosine"
    warmup: float = 0.2
    augment: str = "dataset"
    dtype: str = "float32"
    fall: float = 1.0
    every: int = 1
    smoothing: float = 0.0
    polyak: float = 0.0

    def __post_init__(self) -> None:
        _whole("recipe.epochs", self.epochs, 1, 100_000)
        _whole("recipe.batch", self.batch, 1, 65_536)
        one_of("recipe.optimiser", self.optimiser, OPTIMISERS)
        _number("recipe.rate", self.rate, 0.0, 1e3)
        _number("recipe.momentum", self.momentum, 0.0, 0.9999)
        _number("recipe.decay", self.decay, 0.0, 1.0)
        one_of("recipe.schedule", self.schedule, SCHEDULES)
        _number("recipe.warmup", self.warmup, 0.0, 1.0)
        one_of("recipe.augment", self.augment, AUGMENTATIONS)
        one_of("recipe.dtype", self.dtype, DTYPES)
        _number("recipe.fall", self.fall, 1e-6, 1.0)
        _whole("recipe.every", self.every, 1, 10**12)
        _number("recipe.smoothing", self.smoothing, 0.0, 0.9999)
        _number("recipe.polyak", self.polyak, 0.0, 0.999999)  # at 1 the average would never move


# --- what was decided beforehand --------------------------------------------------------------------------------

SPLITS = ("stratified", "standard", "pool60k_hold6k", "test10k_sub6k")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is decided before the first cell runs and never changes in a store, whatever changes bits included.

    Attributes:
        seed: root of every key; a trial's keys are derived from it by purpose and trial.
        trials: models trained of each arm.
        split: `stratified` draws a class-balanced test set of `test_pictures` from all pictures; `standard` is the data
            set's own; `pool60k_hold6k` draws 6,000 of the merged pictures (the likely reading of the hybrid paper);
            `test10k_sub6k` draws 6,000 of the data set's own test set (its other reading).
        train_pictures: at most so many training pictures, drawn by the trial's split key; 0 means all.
        test_pictures: likewise for the test set.
        trials_per_cell: trials that one process trains and records together, 0 for all of them. With fewer a long study
            is many short cells, and its first trials are whole pairs before the next ones begin.
        trial_batch: trials trained in one program; 1 trains them one after another (`exec_mode` sequential).
        threads: CPU threads a cell, set before jax starts; never follows the number of workers.
        devices: devices that share a cell (`exec_mode` sharded): the trials of a program, or, where it has one, every
            batch. CPU devices share the threads; those that share a batch are processes.
        margin: equivalence margin M in percentage points.
        alpha: significance level.
    """

    seed: int = 0
    trials: int = 10
    split: str = "standard"
    train_pictures: int = 0
    test_pictures: int = 0
    trial_batch: int = 1
    threads: int = 1
    margin: float = 0.25
    alpha: float = 0.05
    trials_per_cell: int = 0
    devices: int = 1

    def __post_init__(self) -> None:
        _whole("protocol.seed", self.seed, 0, 2**32 - 1)
        _whole("trials", self.trials, 1, 10_000)
        one_of("protocol.split", self.split, SPLITS)
        _whole("protocol.train_pictures", self.train_pictures, 0, 10**8)
        _whole("protocol.test_pictures", self.test_pictures, 0, 10**8)
        _whole("protocol.trial_batch", self.trial_batch, 1, 1024)
        _whole("protocol.threads", self.threads, 1, 1024)
        _whole("protocol.devices", self.devices, 1, 1024)
        _number("protocol.margin", self.margin, 1e-6, 100.0)
        _number("protocol.alpha", self.alpha, 1e-6, 0.5)
        _whole("protocol.trials_per_cell", self.trials_per_cell, 0, self.trials)
        for field, total in (("trials_per_cell", self.trials), ("trial_batch", self.cell_trials)):
            if total % (getattr(self, field) or 1):
                raise InputError(
                    f"protocol.{field}={getattr(self, field)} is not allowed: it does not divide the {total} trials"
                    + (" of a cell" if total != self.trials else "")
                )

        for what, number in (("threads", self.threads), ("trials of a program", self.trial_batch)):
            if number % self.devices and (what == "threads" or number > 1):
                raise InputError(
                    f"protocol.devices={self.devices} is not allowed: it does not divide the {number} {what}"
                )

    @property
    def cell_trials(self) -> int:
        """Trials of one cell."""
        return self.trials_per_cell or self.trials

    @property
    def draws_split(self) -> bool:
        """Whether another split key gives other pictures, so that the `split` control exists."""
        return self.split != "standard" or bool(self.train_pictures or self.test_pictures)

    @property
    def exec_mode(self) -> str:
        """`sequential` (one trial a program), `vmap` or `sharded`; they are never mixed within a pair."""
        alone = "sequential" if self.trial_batch == 1 else "vmap"
        return alone if self.devices == 1 else "sharded"


# --- identity ---------------------------------------------------------------------------------------------------


def _known_keys(group: str, cls: type, values: Mapping[str, Any]) -> None:
    names = [field.name for field in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise InputError(f"{group}.{key} is not a key, allowed: {', '.join(names)}{nearest(key, names)}")


def replace(group: str, base: Any, changes: Mapping[str, Any]) -> Any:
    """`base` with fields changed and validated; `group` names it in an error (`recipe`, `protocol`, `design`)."""
    _known_keys(group, type(base), changes)
    for key, value in changes.items():
        if isinstance(getattr(base, key), float) and isinstance(value, int) and not isinstance(value, bool):
            changes = {**changes, key: float(value)}
    return dataclasses.replace(base, **changes)


def identity(part: Any) -> dict[str, Any]:
    """What makes a design, network, recipe or protocol the one that it is: its fields that differ from their defaults.

    A field that is added later, with a default that means «as before», leaves every identity, and with it the initial
    weights and the cells on disk, as they were. A default may therefore never change (tests/test_design.py).
    """
    fields = dataclasses.fields(part)
    changed = {field.name: value for field in fields if (value := getattr(part, field.name)) != field.default}
    return changed if isinstance(part, Design | Recipe | Protocol) else {"network": type(part).__name__, **changed}


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of plain values: the identity of a configuration."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seed_of(root: int, trial: int, purpose: str) -> int:
    """A 32-bit seed derived by meaning: protocol seed, trial and purpose, never an order of discovery.

    Purposes: `split`, `init`, `order`, `augment`; the controls that draw anew append their own name.
    """
    return int.from_bytes(hashlib.sha256(f"{root}/{trial}/{purpose}".encode()).digest()[:4], "big")
