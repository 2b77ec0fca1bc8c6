"""The words that a network is written in.

An architecture is written once, as a function of feature maps over these words; three readers give them a meaning:
`networks.build` makes the Flax network, `cost` counts in closed form without jax, and anyone may print a layer list.
A feature map is whatever the reader works on; its `shape` is (pictures, height, width, channels), or (pictures,
features) behind `mean` and `flatten`.

The first argument of a word that holds weights is the layer's name, and the layer's weights are found under it:
`{"params": {name: {"kernel", "bias"}}}` for `conv` and `dense`, `{"scale", "offset"}` for `norm` (with `{"mean",
"variance"}` in `stats`), `{"slope"}` for `prelu`. There is one level of names, so that weights are moved from another
implementation by a table of names.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, get_args

from dsresearch.design import InputError

Map = Any  # an array, or a shape

# SAME and VALID are TensorFlow's: at stride 2, SAME pads an even side by (0, 1). A whole number p is PyTorch's
# padding=p, (p, p) on both sides: another function on even sides. A pair is (before, after) on both axes. CEIL is
# Caffe's and PyTorch's ceil_mode: behind alone, as much as lets the windows reach the last pixel.
Padding = str | int | tuple[int, int]
Window = int | tuple[int, int]  # height and width

ACTIVATIONS = ("none", "relu", "elu", "relu6", "leaky", "swish", "sigmoid", "hard_sigmoid", "hard_swish")


class Words(Protocol):
    """What a reader of networks understands. Convolutions are correlations; there is no bias unless asked for."""

    def conv(
        self,
        name: str,
        x: Map,
        features: int,
        kernel: Window = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        padding: Padding = "SAME",
        bias: bool = False,
    ) -> Map:
        """A convolution; output j reads the input channels of group j // (features / groups)."""

    def dense(self, name: str, x: Map, features: int, *, bias: bool = True) -> Map:
        """A fully connected layer on [N, C]."""

    def norm(self, name: str, x: Map, *, epsilon: float, scale: bool = True, act: str = "none") -> Map:
        """BatchNorm, with or without a trained scale, and an activation behind it."""

    def act(self, x: Map, activation: str) -> Map:
        """relu, relu6, leaky (slope 0.1), elu, swish, hard_swish, sigmoid, hard_sigmoid, or none."""

    def prelu(self, name: str, x: Map) -> Map:
        """ReLU with a trained slope for every element of a picture (Keras's default)."""

    def max_pool(self, x: Map, window: int, stride: int, padding: Padding) -> Map:
        """Maximum over windows; padding never wins."""

    def avg_pool(self, x: Map, window: int, stride: int, padding: Padding, *, count_padding: bool = False) -> Map:
        """Mean over windows; padded zeros are counted as pixels (PyTorch's default) or not (TensorFlow's)."""

    def mean(self, x: Map) -> Map:
        """Global average pooling, [N, H, W, C] to [N, C]."""

    def flatten(self, x: Map) -> Map:
        """[N, H, W, C] to [N, H W C], channels fastest."""

    def concat(self, maps: Sequence[Map]) -> Map:
        """Side by side along the channels."""

    def split(self, x: Map, channels: int) -> tuple[Map, Map]:
        """The first channels, and the rest."""

    def shuffle(self, x: Map, groups: int) -> Map:
        """Channel shuffle: output j g + i is input i n + j, n channels a group (Zhang et al. 2018, Fig. 1c)."""

    def add(self, x: Map, y: Map) -> Map:
        """The sum of two maps of one shape."""

    def gate(self, x: Map, weights: Map) -> Map:
        """Channels times the weights [N, C] of squeeze and excitation."""

    def pick(self, columns: int, share: float, tested: int | None) -> Any:
        """One of FractalNet's columns for all joins: in training a drawn one, with probability `share`; else none.

        In evaluation it is `tested`.
        """

    def join(self, columns: Sequence[Map], drop: float, numbers: Sequence[int], picked: Any) -> Map:
        """The mean of FractalNet's columns of these numbers, or the picked one alone where it is among them.

        In training each is left out with probability `drop`, never all.
        """

    def drop_path(self, x: Map, rate: float) -> Map:
        """Stochastic depth: in training the whole map of a picture is zero with probability `rate`, else scaled."""

    def dropout(self, x: Map, rate: float) -> Map:
        """Dropout of single features, in training."""

    def lrn(self, x: Map, *, size: int, alpha: float, beta: float, k: float) -> Map:
        """x / (k + alpha / size * sum of squares over `size` neighbouring channels)^beta (Krizhevsky 2012, 3.3)."""

    def broadcast(self, x: Map, like: Map) -> Map:
        """[N, C] at every pixel of a map as large as another."""

    def resize(self, x: Map, like: Map) -> Map:
        """Bilinear interpolation, corners aligned, to the height and width of another map."""

    def auxiliary(self, head: Callable[[Map], Map], x: Map) -> None:
        """A classifier beside the network, for training: it counts as parameters and not as multiply-adds."""


