"""The two loops of a convolution, for one picture, as its shape has them: directly, or by minimal filtering."""

from dsresearch.operators.native import kernels
from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import Plane, Shape
from dsresearch.operators.native.rooms import Scratch
from dsresearch.operators.native.winograd import Tiles


class Loops:
    """In vectors of `most` lanes at most; what they work in is taken from the scratch."""

    def __init__(self, code: Code, most: int, scratch: Scratch) -> None:
        self.code, self.most, self.scratch = code, most, scratch

    def correlate(self, shape: Shape, source: Plane, kernel: Value, target: Plane) -> None:
        """What the convolution makes of `source`, with its padding."""
        if shape.winograd:
            Tiles(self.code, shape, self.most, self.scratch).correlate(source, kernel, target)
        else:
            kernels.correlate(self.code, shape, self.most, source, kernel, target)

    def add_kernel_gradient(self, shape: Shape, source: Plane, behind: Plane, gradient: Value) -> None:
        """Its kernel's gradient, added to what is there, from what it reads and the gradient `behind`."""
        if shape.winograd:
            Tiles(self.code, shape, self.most, self.scratch).add_kernel_gradient(source, behind, gradient)
        else:
            kernels.add_kernel_gradient(self.code, shape, self.most, source, behind, gradient)
