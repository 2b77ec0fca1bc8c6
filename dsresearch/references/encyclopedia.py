"""What the encyclopedia page on depthwise separable networks gets wrong, each with what is right and where it stands.

The page: https://aiwiki.ai/wiki/depthwise_separable_cnn, as of 2026-04-26. Figures in `right` are filled in from closed
forms: {name} is the parameters of a network, {name.macs} its multiply-adds, see `cost_tables`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Error:
    """A statement of the page.

    Attributes:
        section: of the page.
        claim: in the page's words, shortened.
        right: what is right.
        source: where that stands.
    """

    section: str
    claim: str
    right: str
    source: str


ERRORS = (
    Error(
        "Image classification",
        "MobileNet V1 has 3.4 million parameters",
        "{mobilenet_v1}; 3.4 million is MobileNet V2 ({mobilenet_v2} in Keras)",
        "Howard et al. 2017, Table 8; Sandler et al. 2018, Table 4",
    ),
    Error(
        "Image classification",
        "VGG-16 has 15.3 billion multiply-adds",
        "those of its convolutions; with the fully connected layers {vgg16.macs}",
        "Simonyan and Zisserman 2015, Table 1, counted",
    ),
    Error(
        "Relationship to the Inception hypothesis",
        "Branches of an Inception module operate on subsets of the input channels",
        "Each branch's 1x1 reads all input channels; the spatial convolutions act on disjoint segments of its output",
        "Chollet 2017, section 1.1 and Figure 3",
    ),
    Error(
        "Relationship to the Inception hypothesis",
        "The extreme version is exactly a depthwise convolution followed by a pointwise one; one subtle difference",
        "Figure 4 is the 1x1 first, then one spatial convolution for each of its outputs; there are two differences, "
        "the order and the ReLU behind the first operation",
        "Chollet 2017, section 1.2",
    ),
    Error(
        "Relationship to the Inception hypothesis",
        "Chollet found that the order did not significantly affect performance",
        "He argued that it is unimportant in a stack; what he tested is the non-linearity between the two",
        "Chollet 2017, sections 1.2 and 4.7",
    ),
    Error(
        "Variants and extensions",
        "Channel shuffle, after the grouped or depthwise convolution, is of ShuffleNet V2 (Zhang et al. 2018)",
        "Zhang et al. is ShuffleNet V1, V2 is Ma et al.; in V1 the shuffle stands between the first grouped 1x1 and "
        "the depthwise convolution",
        "Zhang et al. 2018, Figure 2",
    ),
    Error(
        "Variants and extensions",
        "A depth multiplier is of MobileNet V1",
        "That paper has a width multiplier and one filter a channel; a depth multiplier (8) is in the first layer of "
        "Inception V1 and V2. TF-slim calls the width multiplier depth_multiplier",
        "Howard et al. 2017, section 3.3; Chollet 2017, section 2",
    ),
    Error(
        "References, 1",
        "Sifre and Mallat, arXiv:1403.1687, on depthwise separable convolution",
        "That paper is on scattering; separable convolution is in Sifre's thesis, section 6.2",
        "Chollet 2017, section 2",
    ),
    Error(
        "Inception and Xception (2015-2017)",
        "Xception uses the same number of parameters as Inception V3",
        "{xception} against {inception_v3_2016}: 3.26 % fewer",
        "Chollet 2017, Table 3",
    ),
    Error(
        "Background; Reduction ratio",
        "The reduction is proportional to N or to k^2, and becomes even greater with N",
        "The ratio is 1/N + 1/k^2: never more than k^2 times fewer",
        "the page's own formula",
    ),
    Error(
        "PyTorch example",
        "The PyTorch example is the separable convolution that the page counts, 266,752 for 512 to 512 channels",
        "It leaves bias=True in both layers: {separable_with_biases}. It has neither the BatchNorm nor the ReLU of the "
        "MobileNet block that it illustrates",
        "counted",
    ),
    Error(
        "Mathematical formulation",
        "D_F is the size of the input",
        "The formulas hold for the size of the output; with stride 1 and padding the two are equal",
        "counted",
    ),
    Error(
        "MobileNet V2; EfficientNet MBConv",
        "A block begins with an expansion and adds the residual when dimensions match",
        "There is no expansion where its ratio is 1 (the first stage); the residual needs stride 1 and equal channels",
        "Sandler et al. 2018, Table 2; Tan and Le 2019, published code",
    ),
    Error(
        "Semantic segmentation",
        "DeepLabV3+ reaches 89.0 % on PASCAL VOC",
        "With pre-training on JFT; 87.8 % without it",
        "DeepLab model zoo",
    ),
    Error(
        "GPU utilization; Object detection",
        "Fusing both operations gives 1.7x to 2.0x; lightweight YOLO variants use separable convolutions",
        "Neither has a source: not taken over",
        "none given",
    ),
)
