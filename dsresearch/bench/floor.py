"""The least that a step must move and compute, in closed form from the shapes (benchmarks/README.md explains it)."""

from typing import NamedTuple

from dsresearch import cost
from dsresearch.bench.cases import Case
from dsresearch.bench.layers import Between, blocks, flat

ITEM = {"float32": 4, "bfloat16": 2}
OPTIMISER_BYTES = 24  # a parameter a step: weight, momentum and gradient in float32, each read and written


class Floor(NamedTuple):
    """Bytes and floating-point operations of one picture."""

    bytes: float
    flops: float

    def images_per_s(self, bandwidth: float, flops_per_s: float) -> float:
        """The ceiling at so many bytes/s and FLOP/s: the nearer of the two limits."""
        return min(bandwidth / self.bytes, flops_per_s / self.flops)


def floor(case: Case) -> Floor:
    """The floor of a training picture, or of a picture forward where the case is one of inference."""
    design = case.design
    whole = cost.stack(design, image=(case.image, case.image), channels=case.channels, classes=case.classes)
    picture = case.image**2 * case.channels  # bytes: uint8
    if case.mode == "inference":  # nothing need be written between pictures and logits
        return Floor(picture, 2 * whole.macs)
    stem = cost.conv(3, case.channels, design.width, case.image**2).macs
    moved = ITEM[case.dtype] * elements(case) + 2 * picture + OPTIMISER_BYTES * whole.params / case.batch
    return Floor(moved, 6 * whole.macs - 2 * stem)  # the stem needs no gradient of the pictures


def elements(case: Case) -> int:
    """Numbers of activations read or written for one picture of a training step.

    BatchNorm needs the whole batch's statistics, so the tensor in front of it is written before it is read. Everything
    from one such tensor x to the next z can be fused: forward reads x and writes z; backward reads dz, z and x, and
    writes dx. Each tensor counts three times as z and three times as x, the last one but once as x: the gradient of
    global pooling is a constant a picture, so that forward and BatchNorm's backward sums read it, and dz is not stored.
    """
    design = case.design
    total = 6 * case.image**2 * design.width  # behind the stem
    last = 0
    for block in blocks(design, case.image):
        inner = [layer.channels for layer in flat(block.layers) if isinstance(layer, Between) and layer.normalise]
        last = block.pixels * block.outputs
        total += 6 * (block.pixels * sum(inner) + last)
        if block.residual and inner:  # the identity is read and its gradient added beside the inner tensors
            total += 2 * block.pixels * block.inputs
    return total - 2 * last


def macs(case: Case) -> int:
    """Multiply-adds of a picture forward."""
    return cost.stack(case.design, image=(case.image, case.image), channels=case.channels, classes=case.classes).macs
