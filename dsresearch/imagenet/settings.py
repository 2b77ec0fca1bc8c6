"""What an ImageNet-sized run is: networks, pictures, and the recipes of the Xception paper (section 4). No jax here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch.design import DTYPES, InputError, one_of
from dsresearch.networks.catalogue import named
from dsresearch.networks.inception_v3 import InceptionV3
from dsresearch.networks.vocabulary import Architecture


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the Xception paper trains on one data set (section 4.2 and 4.3).

    Attributes:
        optimiser: `sgd` with momentum, or `rmsprop` with momentum.
        rate: at first.
        fall: what the rate is multiplied with after every `every_epochs` epochs, or after every `every_samples`
            pictures where that is not 0.
        dropout: in front of the last layer.
    """

    optimiser: str
    rate: float
    fall: float
    every_epochs: int = 0
    every_samples: int = 0
    dropout: float

    def steps_between_falls(self, batch: int, pictures: int) -> int:
        """Steps after which the rate falls, at a batch size and with so many training pictures."""
        return max((self.every_samples or self.every_epochs * pictures) // batch, 1)


RECIPES: Mapping[str, Recipe] = {
    "imagenet": Recipe(optimiser="sgd", rate=0.045, fall=0.94, every_epochs=2, dropout=0.5),
    "jft": Recipe(optimiser="rmsprop", rate=0.001, fall=0.9, every_samples=3_000_000, dropout=0.0),
}
MOMENTUM = 0.9  # of both
DECAYS = {InceptionV3: 4e-5, Architecture: 1e-5}  # weight decay; the paper's for Xception is taken for all others


@dataclass(frozen=True, kw_only=True)
class Settings:
    """An ImageNet-sized run; whatever stands here may change its bits, but `checkpoint_seconds`.

    Attributes:
        networks: names of the catalogue, joined by commas; each sees the same batches, one step after the other.
        image: side of the pictures in pixels.
        batch: pictures a step.
        steps: steps in all.
        recipe: `imagenet` or `jft`.
        rate: at first; 0 means the recipe's.
        decay: weight decay; -1 means the paper's for the network.
        dropout: in front of the last layer; -1 means the recipe's.
        smoothing: label smoothing, off in the Xception paper.
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
    recipe: str = "imagenet"
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
        one_of("recipe", self.recipe, RECIPES)
        one_of("dtype", self.dtype, DTYPES)
        if len(set(self.names)) != len(self.names):
            raise InputError(f"networks={self.networks!r} is not allowed: every name once")
        for name in self.names:
            named(name, image=self.image)

    @property
    def names(self) -> tuple[str, ...]:
        """The networks' names."""
        return tuple(self.networks.split(","))

    @property
    def of_recipe(self) -> Recipe:
        return RECIPES[self.recipe]

    def architecture(self, name: str, classes: int) -> Architecture:
        """A network of the run, for so many classes, with the dropout of the recipe where it has any."""
        network = named(name, classes=classes, image=self.image)
        if not hasattr(network, "dropout"):
            return network
        dropout = self.of_recipe.dropout if self.dropout < 0 else self.dropout
        return dataclasses.replace(network, dropout=dropout)  # type: ignore[call-arg]

    def weight_decay(self, network: Architecture) -> float:
        """The weight decay of a network of the run."""
        if self.decay >= 0:
            return self.decay
        return next(decay for family, decay in DECAYS.items() if isinstance(network, family))


_RANGES: Mapping[str, tuple[Any, Any]] = {
    "image": (8, 4096),
    "batch": (1, 65_536),
    "steps": (1, 10**9),
    "rate": (0.0, 1e3),
    "decay": (-1.0, 1.0),
    "dropout": (-1.0, 0.99),
    "smoothing": (0.0, 0.99),
    "polyak": (0.0, 1.0),
    "top": (1, 10**6),
    "test_pictures": (0, 10**9),
    "seed": (0, 2**32 - 1),
    "threads": (1, 1024),
    "checkpoint_seconds": (0, 10**6),
}
_ORDER = {field.name: place for place, field in enumerate(dataclasses.fields(Settings))}
