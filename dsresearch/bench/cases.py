"""What is measured: a network, a batch, a dtype, a number of trials; and the tables made of such cases. No jax."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from dsresearch.design import SETUPS, Design, InputError, Recipe, one_of, setup

FIGURE_4 = ("separable", "separable_strict", "hybrid", "inception", "inception_reformulated", "resnext")
GROUPS = (1, 2, 4, 8, 16)
TRIALS = (1, 2, 5, 10)
PEERS = ("flax", "torch")
# Who can measure a case. `torch_kept` is PyTorch with the heap kept mapped as our own program keeps it; `torch_graphs`
# is torch.compile with CUDA graphs; `torch_compile` in a row is the faster of the two compiled ones.
ROLES = ("ours", "flax", "torch", "torch_kept", "torch_compile", "torch_graphs")
MODES = ("training", "inference")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The study's network (`networks.stack`) and how it is fed: the rows of one table share it.

    Attributes:
        width: channels of the first stage; the others have twice and four times as many.
        depth: modules a stage.
        image: side of the pictures, pixels.
        batch: pictures a step and trial.
        dtype: of the activations.
        steps: steps of an epoch, which is one call of our program.
        devices: devices of ours that share each batch, `protocol.devices` of a study.
        kernels: whose convolutions ours are on a CPU, `protocol.kernels` of a study.
    """

    width: int = 32
    depth: int = 2
    image: int = 32
    batch: int = 128
    dtype: str = "float32"
    steps: int = 8
    channels: int = 3
    classes: int = 10
    devices: int = 1
    kernels: str = "xla"


# The headline networks, and a small one that takes the same paths in seconds.
NETWORKS = {
    "cpu": Network(),
    "gpu": Network(width=64, depth=4, dtype="bfloat16", steps=64),
    "tiny": Network(width=8, depth=1, image=8, batch=8, steps=2),
    "gpu_tiny": Network(width=8, depth=1, image=8, batch=8, steps=2, dtype="bfloat16"),
}
GPU_TABLE = ("gpu", "gpu_tiny")  # networks whose training table is `gpu_table`, wherever it runs


@dataclass(frozen=True, kw_only=True)
class Case(Network):
    """One row of a table: a setup in a network, so many trials in one program."""

    setup: str
    groups: int = 0
    trials: int = 1
    mode: str = "training"

    @property
    def design(self) -> Design:
        """The network's design; `groups` replaces the setup's own where it is given."""
        changes = {"groups": self.groups} if self.groups else {}
        return setup(self.setup, width=self.width, depth=self.depth, **changes)

    @property
    def recipe(self) -> Recipe:
        """The study's optimiser with its schedule, over more steps than are ever measured."""
        return Recipe(epochs=1000, batch=self.batch, dtype=self.dtype)

    @property
    def n_train(self) -> int:
        """Pictures of an epoch."""
        return self.batch * self.steps

    @property
    def label(self) -> str:
        """The case for people."""
        groups = f" G={self.groups}" if self.groups else ""
        size = f"width {self.width}, depth {self.depth}, batch {self.batch}"
        return f"{self.setup}{groups}, {self.trials} trial{'s' * (self.trials > 1)}, {self.dtype}, {size}"


def case(network: Network, name: str, **changes: object) -> Case:
    """A case of a network, `changes` being fields of Case. Raises InputError for an unknown setup."""
    one_of("setup", name, SETUPS)
    return Case(**{**dataclasses.asdict(network), **changes, "setup": name})  # type: ignore[arg-type]


def every_setup(network: Network, setups: Sequence[str] = (), mode: str = "training") -> list[Case]:
    """One case a setup, `grouped` at every group count: the paper's six first. `setups` chooses among them."""
    for name in setups:
        one_of("--setup", name, SETUPS)
    names = [*FIGURE_4, "grouped", *(name for name in SETUPS if name not in (*FIGURE_4, "grouped"))]
    cases = []
    for name in names:
        if setups and name not in setups:
            continue
        counts = [groups for groups in GROUPS if groups <= 4 * network.width] if name == "grouped" else [0]
        cases += [case(network, name, groups=groups, mode=mode) for groups in counts]
    return cases


def roles_against(peers: Sequence[str], gpu: bool) -> tuple[str, ...]:
    """The roles that measure beside ours. The heap is of no matter on a GPU. Raises InputError for an unknown peer."""
    for name in peers:
        one_of("--against", name, PEERS)
    torch = ("torch", "torch_compile") if gpu else ("torch", "torch_kept", "torch_compile")
    return tuple(role for name in PEERS if name in peers for role in (torch if name == "torch" else (name,)))


@dataclass(frozen=True)
class Planned:
    """A case and who measures it beside us."""

    case: Case
    against: tuple[str, ...]


def gpu_table(network: Network, peers: Sequence[str], setups: Sequence[str] = ()) -> list[Planned]:
    """The GPU table, most telling rows first, so that a cut leaves what matters.

    Ten trials of the baseline beside torch.compile; the six setups; the sweep over trials in a program; the group
    counts; float32. torch.compile, which takes longest to get ready, and plain Flax stand beside the baseline alone. A
    setup that is none of these has its row where it is asked for.
    """
    against = roles_against(peers, gpu=True)
    eager = tuple(role for role in against if role == "torch")
    graphs = (*against, "torch_graphs") if "torch" in peers else against
    most = TRIALS[-1]
    rows = [Planned(case(network, "separable", trials=most), graphs)]
    rows += [Planned(case(network, name, trials=most), eager) for name in FIGURE_4[1:]]
    rows += [Planned(case(network, "separable", trials=trials), graphs) for trials in TRIALS[:-1]]
    rows += [Planned(case(network, "grouped", groups=groups, trials=most), eager) for groups in GROUPS]
    other = "float32" if network.dtype == "bfloat16" else "bfloat16"
    rows += [Planned(case(network, "separable", trials=trials, dtype=other), eager) for trials in (most, 1)]
    beside = [name for name in setups if name not in {row.case.setup for row in rows}]
    if beside:
        rows += [Planned(dataclasses.replace(of, trials=most), eager) for of in every_setup(network, beside)]
    return [row for row in rows if not setups or row.case.setup in setups]


def scaling(network: Network, name: str = "separable") -> list[Case]:
    """Cases that vary one thing at a time about a network: width, depth, batch, trials in a program."""
    sweeps: dict[str, list[int]] = {
        "width": _about(network.width, (1, 2, 4, 8), 2),
        "depth": _about(network.depth, (1, 2, 4, 8), 2),
        "batch": _about(network.batch, (1, 2, 4, 8), 4),
        "trials": list(TRIALS),
    }
    cases = [case(network, name, **{what: value}) for what, values in sweeps.items() for value in values]
    return list(dict.fromkeys(cases))  # the middle stands in every sweep and is measured once


def _about(middle: int, factors: Sequence[int], divisor: int) -> list[int]:
    """Values about a middle one: it divided by `divisor`, times the factors."""
    return sorted({max(1, middle * factor // divisor) for factor in factors})


def positive(argument: str, value: float) -> None:
    """Raise InputError unless a number is above zero."""
    if not value > 0:
        raise InputError(f"{argument}={value} is not allowed: a number above 0")
