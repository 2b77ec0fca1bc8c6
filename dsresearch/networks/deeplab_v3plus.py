"""DeepLabV3+ (Chen et al. 2018): atrous separable convolutions in encoder, pyramid and decoder; logits of every pixel.

The Xception-65 encoder is Figure 4's: more middle blocks than Xception, every pool a strided separable convolution,
BatchNorm behind each depthwise convolution too. The MobileNet V2 one has neither atrous pyramid nor decoder. Layer
lists are those of the Keras port bonlime/keras-deeplab-v3-plus, whose counts they have.

Layers: `conv1`, `conv2`; `entry{1..3}`, `middle{1..16}`, `exit{1,2}` with `_sep{1,2,3}_dw`, `_pw` and `_shortcut`;
`pool`, `aspp0`, `aspp{1..3}_dw`, `_pw`, `project`; `decoder_skip`, `decoder{1,2}_dw`, `_pw`; each with `..._bn`;
`predictions` with bias. MobileNet V2's are `block_{i}_...`.

Numbers: epsilon is 1e-3 in the encoders, 1e-5 behind them. Strided convolutions pad dilation on both sides. Maps are
enlarged bilinearly with corners aligned, as in TensorFlow's DeepLab (Keras's `Resizing` does not align them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dsresearch.networks import mobilenet_v2
from dsresearch.networks.blocks import InvertedResidual, conv_bn, depthwise_bn
from dsresearch.networks.vocabulary import Architecture, Map, Words, round_channels

# By output stride: stride of entry block 3, rates of middle flow, exit blocks, and pyramid.
RATES: Mapping[int, tuple[int, int, tuple[int, int], tuple[int, int, int]]] = {
    16: (2, 1, (1, 2), (6, 12, 18)),
    8: (1, 2, (2, 4), (12, 24, 36)),
}


@dataclass(frozen=True, kw_only=True)
class DeepLabV3Plus(Architecture):
    """A class for every pixel: [N, H, W, classes].

    Attributes:
        encoder: `xception65` with pyramid and decoder, or `mobilenet_v2` with neither.
        output_stride: by how much the encoder shrinks the picture, 16 or 8.
        pyramid: features of each branch of atrous spatial pyramid pooling.
        skip: features that the decoder takes from the entry flow.
    """

    classes: int = 21
    image: int = 513
    encoder: str = "xception65"
    output_stride: int = 16
    pyramid: int = 256
    skip: int = 48

    ONE_OF: ClassVar = {"encoder": ("xception65", "mobilenet_v2"), "output_stride": (8, 16)}

    def __call__(self, net: Words, x: Map) -> Map:
        picture, skip = x, None
        if self.encoder == "xception65":
            x, skip = self._xception65(net, x)
        else:
            x = self._mobilenet_v2(net, x)
        x = self._pyramid(net, x, RATES[self.output_stride][3] if skip is not None else ())
        if skip is not None:
            near = conv_bn(net, "decoder_skip", skip, self.wide(self.skip))
            x = net.concat([net.resize(x, near), near])
            for i in (1, 2):
                x = self._separable(net, f"decoder{i}", x, self.pyramid, activate=True, epsilon=1e-5)
        return net.resize(net.conv("predictions", x, self.classes, bias=True), picture)

    def _pyramid(self, net: Words, x: Map, rates: tuple[int, ...]) -> Map:
        features = self.wide(self.pyramid)
        whole = net.norm("pool_bn", net.dense("pool", net.mean(x), features, bias=False), epsilon=1e-5, act="relu")
        branches = [net.broadcast(whole, x), conv_bn(net, "aspp0", x, features)]
        for i, rate in enumerate(rates, 1):
            branches.append(self._separable(net, f"aspp{i}", x, self.pyramid, rate=rate, activate=True, epsilon=1e-5))
        return net.dropout(conv_bn(net, "project", net.concat(branches), features), 0.1)

    # --- Xception-65 ----------------------------------------------------------------------------------------------

    def _xception65(self, net: Words, x: Map) -> tuple[Map, Map]:
        """The encoder's map, and entry block 2's in front of its stride."""
        third, middle, exits, _ = RATES[self.output_stride]
        x = conv_bn(net, "conv1", x, self.wide(32), 3, stride=2, epsilon=1e-3)
        x = conv_bn(net, "conv2", x, self.wide(64), 3, epsilon=1e-3)
        x, _ = self._block(net, "entry1", x, (128,) * 3, stride=2)
        x, skip = self._block(net, "entry2", x, (256,) * 3, stride=2)
        x, _ = self._block(net, "entry3", x, (728,) * 3, stride=third)
        for i in range(1, 17):
            x, _ = self._block(net, f"middle{i}", x, (728,) * 3, rate=middle, shortcut="sum")
        x, _ = self._block(net, "exit1", x, (728, 1024, 1024), rate=exits[0])
        x, _ = self._block(net, "exit2", x, (1536, 1536, 2048), rate=exits[1], shortcut="none", activate=True)
        return x, skip

    def _block(
        self,
        net: Words,
        name: str,
        x: Map,
        features: tuple[int, ...],
        *,
        stride: int = 1,
        rate: int = 1,
        shortcut: str = "conv",
        activate: bool = False,
    ) -> tuple[Map, Map]:
        """Three separable convolutions, the last strided: their map and that of the second."""
        y = skip = x
        for i, channels in enumerate(features, 1):
            step = stride if i == 3 else 1
            y = self._separable(net, f"{name}_sep{i}", y, channels, stride=step, rate=rate, activate=activate)
            skip = y if i == 2 else skip
        if shortcut == "conv":
            x = conv_bn(net, f"{name}_shortcut", x, y.shape[-1], stride=stride, act="none", epsilon=1e-3)
        return (y if shortcut == "none" else net.add(y, x)), skip

    def _separable(
        self,
        net: Words,
        name: str,
        x: Map,
        features: int,
        *,
        stride: int = 1,
        rate: int = 1,
        activate: bool = False,
        epsilon: float = 1e-3,
    ) -> Map:
        """ReLU in front of it, or (`activate`) behind both of its operations."""
        act = "relu" if activate else "none"
        x = x if activate else net.act(x, "relu")
        x = depthwise_bn(net, f"{name}_dw", x, stride=stride, dilation=rate, padding=rate, act=act, epsilon=epsilon)
        return conv_bn(net, f"{name}_pw", x, self.wide(features), act=act, epsilon=epsilon)

    # --- MobileNet V2 ---------------------------------------------------------------------------------------------

    def _mobilenet_v2(self, net: Words, x: Map) -> Map:
        """Its blocks up to 320 channels; a stride past the output stride becomes a rate of what follows it."""
        x = conv_bn(net, "conv1", x, self.wide_by_8(32), 3, stride=2, act="relu6", epsilon=1e-3)
        shrunk, rate, block = 2, 1, 0
        for expansion, channels, repeats, first in mobilenet_v2.ROWS:
            for repeat in range(repeats):
                stride = 1 if repeat or shrunk * first > self.output_stride else first
                unit = InvertedResidual(
                    expanded=expansion * x.shape[-1],
                    features=round_channels(int(channels * self.width)),
                    stride=stride,
                    dilation=rate,
                )
                x = unit(net, f"block_{block}", x)
                shrunk, block = shrunk * stride, block + 1
                rate = rate if repeat else rate * first // stride
        return x


SOURCE = "Chen et al. 2018"
POINTS: Mapping[str, Architecture] = {
    "deeplab_v3plus_xception65": DeepLabV3Plus(),
    "deeplab_v3plus_xception65_os8": DeepLabV3Plus(output_stride=8),
    "deeplab_v3plus_mobilenet_v2": DeepLabV3Plus(encoder="mobilenet_v2", output_stride=8),
}
