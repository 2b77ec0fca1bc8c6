"""Where pictures lie while a batch passes, one at a time: in the batch, and in an array of scratch to work in."""

from typing import NamedTuple

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import Plane, Shape


class Room(NamedTuple):
    """Where a picture lies that a convolution reads: with its padding, which is zeros, and without."""

    whole: Plane
    inside: Plane


class Scratch:
    """Room to work in: places for pictures, one after another in an array."""

    def __init__(self, code: Code, array: Value) -> None:
        self.code, self._array, self.size = code, array, 0
        self._brief = (0, 0)  # offset and size

    def room(self, link: Shape) -> Room:
        """For what a convolution reads."""
        (rows, columns), ((top, _), (left, _)) = link.read, link.pads
        row = columns * link.channels
        offset = self._take(rows * row)
        inside = offset + top * row + left * link.channels
        return Room(*(Plane(self._array, self.code.at(at), link.channels, row) for at in (offset, inside)))

    def plane(self, sides: tuple[int, int], channels: int) -> Plane:
        """For pictures without padding."""
        rows, columns = sides
        row = columns * channels
        return Plane(self._array, self.code.at(self._take(rows * row)), channels, row)

    def briefly(self, size: int) -> tuple[Value, int]:
        """The array, and where so many numbers of it are that whoever asks next may write over."""
        if size > self._brief[1]:
            self._brief = self._take(size), size
        return self._array, self._brief[0]

    def _take(self, size: int) -> int:
        """So many numbers of the array, from a cache line's first on."""
        offset, self.size = self.size, self.size + -(-size // 16) * 16
        return offset


def of_batch(code: Code, array: Value, n: Value, sides: tuple[int, int], channels: int) -> Plane:
    """Picture n of an array of such pictures."""
    row = sides[1] * channels
    return Plane(array, code.times(n, sides[0] * row), channels, row, sides[0] * row)
