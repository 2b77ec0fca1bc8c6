"""What an ImageNet-sized run is: networks, pictures, and how they are trained (Xception, section 4). No jax here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch import cost
from dsresearch.design import DTYPES, InputError, Recipe, one_of, replace
from dsresearch.networks.catalogue import named
from dsresearch.networks.inception_v3 import InceptionV3
from dsresearch.networks.vocabulary import Architecture
from dsresearch.studies.recipes import RECIPES

DROPOUTS = {"xception_imagenet": 0.5, "xception_jft": 0.0}  # section 4.3, in front of the last layer
DECAYS = {InceptionV3: 4e-5, Architecture: 1e-5}  # weight decay; the paper's for Xception is taken for all others


@dataclass(frozen=True, kw_only=True)
class Settings:
    """An ImageNet-sized run. What a step depends on stays as it is for the run's life; `steps` may grow.

    Attributes:
        networks: names of the catalogue, joined by commas; each sees the same batches, one step after the other.
        image: side of the pictures in pixels.
        batch: pictures a step.
        steps: steps in all.
        recipe: the Xception paper's for one of its data sets, a key of `dsresearch.studies.recipes`.
        rate: at first; 0 means the recipe's.
        decay: weight decay; -1 means the paper's for the network.
        dropout: in front of the last layer; -1 means the recipe's.
        smoothing: label smoothing, off in the Xception paper; pictures of several classes have none.
        polyak: decay of the average of the weights, which evaluation uses.
        top: k of MAP@k, which multi-label pictures are evaluated by.
        test_pictures: an even spread of so many test pictures; 0 means all.
        seed: of weights, order, augmentation and dropout.
        dtype: of the activations.
        threads: CPU threads that compute.
        checkpoint_seconds: time between two checkpoints.
    """

    networks: str = "xception"
    image: int = 299
    batch: int = 32
    steps: int = 200
    recipe: str = "xception_imagenet"
    rate: float = 0.0
    decay: float = -1.0
    dropout: float = -1.0
    smoothing: float = 0.0
    polyak: float = 0.9999
    top: int = 100
    test_pictures: int = 0
    seed: int = 0
    dtype: str = "float32"
    threads: int = 2
    checkpoint_seconds: int = 600

    def __post_init__(self) -> None:
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            kind = dataclasses.fields(self)[_ORDER[field]].type
            wanted = (int,) if kind is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
                what = "a whole number" if kind is int else "a number"
                raise InputError(f"{field}={value!r} is not allowed: {what} from {low} to {high}")
        one_of("recipe", self.recipe, DROPOUTS)
        one_of("dtype", self.dtype, DTYPES)
        if len(set(self.names)) != len(self.names):
            raise InputError(f"networks={self.networks!r} is not allowed: every name once")
        for name in self.names:
            cost.network(named(name, image=self.image))  # refuses a picture too small for the strides

    @property
    def names(self) -> tuple[str, ...]:
        """The networks' names."""
        return tuple(self.networks.split(","))

    def architecture(self, name: str, classes: int) -> Architecture:
        """A network of the run, for so many classes, with the dropout of the recipe where it has any."""
        network = named(name, classes=classes, image=self.image)
        if not hasattr(network, "dropout"):
            return network
        dropout = DROPOUTS[self.recipe] if self.dropout < 0 else self.dropout
        return dataclasses.replace(network, dropout=dropout)  # type: ignore[call-arg]

    def recipe_of(self, network: Architecture) -> Recipe:
        """How a network of the run is trained: the named recipe with what the settings change."""
        own = next(decay for family, decay in DECAYS.items() if isinstance(network, family))
        changes = {
            "decay": own if self.decay < 0 else self.decay,
            "batch": self.batch,
            "smoothing": self.smoothing,
            "polyak": self.polyak,
            "dtype": self.dtype,
        } | ({"rate": self.rate} if self.rate else {})
        return replace("recipe", Recipe(), {**RECIPES[self.recipe], **changes})


_RANGES: Mapping[str, tuple[Any, Any]] = {
    "image": (8, 4096),
    "batch": (1, 65_536),
    "steps": (1, 10**9),
    "rate": (0.0, 1e3),
    "decay": (-1.0, 1.0),
    "dropout": (-1.0, 0.99),
    "smoothing": (0.0, 0.99),
    "polyak": (0.0, 0.999999),
    "top": (1, 10**6),
    "test_pictures": (0, 10**9),
    "seed": (0, 2**32 - 1),
    "threads": (1, 1024),
    "checkpoint_seconds": (0, 10**6),
}
_ORDER = {field.name: place for place, field in enumerate(dataclasses.fields(Settings))}
