"""Counts of networks as others have them: of reference implementations, exact, and as papers print them, rounded.

`BUILT` was found by building the implementation and adding up its arrays and the kernels' work on every output pixel,
by the convention of `cost`. `PRINTED` is what papers and sites say.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Built:
    """Counts of an implementation; None was not counted."""

    params: int
    stats: int | None
    macs: int | None


@dataclass(frozen=True)
class Printed:
    """What a paper or site says, in its own rounding: "4.2 M" stands for 4.15 to 4.25 million.

    Not all were looked up again in the papers: where one differs, look there first.

    Attributes:
        source: where.
        params: parameters.
        macs: multiply-adds a picture.
        note: why the network has other figures, where it has.
    """

    source: str
    params: str = ""
    macs: str = ""
    note: str = ""


# fmt: off
BUILT: Mapping[str, Mapping[str, Built]] = {
    "Keras 3.15.1": {
        "xception": Built(22_855_952, 54_528, 8_357_403_496),
        "inception_v3": Built(23_817_352, 34_432, 5_713_216_096),
        "mobilenet_v1": Built(4_231_976, 21_888, 568_740_352),
        "mobilenet_v1_0.75": Built(2_585_560, 16_416, 325_400_448),
        "mobilenet_v1_0.5": Built(1_331_592, 10_944, 149_497_088),
        "mobilenet_v1_0.25": Built(470_072, 5_472, 41_030_272),
        "mobilenet_v2": Built(3_504_872, 34_112, 300_774_272),
        "mobilenet_v2_0.35": Built(1_677_128, 14_080, 59_285_808),
        "mobilenet_v2_0.5": Built(1_968_680, 18_544, 97_131_840),
        "mobilenet_v2_0.75": Built(2_636_424, 26_640, 209_069_792),
        "mobilenet_v2_1.3": Built(5_386_792, 44_256, 509_374_560),
        "mobilenet_v2_1.4": Built(6_108_776, 47_936, 582_195_824),
        "mobilenet_v3_large": Built(5_483_032, 24_400, 216_589_760),
        "mobilenet_v3_large_0.75": Built(3_993_528, 19_088, 154_560_624),
        "mobilenet_v3_large_minimalistic": Built(3_924_288, 24_400, 209_136_704),
        "mobilenet_v3_small": Built(2_542_856, 12_112, 56_510_400),
        "mobilenet_v3_small_0.75": Built(2_041_872, 9_680, 43_399_344),
        "mobilenet_v3_small_minimalistic": Built(2_044_736, 12_112, 52_288_448),
        "efficientnet_b0": Built(5_288_548, 42_016, 385_814_752),
        "efficientnet_b1": Built(7_794_184, 62_048, 686_802_832),
        "efficientnet_b2": Built(9_109_994, 67_568, 993_561_872),
        "efficientnet_b3": Built(12_233_232, 87_296, 1_827_141_392),
        "efficientnet_b4": Built(19_341_616, 125_200, 4_393_771_024),
        "efficientnet_b5": Built(30_389_784, 172_736, 10_266_384_752),
        "efficientnet_b6": Built(43_040_704, 224_432, 19_067_593_536),
        "efficientnet_b7": Built(66_347_960, 310_720, 37_745_884_192),
        "resnet50_keras": Built(25_583_592, 53_120, 3_857_973_248),
        "resnet101_keras": Built(44_601_832, 105_344, 7_570_194_432),
        "resnet152_keras": Built(60_268_520, 151_424, 11_282_415_616),
    },
    "github.com/fchollet/deep-learning-models, commit 134615a": {
        "inception_v3_2016": Built(23_626_728, 34_240, None),
    },
    "torchvision 0.28.0": {
        "vgg11": Built(132_863_336, 0, 7_609_090_048),
        "vgg13": Built(133_047_848, 0, 11_308_466_176),
        "vgg16": Built(138_357_544, 0, 15_470_264_320),
        "vgg19": Built(143_667_240, 0, 19_632_062_464),
        "vgg11_bn": Built(132_868_840, 5_504, 7_609_090_048),
        "vgg13_bn": Built(133_053_736, 5_888, 11_308_466_176),
        "vgg16_bn": Built(138_365_992, 8_448, 15_470_264_320),
        "vgg19_bn": Built(143_678_248, 11_008, 19_632_062_464),
        "resnet18": Built(11_689_512, 9_600, 1_814_073_344),
        "resnet34": Built(21_797_672, 17_024, 3_663_761_408),
        "resnet50": Built(25_557_032, 53_120, 4_089_184_256),
        "resnet101": Built(44_549_160, 105_344, 7_801_405_440),
        "resnet152": Built(60_192_808, 151_424, 11_513_626_624),
        "resnext50_32x4d": Built(25_028_904, 68_224, 4_230_479_872),
        "resnext101_32x8d": Built(88_791_336, 202_880, 16_414_015_488),
        "resnext101_64x4d": Built(83_455_272, 202_880, 15_460_270_080),
        "alexnet_torchvision": Built(61_100_840, 0, 714_188_480),
        "inception_v3_torchvision": Built(23_834_568, 34_432, 5_713_216_096),
        "inception_v3_torchvision_aux": Built(27_161_264, 36_224, 5_713_216_096),
        "inception_v1_torchvision": Built(6_624_904, 14_560, 1_498_376_192),
        "inception_v1_torchvision_aux": Built(13_004_888, 15_072, 1_498_376_192),
        "shufflenet_v2_0.5": Built(1_366_792, 7_952, 40_476_448),
        "shufflenet_v2_1.0": Built(2_278_604, 16_180, 144_907_992),
        "shufflenet_v2_1.5": Built(3_503_624, 23_440, 295_759_392),
        "shufflenet_v2_2.0": Built(7_393_996, 33_716, 583_253_464),
    },
    "pytorchcv 0.0.74": {
        "bn_inception": Built(11_295_240, 20_032, 2_032_600_064),
        "darknet_reference": Built(7_319_416, 4_064, 362_373_120),
        "darknet19": Built(20_842_376, 14_400, 2_790_989_824),
        "shufflenet_v1_g1": Built(1_531_936, 14_688, 143_078_976),
        "shufflenet_v1_g2": Built(1_733_848, 20_400, 140_836_512),
        "shufflenet_v1_g3": Built(1_865_728, 24_480, 137_460_672),
        "shufflenet_v1_g4": Built(1_968_344, 27_744, 134_339_776),
        "shufflenet_v1_g8": Built(2_434_768, 39_168, 138_365_952),
        "resnext20_16x4d": Built(1_995_082, 14_464, 322_119_680),
        "resnext20_32x2d": Built(1_946_698, 14_464, 315_041_792),
        "resnext20_32x4d": Built(3_295_562, 18_048, 558_573_568),
        "resnext29_32x4d": Built(4_775_754, 25_216, 774_055_936),
        "resnext29_16x64d": Built(68_155_210, 100_480, 10_688_866_304),
        "resnext101_32x4d": Built(44_177_704, 137_856, 7_969_996_800),
    },
    "pytorchcv 0.0.74's rule, at cardinalities it does not name": {
        "resnext20_1x64d": Built(3_446_602, None, 534_456_320),
        "resnext20_2x32d": Built(2_672_458, None, 421_210_112),
        "resnext20_4x16d": Built(2_285_386, None, 364_587_008),
        "resnext20_8x8d": Built(2_091_850, None, 336_275_456),
        "resnext20_64x1d": Built(1_922_506, None, 311_502_848),
    },
    "the authors' code, github.com/zeiss-microscopy/BSConv": {
        "bsconv_none_mobilenet_v1": Built(4_231_982, 21_894, 568_740_352),
        "bsconv_u_mobilenet_v1": Built(4_230_990, 11_974, 884_021_248),
        "bsconv_none_mobilenet_v1_cifar": Built(3_217_232, 21_894, 175_556_608),
        "bsconv_u_mobilenet_v1_cifar": Built(3_216_240, 11_974, 252_454_912),
        "bsconv_s_mobilenet_v2": Built(3_505_966, 34_182, 313_619_328),
        "bsconv_s_mobilenet_v2_cifar": Built(2_237_776, 34_182, 89_025_024),
        "bsconv_none_resnet20": Built(272_480, 1_574, 40_813_184),
        "bsconv_u_resnet20": Built(40_720, 1_574, 7_250_560),
        "bsconv_s_resnet20": Built(27_255, 3_268, 4_507_264),
        "bsconv_none_resnet110": Built(1_730_720, 8_294, 253_149_824),
        "bsconv_u_resnet110": Built(238_960, 8_294, 38_584_960),
        "bsconv_s_resnet110": Built(153_255, 18_388, 24_045_184),
        "bsconv_none_resnet18": Built(11_689_518, 9_606, 1_814_073_344),
        "bsconv_u_resnet18": Built(1_959_214, 9_606, 395_397_120),
        "bsconv_s_resnet18": Built(1_336_782, 18_982, 263_735_296),
        "bsconv_none_wrn16_1": Built(175_072, 934, 26_657_408),
        "bsconv_u_wrn16_1": Built(27_312, 934, 5_161_600),
        "bsconv_s_wrn16_1": Built(18_663, 2_068, 3_204_736),
        "bsconv_none_wrn16_4": Built(2_748_896, 3_622, 392_612_352),
        "bsconv_u_wrn16_4": Built(364_528, 3_622, 65_145_344),
        "bsconv_s_wrn16_4": Built(213_607, 8_020, 35_073_536),
        "bsconv_none_wrn16_8": Built(10_961_376, 7_206, 1_548_145_664),
        "bsconv_u_wrn16_8": Built(1_408_752, 7_206, 247_534_592),
        "bsconv_s_wrn16_8": Built(797_543, 15_956, 128_595_968),
        "bsconv_none_wrn28_2": Built(1_467_616, 3_622, 214_353_152),
        "bsconv_u_wrn28_2": Built(193_264, 3_622, 32_638_208),
        "bsconv_s_wrn28_2": Built(115_751, 8_084, 18_688_256),
        "bsconv_none_wrn28_10": Built(36_479_200, 17_958, 5_243_328_768),
        "bsconv_u_wrn28_10": Built(4_385_520, 17_958, 707_664_128),
        "bsconv_s_wrn28_10": Built(2_364_199, 40_084, 364_985_600),
        "bsconv_none_wrn28_12": Built(52_517_856, 21_542, 7_543_905_792),
        "bsconv_u_wrn28_12": Built(6_288_624, 21_542, 1_012_735_488),
        "bsconv_s_wrn28_12": Built(3_373_031, 48_084, 519_717_376),
        "bsconv_none_wrn40_10": Built(55_841_760, 26_918, 8_074_483_968),
        "bsconv_u_wrn40_10": Built(6_585_200, 26_918, 1_032_558_848),
        "bsconv_s_wrn40_10": Built(3_499_879, 60_244, 532_593_920),
    },
    "the authors' code, github.com/megvii-model/ShuffleNet-Series": {
        "shufflenet_v2_0.5_official": Built(1_365_792, 7_952, 40_476_448),
        "shufflenet_v2_1.0_official": Built(2_278_760, 16_180, 145_814_296),
        "shufflenet_v2_1.5_official": Built(3_506_720, 23_440, 298_970_656),
        "shufflenet_v2_2.0_official": Built(7_402_600, 33_716, 590_783_000),
    },
    "github.com/kuangliu/pytorch-cifar": {
        "vgg16_cifar": Built(14_728_266, None, 313_201_664),
        "resnet18_cifar": Built(11_173_962, None, 555_422_720),
        "resnet50_cifar": Built(23_520_842, None, 1_297_829_888),
    },
    "the authors' script, github.com/gustavla/fractalnet, with BatchNorm's weights for biases": {
        "fractalnet": Built(33_724_618, 20_608, 845_222_912),
    },
    "cifar.cfg of github.com/pjreddie/darknet": {
        "darknet_cifar": Built(7_681_674, 5_376, 812_198_912),
    },
    "TF-slim, counted from its source": {
        "bn_inception_slim": Built(11_178_336, 19_904, None),
    },
    "github.com/bonlime/keras-deeplab-v3-plus": {
        "deeplab_v3plus_xception65": Built(41_055_413, 202_800, 54_035_303_024),
        "deeplab_v3plus_mobilenet_v2": Built(2_113_557, 33_088, 8_825_853_632),
    },
    "Ioannou's thesis, data of github.com/yanii/phd-thesis": {
        "alexnet": Built(60_965_224, 0, 724_406_816),
    },
    "the paper's table, counted": {
        "alexnet_plain": Built(62_378_344, 0, 1_135_256_096),
        "mobilenet_v1_conv": Built(29_294_088, 11_968, 4_867_293_184),
        "mobilenet_v1_shallow": Built(2_887_976, 11_648, 307_323_392),
        "inception_v1": Built(6_998_552, 0, 1_582_671_872),
        "inception_v1_aux": Built(13_378_280, 0, 1_582_671_872),
        "resnext29_8x64d": Built(34_426_698, None, None),
    },
}
# fmt: on

PRINTED: Mapping[str, Printed] = {
    "xception": Printed("Chollet 2017, Table 3", params="22,855,952"),
    "inception_v3_2016": Printed("Chollet 2017, Table 3", params="23,626,728"),
    "inception_v1": Printed(
        "Howard et al. 2017, Table 8",
        params="6.8 M",
        macs="1550 M",
        note="the released model has 3 % more parameters and 2 % more multiply-adds than this rounding",
    ),
    "vgg16": Printed(
        "Howard et al. 2017, Table 8",
        params="138 M",
        macs="15300 M",
        note="the multiply-adds are those of the convolutions alone",
    ),
    "vgg19": Printed("Simonyan and Zisserman 2015, Table 2", params="144 M"),
    "alexnet": Printed(
        "Howard et al. 2017, Table 9", params="60 M", macs="720 M", note="rounded down: 60.97 M and 724 M"
    ),
    "resnet50": Printed("Xie et al. 2017, Table 1", params="25.5 M", macs="4.1 G", note="the paper truncates 25.56"),
    "resnet50_keras": Printed("He et al. 2016, Table 1", macs="3.8 G", note="the paper truncates 3.86"),
    "resnet101_keras": Printed("He et al. 2016, Table 1", macs="7.6 G"),
    "resnet152_keras": Printed("He et al. 2016, Table 1", macs="11.3 G"),
    "resnext50_32x4d": Printed("Xie et al. 2017, Table 1", params="25.0 M", macs="4.2 G"),
    "resnext29_8x64d": Printed("Xie et al. 2017, Table 7", params="34.4 M"),
    "resnext29_16x64d": Printed("Xie et al. 2017, Table 7", params="68.1 M", note="the paper truncates 68.16"),
    "mobilenet_v1": Printed("Howard et al. 2017, Table 6", params="4.2 M", macs="569 M"),
    "mobilenet_v1_0.75": Printed("Howard et al. 2017, Table 6", params="2.6 M", macs="325 M"),
    "mobilenet_v1_0.5": Printed("Howard et al. 2017, Table 6", params="1.3 M", macs="149 M"),
    "mobilenet_v1_0.25": Printed("Howard et al. 2017, Table 6", params="0.5 M", macs="41 M"),
    "mobilenet_v1_conv": Printed(
        "Howard et al. 2017, Table 4",
        params="29.3 M",
        macs="4866 M",
        note="a difference of 0.03 % in the multiply-adds",
    ),
    "mobilenet_v1_shallow": Printed("Howard et al. 2017, Table 5", params="2.9 M", macs="307 M"),
    "mobilenet_v2": Printed(
        "Sandler et al. 2018, Table 4",
        params="3.4 M",
        macs="300 M",
        note="the released network has 1001 classes less a bias: 3.47 M in TF-slim",
    ),
    "mobilenet_v2_1.4": Printed(
        "Sandler et al. 2018, Table 4",
        params="6.9 M",
        macs="585 M",
        note="no released code has 6.9 M; TF-slim says 6.06 M and 582 M",
    ),
    "mobilenet_v3_large": Printed(
        "Howard et al. 2019, Table 3", params="5.4 M", macs="219 M", note="the paper rounds otherwise"
    ),
    "mobilenet_v3_small": Printed("Howard et al. 2019, Table 3", params="2.5 M", macs="56 M", note="56.5 M"),
    "efficientnet_b0": Printed("Tan and Le 2019, Table 2", params="5.3 M", macs="0.39 G"),
    "efficientnet_b1": Printed(
        "Tan and Le 2019, Table 2", params="7.8 M", macs="0.70 G", note="the paper rounds to two digits"
    ),
    "efficientnet_b2": Printed(
        "Tan and Le 2019, Table 2", params="9.2 M", macs="1.0 G", note="9.11 M in the released code"
    ),
    "efficientnet_b3": Printed("Tan and Le 2019, Table 2", params="12 M", macs="1.8 G"),
    "efficientnet_b4": Printed(
        "Tan and Le 2019, Table 2", params="19 M", macs="4.2 G", note="4 % more in the released code"
    ),
    "efficientnet_b5": Printed(
        "Tan and Le 2019, Table 2", params="30 M", macs="9.9 G", note="4 % more in the released code"
    ),
    "efficientnet_b6": Printed("Tan and Le 2019, Table 2", params="43 M", macs="19 G"),
    "efficientnet_b7": Printed(
        "Tan and Le 2019, Table 2", params="66 M", macs="37 G", note="2 % more in the released code"
    ),
    "shufflenet_v1_g1": Printed("Zhang et al. 2018, Table 2", macs="143 M"),
    "shufflenet_v1_g2": Printed("Zhang et al. 2018, Table 2", macs="140 M", note="within 1 %"),
    "shufflenet_v1_g3": Printed("Zhang et al. 2018, Table 2", macs="137 M"),
    "shufflenet_v1_g4": Printed("Zhang et al. 2018, Table 2", macs="133 M", note="within 1.1 %"),
    "shufflenet_v1_g8": Printed("Zhang et al. 2018, Table 2", macs="137 M", note="within 1 %"),
    "shufflenet_v2_0.5_official": Printed("Ma et al. 2018, Table 8", params="1.4 M", macs="41 M", note="40.5 M"),
    "shufflenet_v2_1.0_official": Printed("Ma et al. 2018, Table 8", params="2.3 M", macs="146 M"),
    "shufflenet_v2_1.5_official": Printed("Ma et al. 2018, Table 8", params="3.5 M", macs="299 M"),
    "shufflenet_v2_2.0_official": Printed("Ma et al. 2018, Table 8", params="7.4 M", macs="591 M"),
    "deeplab_v3plus_xception65": Printed(
        "DeepLab model zoo", macs="54.17 G", note="0.25 % fewer: that count holds more operations"
    ),
    "darknet19": Printed(
        "Redmon and Farhadi 2017, 5.58 Bn operations", macs="2.79 G", note="an operation is half a multiply-add"
    ),
    "quicknet": Printed(
        "Ghosh 2017b", params="3.56 M", note="3,564,741 with the running statistics: a hypothesis, see its file"
    ),
}
