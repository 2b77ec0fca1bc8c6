"""Which networks are compared, with whose, at which picture."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

import keras_networks
import literal_deeplab
import literal_networks
import torch_networks
from weights_of_others import Reference

from dsresearch.networks.vocabulary import Architecture


@dataclass(frozen=True)
class Case:
    """A network and who else has it.

    Attributes:
        package: whose.
        build: theirs for ours.
        sides: of the picture, in pixels.
        note: what was changed in theirs, or after which layer list it was written in PyTorch.
        dense: every pixel has a class.
    """

    package: str
    build: Callable[[Architecture], Reference]
    sides: tuple[int, int]
    note: str = ""
    dense: bool = False

    def against(self) -> str:
        """Package, version and note."""
        names = {"keras": "Keras", "torch": "PyTorch"}
        version = importlib.metadata.version(self.package).partition("+")[0]
        return f"{names.get(self.package, self.package)} {version}{self.note and ', '}{self.note}"


def _keras(name: str) -> Case:
    return Case("keras", lambda ours: keras_networks.build(name, ours), keras_networks.NETWORKS[name][2])


def _torch(name: str) -> Case:
    network = torch_networks.NETWORKS[name]
    return Case(network.package, lambda ours: torch_networks.build(name, ours), network.sides, network.note)


def _literal(name: str) -> Case:
    network = LITERAL[name]
    build = lambda ours: literal_networks.build(network, ours)  # noqa: E731
    return Case("torch", build, network.sides, network.source, name.startswith("deeplab"))


LITERAL = {**literal_networks.NETWORKS, **literal_deeplab.NETWORKS}
CASES: dict[str, Case] = {
    **{name: _keras(name) for name in keras_networks.NETWORKS},
    **{name: _torch(name) for name in torch_networks.NETWORKS},
    **{name: _literal(name) for name in LITERAL},
}
