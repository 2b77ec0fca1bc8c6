"""Blocks that several families share. A block names its layers after itself: `name_bn` normalises `name`."""

from dataclasses import dataclass

from dsresearch.design import bsconv_s_rank
from dsresearch.networks.vocabulary import Map, Padding, Window, Words


def conv_bn(
    net: Words,
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
    epsilon: float = 1e-5,
    scale: bool = True,
    act: str = "relu",
) -> Map:
    """A convolution `name`, BatchNorm `name_bn`, an activation."""
    x = net.conv(name, x, features, kernel, stride=stride, groups=groups, dilation=dilation, padding=padding, bias=bias)
    return net.norm(f"{name}_bn", x, epsilon=epsilon, scale=scale, act=act)


def depthwise_bn(
    net: Words,
    name: str,
    x: Map,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "SAME",
    epsilon: float = 1e-5,
    act: str = "relu",
) -> Map:
    """A depthwise convolution `name`, BatchNorm `name_bn`, an activation."""
    channels = x.shape[-1]
    return conv_bn(
        net,
        name,
        x,
        channels,
        kernel,
        stride=stride,
        groups=channels,
        dilation=dilation,
        padding=padding,
        epsilon=epsilon,
        act=act,
    )


def separable(
    net: Words,
    name: str,
    x: Map,
    features: int,
    kernel: Window = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "SAME",
    multiplier: int = 1,
    between: str = "none",
    bias: bool = False,
) -> Map:
    """A depthwise separable convolution: `name_dw`, an activation or none between (Xception Fig. 10), `name_pw`.

    `multiplier` depthwise filters a channel; a bias stands behind the pointwise one alone.
    """
    channels = x.shape[-1]
    x = net.conv(
        f"{name}_dw",
        x,
        channels * multiplier,
        kernel,
        stride=stride,
        groups=channels,
        dilation=dilation,
        padding=padding,
    )
    return net.conv(f"{name}_pw", net.act(x, between), features, bias=bias)


def bsconv_u(net: Words, name: str, x: Map, features: int, *, stride: int = 1) -> Map:
    """A blueprint separable 3x3 (Haase and Amthor 2020, Eq. 4): `name_pw`, nothing between, `name_dw`."""
    x = net.conv(f"{name}_pw", x, features)
    return net.conv(f"{name}_dw", x, features, 3, stride=stride, groups=features, padding=1)


def bsconv_s(net: Words, name: str, x: Map, features: int, *, stride: int = 1, share: float = 0.25) -> Map:
    """The same with the pointwise one through a subspace of a share of the channels, at least 4 (their Eq. 5).

    `name_pw1`, `name_pw2`, each with BatchNorm and without activation, then `name_dw`.
    """
    x = conv_bn(net, f"{name}_pw1", x, bsconv_s_rank(x.shape[-1], share), act="none")
    x = conv_bn(net, f"{name}_pw2", x, features, act="none")
    return net.conv(f"{name}_dw", x, features, 3, stride=stride, groups=features, padding=1)


def squeeze_excite(net: Words, name: str, x: Map, squeezed: int, *, act: str = "relu", gate: str = "sigmoid") -> Map:
    """Channels weighted by what their means say: `name_reduce`, `name_expand` (Hu et al. 2018, Fig. 2)."""
    weights = net.act(net.dense(f"{name}_reduce", net.mean(x), squeezed), act)
    weights = net.act(net.dense(f"{name}_expand", weights, x.shape[-1]), gate)
    return net.gate(x, weights)


@dataclass(frozen=True, kw_only=True)
class InvertedResidual:
    """One inverted residual: expand 1x1, depthwise, squeeze and excite, project 1x1 without activation, identity.

    MobileNet V2 (Sandler et al. 2018, Fig. 4b), V3 and EfficientNet's MBConv are settings of it. Without expansion
    (1 times) there is no first 1x1; the identity needs stride 1 and equal channels.

    Attributes:
        expanded: channels inside; where they are those of the input there is no first 1x1, unless `always_expand`.
        features: channels behind.
        dilation: of the depthwise convolution.
        squeezed: channels within squeeze and excitation, 0 for none.
        gate: the activation that makes its weights.
        drop: rate of dropped paths in front of the identity's addition.
    """

    expanded: int
    features: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    padding: Padding = "SAME"
    act: str = "relu6"
    squeezed: int = 0
    squeeze_act: str = "relu"
    gate: str = "sigmoid"
    epsilon: float = 1e-3
    drop: float = 0.0
    always_expand: bool = False

    def __call__(self, net: Words, name: str, x: Map) -> Map:
        y = x
        if self.always_expand or self.expanded != x.shape[-1]:
            y = conv_bn(net, f"{name}_expand", x, self.expanded, act=self.act, epsilon=self.epsilon)
        y = depthwise_bn(
            net,
            f"{name}_dw",
            y,
            self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
            act=self.act,
            epsilon=self.epsilon,
        )
        if self.squeezed:
            y = squeeze_excite(net, f"{name}_se", y, self.squeezed, act=self.squeeze_act, gate=self.gate)
        y = conv_bn(net, f"{name}_project", y, self.features, act="none", epsilon=self.epsilon)
        if self.stride == 1 and x.shape[-1] == self.features:
            y = net.add(x, net.drop_path(y, self.drop))
        return y


def classify(net: Words, x: Map, classes: int, *, dropout: float = 0.0) -> Map:
    """Global mean, dropout, the layer `predictions`."""
    return net.dense("predictions", net.dropout(net.mean(x), dropout), classes)
