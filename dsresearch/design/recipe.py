"""How one network is trained."""

from dataclasses import dataclass

from dsresearch.design.inputs import InputError, number, one_of, whole

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
        decay: weight decay added to the gradient of kernels (not of BatchNorm's scale and offset, nor of biases), and
            of PReLU's slopes, of which every position of a map has its own.
        schedule: learning rate against steps: constant; a linear rise over `warmup` and a cosine to zero; a staircase,
            times `fall` after `every` epochs or training pictures.
        warmup: share of the steps in which the rate rises.
        augment: `dataset` takes what belongs to the data set (crop-4 and flip for 32 px colour sets, none for digits).
        dtype: of the activations and their gradients; parameters, theirs and all sums are always float32.
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
        whole("recipe.epochs", self.epochs, 1, 100_000)
        whole("recipe.batch", self.batch, 1, 65_536)
        one_of("recipe.optimiser", self.optimiser, OPTIMISERS)
        number("recipe.rate", self.rate, 0.0, 1e3)
        number("recipe.momentum", self.momentum, 0.0, 0.9999)
        number("recipe.decay", self.decay, 0.0, 1.0)
        one_of("recipe.schedule", self.schedule, SCHEDULES)
        number("recipe.warmup", self.warmup, 0.0, 1.0)
        one_of("recipe.augment", self.augment, AUGMENTATIONS)
        one_of("recipe.dtype", self.dtype, DTYPES)
        number("recipe.fall", self.fall, 1e-6, 1.0)
        whole("recipe.every", self.every, 1, 10**12)
        for name, reader in (("warmup", "cosine"), ("fall", "staircase"), ("every", "staircase")):
            default = getattr(Recipe, name)  # another value would be one more identity of the same training
            if not self.schedule.startswith(reader) and getattr(self, name) != default:
                raise InputError(
                    f"recipe.{name}={getattr(self, name)} is not allowed with recipe.schedule={self.schedule!r}: "
                    f"{reader} alone reads it, {default} there"
                )
        number("recipe.smoothing", self.smoothing, 0.0, 0.9999)
        number("recipe.polyak", self.polyak, 0.0, 0.999999)  # at 1 the average would never move