def _is(kind: Any, value: Any) -> bool:
    """Whether a value is a number, flag or word of a kind, or a tuple as nested and as long as `kind` says.

    Whole numbers within a tuple are windows, strides, features and repeats: none of them is below 1.
    """
    inside = get_args(kind)
    if not inside:
        kinds = (int, float) if kind is float else kind
        return isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
    if not (isinstance(value, tuple) and value):
        return False
    kinds = inside[:1] * len(value) if inside[-1] is Ellipsis else inside
    fit = len(kinds) == len(value) and all(map(_is, kinds, value))
    return fit and all(one >= 1 for each, one in zip(kinds, value, strict=True) if each is int)


def _form(kind: Any) -> str:
    """What a field may hold, for people: `((whole number from 1, whole number from 1), ...)`."""
    words: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    if kind in words:
        return words[kind]
    inside: dict[Any, str] = {**words, int: "a whole number from 1", Ellipsis: "..."}
    return f"({', '.join(inside.get(each) or _form(each) for each in get_args(kind))})"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What every family has. A family adds its own fields, defaults included, and says `__call__`.

    Attributes:
        classes: outputs of the last layer.
        image: side of the picture in pixels, for which the cost is counted; a built network takes any other.
        channels: of the picture.
        width: factor on the number of channels of every layer.
    """

    classes: int = 1000
    image: int = 224
    channels: int = 3
    width: float = 1.0

    ONE_OF: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # field -> its values, where not all of their kind will do

    def __post_init__(self) -> None:
        for field in ("classes", "image", "channels"):
            if not (isinstance(getattr(self, field), int) and getattr(self, field) >= 1):
                raise InputError(f"{field}={getattr(self, field)!r} is not allowed: a whole number from 1")
        for name, value in vars(self).items():
            self._check(name, value)
        if not (math.isfinite(self.width) and self.width > 0):
            raise InputError(f"width={self.width!r} is not allowed: a number above 0")

    def _check(self, name: str, value: Any) -> None:
        """Every field is what its annotation says, and what is dropped is dropped with a probability below 1."""
        kind = next(field.type for field in dataclasses.fields(self) if field.name == name)
        if not _is(kind, value):
            raise InputError(f"{name}={value!r} is not allowed: {_form(kind)}")
        if isinstance(value, int) and value < 0:
            raise InputError(f"{name}={value!r} is not allowed: a whole number from 0")
        if value not in self.ONE_OF.get(name, (value,)):
            raise InputError(f"{name}={value!r} is not allowed: {', '.join(map(str, self.ONE_OF[name]))}")
        if name.startswith("drop"):
            for rate in value if isinstance(value, tuple) else (value,):
                if not 0 <= rate < 1:
                    raise InputError(f"{name}={rate!r} is not allowed: a number from 0 up to, but not, 1")

    @property
    def trained(self) -> "Architecture":
        """The network as training sees it: fields that evaluation alone reads have their defaults."""
        return self

    @property
    def orthonormal(self) -> tuple[str, ...]:
        """How the names of the layers end whose kernels an extra loss holds orthonormal; BSConv-S alone has any."""
        return ()

    def __call__(self, net: Words, x: Map) -> Map:
        """Logits [N, classes], or [N, H, W, classes] where every pixel has a class."""
        raise NotImplementedError

    def wide(self, channels: int) -> int:
        """`channels` times the width factor, rounded down. Raises InputError where none are left."""
        scaled = int(channels * self.width)
        if scaled < 1:
            raise InputError(
                f"width={self.width:g} is not allowed: it leaves no channel of {channels}, "
                f"at least {1 / channels:g} is needed"
            )
        return scaled

    def wide_by_8(self, channels: float) -> int:
        """`channels` times the width factor, to a multiple of 8 (`round_channels`)."""
        return round_channels(channels * self.width)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8, never more than 10 % below (MobileNet V2's published code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def pads(size: Sequence[int], window: Sequence[int], stride: int, dilation: int, padding: Padding) -> list[list[int]]:
    """Padding before and after, for height and width.

    Raises:
        ValueError: a padding that is not a word of this vocabulary.
    """
    if padding == "VALID":
        return [[0, 0], [0, 0]]
    if isinstance(padding, int):
        return [[padding, padding], [padding, padding]]
    if isinstance(padding, tuple):
        return [list(padding), list(padding)]
    spans = [(k - 1) * dilation + 1 for k in window]
    if padding == "CEIL":
        steps = [-(-(n - span) // stride) for n, span in zip(size, spans, strict=True)]
        return [[0, max(step * stride + span - n, 0)] for step, n, span in zip(steps, size, spans, strict=True)]
    if padding != "SAME":
        raise ValueError(f"padding {padding!r} is none of SAME, VALID, CEIL, a whole number, (before, after)")
    totals = [max((-(-n // stride) - 1) * stride + span - n, 0) for n, span in zip(size, spans, strict=True)]
    return [[total // 2, total - total // 2] for total in totals]


def both(window: Window) -> tuple[int, int]:
    """Height and width of a window."""
    return (window, window) if isinstance(window, int) else window
