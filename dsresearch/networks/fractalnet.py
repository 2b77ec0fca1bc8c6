"""FractalNet (Larsson et al. 2017), with the widths of the authors' script for CIFAR.

A fractal of C columns is f_1 = convolution, f_{c+1} = (f_c after f_c) joined with a convolution (their Eq. 1); a join
is the mean. A block ends in a pool in front of its last join. A convolution is followed by dropout, BatchNorm, ReLU.

Layers: `block{b}_col{c}_conv{i}` (`_dw`, `_pw`), `..._bn`, blocks, columns and convolutions from 1, column 1 the
shallowest; `predictions`. Column c of C has 2^(c-1) convolutions a block.

In the script a convolution has a bias and Caffe's BatchNorm no weights; here BatchNorm has scale and offset and the
convolution no bias.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsresearch.design import InputError, number, whole
from dsresearch.networks.blocks import separable
from dsresearch.networks.vocabulary import Architecture, Map, Words


@dataclass(frozen=True, kw_only=True)
class FractalNet(Architecture):
    """Blocks of C columns, a global mean, one layer; pictures of 32 pixels come down to one.

    Attributes:
        columns: C; the depth is blocks times 2^(C-1).
        blocks: how many, the first of `features` and `dropouts`; 0 for all of them.
        features: channels of each block.
        dropouts: rate behind each convolution of a block.
        drop_path: rate at which a join leaves out a column (local drop-path).
        global_share: share of the steps that train one column alone, drawn anew each time, through the whole network
            (global drop-path; the paper's section 3 has a half, the authors' script none).
        deepest: evaluation uses the deepest column alone (the paper's Table 1), not all of them.
        separable: every convolution is a depthwise separable one (hybrid paper, Figure 5).
    """

    classes: int = 10
    image: int = 32
    columns: int = 3
    blocks: int = 0
    features: tuple[int, ...] = (64, 128, 256, 512, 512)
    dropouts: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)
    drop_path: float = 0.15
    global_share: float = 0.0
    deepest: bool = False
    separable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least, most in (("columns", 1, 8), ("blocks", 0, len(self.features))):
            whole(name, getattr(self, name), least, most)
        number("global_share", self.global_share, 0, 1)
        if len(self.features) != len(self.dropouts):
            raise InputError(
                f"features={self.features!r} is not allowed: one for each of the {len(self.dropouts)} `dropouts`"
            )

    @property
    def trained(self) -> Architecture:
        return dataclasses.replace(self, deepest=False)

    def __call__(self, net: Words, x: Map) -> Map:
        picked = net.pick(self.columns, self.global_share, self.columns - 1 if self.deepest else None)
        blocks = list(zip(self.features, self.dropouts, strict=True))
        for block, (features, dropout) in enumerate(blocks[: self.blocks or None], 1):
            x = self._block(net, f"block{block}", x, self.wide(features), dropout, picked)
        return net.dense("predictions", net.mean(x), self.classes)

    def _block(self, net: Words, block: str, x: Map, features: int, dropout: float, picked: Any) -> Map:
        heads = [x] * self.columns  # what each column has come to, the shallowest first
        steps = 2 ** (self.columns - 1)
        for step in range(1, steps + 1):
            ready = [c for c in range(self.columns) if step % 2 ** (self.columns - 1 - c) == 0]
            for c in ready:
                place = step // 2 ** (self.columns - 1 - c)
                heads[c] = self._convolution(net, f"{block}_col{c + 1}_conv{place}", heads[c], features, dropout)
                if step == steps:
                    heads[c] = net.max_pool(heads[c], 2, 2, "VALID")
            if len(ready) > 1:
                joined = net.join([heads[c] for c in ready], self.drop_path, ready, picked)
                for c in ready:
                    heads[c] = joined
        return heads[0]

    def _convolution(self, net: Words, name: str, x: Map, features: int, dropout: float) -> Map:
        x = separable(net, name, x, features) if self.separable else net.conv(name, x, features, 3)
        return net.norm(f"{name}_bn", net.dropout(x, dropout), epsilon=1e-5, act="relu")


SOURCE = "Larsson et al. 2017"
POINTS: Mapping[str, Architecture] = {
    "fractalnet": FractalNet(),
    "fractalnet_separable": FractalNet(separable=True),
    "fractalnet_4": FractalNet(columns=4),
}
