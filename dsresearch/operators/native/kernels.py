"""The two loops of a spatial convolution with stride 1, for one picture: the correlation, and the kernel's gradient.

Pictures are [H, W, C] and kernels [k, k, C / G, M], so that a vector holds neighbouring outputs of one pixel. Where a
group's outputs fill vectors, an input is the same number in all lanes; where several groups share a vector, the inputs
of these groups are as many neighbouring numbers, and each lane picks its group's.

Every number is a sum in one order (rows, columns and inputs of the kernel; or pixels of the picture) whatever the
processor's vectors hold, each product added with one rounding.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dsresearch.operators.native.code import Code, Value

LANES = (16, 8, 4)  # of a vector, where a processor has as many

# What is held in registers at a time: 32 of 16 numbers with AVX-512, 16 of 8 with AVX2, which halves a longer vector.
PIXELS = 8  # of a strip of the correlation
SUMS = 24  # vectors of a kernel's gradient
INPUTS = 8  # that lanes pick from one vector before the next are picked


@dataclass(frozen=True)
class Shape:
    """Of a convolution: its result's sides, its padding and kernel, a group's channels, and whether ReLU follows.

    `winograd` says that its kernel is read, and its gradient given, as that of its tiles (`winograd`).
    """

    height: int
    width: int
    pads: tuple[tuple[int, int], tuple[int, int]]
    kernel: tuple[int, int]
    groups: int
    inputs: int
    outputs: int
    relu: bool = False
    winograd: bool = False

    @property
    def channels(self) -> int:
        """Inputs of all groups."""
        return self.groups * self.inputs

    @property
    def filters(self) -> int:
        """Outputs of all groups."""
        return self.groups * self.outputs

    @property
    def made(self) -> tuple[int, int]:
        """Sides of its result."""
        return self.height, self.width

    @property
    def read(self) -> tuple[int, int]:
        """Sides of the picture with its padding."""
        return self.height + self.kernel[0] - 1, self.width + self.kernel[1] - 1

    @property
    def stored(self) -> tuple[int, int]:
        """Sides of the picture without it."""
        (top, bottom), (left, right) = self.pads
        return self.read[0] - top - bottom, self.read[1] - left - right

    @property
    def padded(self) -> bool:
        """Whether it reads more than there is."""
        return self.read != self.stored

    @property
    def weights(self) -> tuple[int, int, int, int]:
        """Shape of its kernel as it is read, [k, k, C / G, M]."""
        sides = (4, 4) if self.winograd else self.kernel
        return *sides, self.inputs, self.filters

    def transposed(self) -> "Shape":
        """The one that carries a gradient at the result back to the picture, by the kernel turned round."""
        pads = tuple((k - 1 - before, k - 1 - after) for k, (before, after) in zip(self.kernel, self.pads, strict=True))
        channels = self.groups, self.outputs, self.inputs
        return Shape(*self.stored, pads, self.kernel, *channels, winograd=self.winograd)  # type: ignore[arg-type]


class Plane(NamedTuple):
    """Where a picture lies: an array, the offset of its first number, and how far from one another are its pixels,
    its rows, and the next picture. Its channels may be some of those of a wider picture."""

    array: Value
    offset: Value
    pixel: int
    row: int
    following: int = 0  # where there is none


def lanes_of(shape: Shape, most: int) -> int:
    """Outputs of a vector, at most so many; 0 where none lies within a group or holds whole ones.

    A group's last vector may repeat outputs of the one before. A processor does two vectors of 8 in the time of one of
    16, and none of 4 faster than one of 8; within a group is the faster unless the groups are shorter than that.
    """
    allowed = [lanes for lanes in LANES if lanes <= most]
    within = [lanes for lanes in allowed if lanes <= shape.outputs]
    square = shape.inputs == shape.outputs
    across = [lanes for lanes in allowed if square and lanes % shape.outputs == 0 and lanes <= shape.filters]
    fitting = across if across and shape.outputs < 8 else within
    size = shape.filters if fitting is across else shape.outputs
    return min(fitting, key=lambda lanes: (-(-size // lanes) * max(lanes, 8), -lanes), default=0)


class _Walk:
    """What both loops share: vectors of outputs, and the inputs that they read."""

    def __init__(self, code: Code, shape: Shape, most: int) -> None:
        self.code, self.shape, self.lanes = code, shape, max(1, lanes_of(shape, most))
        self.shared = self.lanes > shape.outputs  # a vector holds several groups
        self.side = 2 if shape.outputs % (2 * self.lanes) == 0 else 1  # vectors that are taken side by side

    def lines(self, source: Plane, target: Plane) -> tuple[int, int]:
        """Rows and pixels of a row, of source and target: all in one row where that is the same."""
        shape = self.shape
        gapless = all(plane.row == shape.width * plane.pixel for plane in (source, target))
        return (1, shape.height * shape.width) if gapless and shape.kernel == (1, 1) else (shape.height, shape.width)

    def vectors(self, one: Callable[[Value, Value, int], None]) -> None:
        """`one(output, input, repeated)` for all outputs, `side` vectors at a time.

        Where the first of their outputs and of their inputs is; and how many of these outputs, at the ragged end of a
        group, the vector before has had.
        """
        code, shape = self.code, self.shape
        groups, outputs = (1, shape.filters) if self.shared else (shape.groups, shape.outputs)

        def over_groups(g: Value, _: list[Value]) -> list[Value]:
            def some(first: Value, repeated: int) -> None:
                output = code.sum(code.times(g, outputs), first)
                one(output, output if self.shared else code.times(g, shape.inputs), repeated)

            vectors(code, outputs, self.side * self.lanes, some)
            return []

        code.loop(groups, over_groups)

    def inputs(self, x: Value, offset: Value, first: Value, count: int) -> list[Value]:
        """Inputs first ... first + count of a group, each a vector: that of every lane's group."""
        code, size = self.code, self.shape.outputs
        if not self.shared:
            return [code.everywhere(x, code.sum(offset, first, c), self.lanes) for c in range(count)]
        together = code.load(x, offset, self.lanes)
        if size == 1:
            return [together]
        starts = [lane // size * size + first for lane in range(self.lanes)]
        return [code.pick(together, [start + c for start in starts]) for c in range(count)]

    def strip(self, source: Plane, start: Value, kernel: Value, out: Value, count: int) -> list[Value]:
        """`side` vectors of outputs from `out` on, of each of `count` pixels: sums over taps and inputs.

        `start` is the offset of what the first pixel reads.
        """
        code, shape, side, (k_rows, k_columns) = self.code, self.shape, self.side, self.shape.kernel

        def tap(i: Value, j: Value, first: Value, inputs: int, sums: list[Value]) -> list[Value]:
            offset = code.sum(start, code.times(i, source.row), code.times(j, source.pixel))
            element = code.sum(code.times(code.sum(code.times(i, k_columns), j), shape.inputs), first)
            read = [self.inputs(source.array, code.sum(offset, p * source.pixel), first, inputs) for p in range(count)]
            sums = list(sums)
            for c, v in itertools.product(range(inputs), range(side)):
                row = code.times(code.sum(element, c), shape.filters)
                weights = code.load(kernel, code.sum(row, out, v * self.lanes), self.lanes)
                for p in range(count):
                    sums[p * side + v] = code.multiply_add(read[p][c], weights, sums[p * side + v])
            return sums

        def over_row(i: Value, sums: list[Value]) -> list[Value]:
            if self.shared:
                for j, (first, inputs) in itertools.product(range(k_columns), _chunks(shape.inputs, INPUTS)):
                    sums = tap(i, j, first, inputs, sums)
                return sums

            def over_columns(j: Value, sums: list[Value]) -> list[Value]:
                return code.loop(shape.inputs, lambda c, sums: tap(i, j, c, 1, sums), sums)

            return code.loop(k_columns, over_columns, sums)

        return code.loop(k_rows, over_row, [code.zeros(self.lanes)] * (count * side))

    def chunks(self, most: int, one: Callable[[Value, int], None]) -> None:
        """`one(first, count)` for the inputs of a group; which lanes are picked must be known here, so no loop then."""
        if not self.shared:
            strips(self.code, self.shape.inputs, most, one)
            return
        for first, count in _chunks(self.shape.inputs, most):
            one(first, count)


def strips(code: Code, total: int, most: int, one: Callable[[Value, int], None]) -> None:
    """`one(first, count)` for a range in strips of `most` and what is left of it."""

    def full(i: Value, _: list[Value]) -> list[Value]:
        one(code.times(i, most), most)
        return []

    code.loop(total // most, full)
    if total % most:
        one(code.at(total - total % most), total % most)


def vectors(code: Code, total: int, lanes: int, one: Callable[[Value, int], None]) -> None:
    """`one(first, repeated)` for a range in vectors, the last of which may begin with numbers of the one before."""

    def some(first: Value, count: int) -> None:
        one(code.sum(first, count - lanes), lanes - count)

    strips(code, total, lanes, some)


def _chunks(total: int, most: int) -> list[tuple[int, int]]:
    """(first, count) of a range in chunks."""
    return [(first, min(most, total - first)) for first in range(0, total, most)]


def correlate(code: Code, shape: Shape, most: int, source: Plane, kernel: Value, target: Plane) -> None:
    """y[p, m] = sum over taps t, inputs c of x[p + t, c] kernel[t, c, m], for x with its padding.

    A strip of neighbouring pixels and one or two vectors of outputs, of `most` lanes at most, are in registers at a
    time.
    """
    walk = _Walk(code, shape, most)
    lanes, side, (rows, width) = walk.lanes, walk.side, walk.lines(source, target)

    def over_vectors(out: Value, entry: Value, _: int) -> None:
        def over_rows(h: Value, _: list[Value]) -> list[Value]:
            start = code.sum(source.offset, entry, code.times(h, source.row))
            to = code.sum(target.offset, code.times(h, target.row))

            def from_pixel(w: Value, count: int) -> None:
                first = code.sum(start, code.times(w, source.pixel))
                mine = code.sum(to, code.times(w, target.pixel))
                sums = walk.strip(source, first, kernel, out, count)
                for p, v in itertools.product(range(count), range(side)):
                    code.store(sums[p * side + v], target.array, code.sum(mine, p * target.pixel + v * lanes, out))

            strips(code, width, PIXELS, from_pixel)
            return []

        code.loop(rows, over_rows)

    walk.vectors(over_vectors)


def add_kernel_gradient(code: Code, shape: Shape, most: int, source: Plane, behind: Plane, gradient: Value) -> None:
    """gradient[t, c, m] += sum over pixels p of x[p + t, c] dy[p, m], for x with its padding and dy `behind`.

    As many of these sums as registers hold are taken over the pixels, and then added to the gradient.
    """
    walk = _Walk(code, shape, most)
    lanes, (k_rows, k_columns), filters = walk.lanes, shape.kernel, shape.filters
    rows, width = walk.lines(source, behind)
    side = walk.side

    def some(i: Value, taps: int, first: Value, count: int, entry: Value, out: Value, repeated: int) -> None:
        """`taps` rows of the kernel from i, `count` inputs from `first` of the group at `entry`, some outputs."""
        window = list(itertools.product(range(taps), range(k_columns)))

        def over_rows(h: Value, sums: list[Value]) -> list[Value]:
            start = code.sum(source.offset, entry, code.times(code.sum(h, i), source.row))
            below = code.sum(behind.offset, out, code.times(h, behind.row))

            def over_pixels(w: Value, sums: list[Value]) -> list[Value]:
                here = code.sum(below, code.times(w, behind.pixel))
                dy = [code.load(behind.array, code.sum(here, v * lanes), lanes) for v in range(side)]
                offsets = [code.sum(start, t * source.row, code.times(code.sum(w, j), source.pixel)) for t, j in window]
                read = [value for offset in offsets for value in walk.inputs(source.array, offset, first, count)]
                pairs = itertools.product(read, dy)
                return [code.multiply_add(x, dy, total) for (x, dy), total in zip(pairs, sums, strict=True)]

            return code.loop(width, over_pixels, sums)

        sums = code.loop(rows, over_rows, [code.zeros(lanes)] * (len(window) * count * side))
        for number, ((t, j), c, v) in enumerate(itertools.product(window, range(count), range(side))):
            element = code.sum(code.times(code.sum(code.times(code.sum(i, t), k_columns), j), shape.inputs), first, c)
            at = code.sum(code.times(element, filters), out, v * lanes)
            code.add_to(gradient, at, code.without(sums[number], repeated))

    inputs = min(shape.inputs, max(1, SUMS // (k_columns * side)))

    def over_vectors(out: Value, entry: Value, repeated: int) -> None:
        def over_taps(i: Value, taps: int) -> None:
            walk.chunks(inputs, lambda first, count: some(i, taps, first, count, entry, out, repeated))

        strips(code, k_rows, max(1, SUMS // (k_columns * inputs * side)), over_taps)

    walk.vectors(over_vectors)
