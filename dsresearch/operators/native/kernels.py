"""The two loops of a spatial convolution with stride 1: the correlation, and the gradient of its kernel.

Pictures are [N, H, W, C] and kernels [k, k, C / G, M], so that a vector holds neighbouring outputs of one pixel. Where
a group's outputs fill vectors, an input is the same number in all lanes; where several groups share a vector, the
inputs of these groups are as many neighbouring numbers, and each lane picks its group's.

Every number is a sum in one order (rows, columns and inputs of the kernel; or pixels of a picture, then pictures)
whatever the processor's vectors hold, each product added with one rounding.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from dsresearch.operators.native.code import Code, Value

# What is held in registers at a time: 32 of 16 numbers with AVX-512, 16 of 8 with AVX2, which halves a longer vector.
PIXELS = 8  # of a strip of the correlation
SUMS = 24  # vectors of a kernel's gradient
INPUTS = 8  # that lanes pick from one vector before the next are picked


@dataclass(frozen=True)
class Shape:
    """A convolution: how many pictures, the sides of its result, its padding and kernel, and a group's channels."""

    pictures: int
    height: int
    width: int
    pads: tuple[tuple[int, int], tuple[int, int]]
    kernel: tuple[int, int]
    groups: int
    inputs: int
    outputs: int

    @property
    def channels(self) -> int:
        """Inputs of all groups."""
        return self.groups * self.inputs

    @property
    def filters(self) -> int:
        """Outputs of all groups."""
        return self.groups * self.outputs

    @property
    def read(self) -> tuple[int, int]:
        """Sides of the pictures with their padding."""
        return self.height + self.kernel[0] - 1, self.width + self.kernel[1] - 1

    @property
    def stored(self) -> tuple[int, int]:
        """Sides of the pictures without it."""
        (top, bottom), (left, right) = self.pads
        return self.read[0] - top - bottom, self.read[1] - left - right

    @property
    def scratch(self) -> int:
        """Numbers of one padded picture; 0 where nothing is padded."""
        return self.read[0] * self.read[1] * self.channels if self.read != self.stored else 0


def lanes_of(shape: Shape, most: int) -> int:
    """Outputs of a vector, at most so many; 0 where none lies within a group or holds whole ones.

    A group's last vector may repeat outputs of the one before. A processor does two vectors of 8 in the time of one of
    16, and none of 4 faster than one of 8; within a group is the faster unless the groups are shorter than that.
    """
    allowed = [lanes for lanes in (16, 8, 4) if lanes <= most]
    within = [lanes for lanes in allowed if lanes <= shape.outputs]
    square = shape.inputs == shape.outputs
    across = [lanes for lanes in allowed if square and lanes % shape.outputs == 0 and lanes <= shape.filters]
    fitting = across if across and shape.outputs < 8 else within
    size = shape.filters if fitting is across else shape.outputs
    return min(fitting, key=lambda lanes: (-(-size // lanes) * max(lanes, 8), -lanes), default=0)


class _Walk:
    """What both kernels share: the padded picture, and the inputs of a vector of outputs."""

    def __init__(self, code: Code, shape: Shape, lanes: int) -> None:
        self.code, self.shape, self.lanes = code, shape, lanes
        self.shared = lanes > shape.outputs  # a vector holds several groups

    def picture(self, x: Value, scratch: Value, n: Value) -> tuple[Value, Value]:
        """Array and offset of picture n with its padding, which is zeros in the scratch from the beginning."""
        code, shape = self.code, self.shape
        (rows, columns), row = shape.stored, shape.read[1] * shape.channels
        size = columns * shape.channels
        first = code.times(n, rows * size)
        if not shape.scratch:
            return x, first
        inside = shape.pads[0][0] * row + shape.pads[1][0] * shape.channels

        def one(i: Value, _: list[Value]) -> list[Value]:
            code.copy(x, code.sum(first, code.times(i, size)), scratch, code.sum(code.times(i, row), inside), size)
            return []

        code.loop(rows, one)
        return scratch, code.at(0)

    def vectors(self, side: int, one: Callable[[Value, Value, int], None]) -> None:
        """`one(output, input, repeated)` for all outputs, `side` vectors at a time.

        Where the first of their outputs and of their inputs is; and how many of these outputs, at the ragged end of a
        group, the vector before has had.
        """
        code, shape = self.code, self.shape
        groups, outputs = (1, shape.filters) if self.shared else (shape.groups, shape.outputs)

        def over_groups(g: Value, _: list[Value]) -> list[Value]:
            def some(first: Value, count: int) -> None:
                repeated = side * self.lanes - count
                output = code.sum(code.times(g, outputs), first, -repeated)
                one(output, output if self.shared else code.times(g, shape.inputs), repeated)

            self.strips(outputs, side * self.lanes, some)
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

    def strips(self, total: int, most: int, one: Callable[[Value, int], None]) -> None:
        """`one(first, count)` for a range in strips of `most` and what is left of it."""
        code = self.code

        def full(i: Value, _: list[Value]) -> list[Value]:
            one(code.times(i, most), most)
            return []

        code.loop(total // most, full)
        if total % most:
            one(code.at(total - total % most), total % most)

    def chunks(self, most: int, one: Callable[[Value, int], None]) -> None:
        """`one(first, count)` for the inputs of a group; which lanes are picked must be known here, so no loop then."""
        if not self.shared:
            self.strips(self.shape.inputs, most, one)
            return
        for first, count in _chunks(self.shape.inputs, most):
            one(first, count)


def _chunks(total: int, most: int) -> list[tuple[int, int]]:
    """(first, count) of a range in chunks."""
    return [(first, min(most, total - first)) for first in range(0, total, most)]


def correlation(name: str, shape: Shape, lanes: int) -> str:
    """LLVM code of `name(x, kernel, y, scratch)`: y[p, m] = sum over taps t, inputs c of x[p + t, c] kernel[t, c, m].

    A strip of neighbouring pixels and one or two vectors of outputs are in registers at a time.
    """
    code = Code(name, 4)
    x, kernel, y, scratch = code.arrays
    walk = _Walk(code, shape, lanes)
    (k_rows, k_columns), channels, filters = shape.kernel, shape.channels, shape.filters
    row = shape.read[1] * channels
    side = 2 if shape.outputs % (2 * lanes) == 0 else 1  # vectors side by side

    def strip(source: Value, start: Value, target: Value, out: Value, count: int) -> None:
        """Outputs from `out` on of `count` pixels; `start` is the offset of what the first reads, `target` its own."""

        def tap(i: Value, j: Value, first: Value, inputs: int, sums: list[Value]) -> list[Value]:
            offset = code.sum(start, code.times(i, row), code.times(j, channels))
            element = code.sum(code.times(code.sum(code.times(i, k_columns), j), shape.inputs), first)
            read = [walk.inputs(source, code.sum(offset, p * channels), first, inputs) for p in range(count)]
            sums = list(sums)
            for c, v in itertools.product(range(inputs), range(side)):
                weights = code.load(kernel, code.sum(code.times(code.sum(element, c), filters), out, v * lanes), lanes)
                for p in range(count):
                    sums[p * side + v] = code.multiply_add(read[p][c], weights, sums[p * side + v])
            return sums

        def over_row(i: Value, sums: list[Value]) -> list[Value]:
            if walk.shared:
                for j, (first, inputs) in itertools.product(range(k_columns), _chunks(shape.inputs, INPUTS)):
                    sums = tap(i, j, first, inputs, sums)
                return sums

            def over_columns(j: Value, sums: list[Value]) -> list[Value]:
                return code.loop(shape.inputs, lambda c, sums: tap(i, j, c, 1, sums), sums)

            return code.loop(k_columns, over_columns, sums)

        sums = code.loop(k_rows, over_row, [code.zeros(lanes)] * (count * side))
        for p, v in itertools.product(range(count), range(side)):
            code.store(sums[p * side + v], y, code.sum(target, p * filters + v * lanes, out))

    def over_pictures(n: Value, _: list[Value]) -> list[Value]:
        source, origin = walk.picture(x, scratch, n)

        def over_vectors(out: Value, entry: Value, _: int) -> None:
            def over_rows(h: Value, _: list[Value]) -> list[Value]:
                start = code.sum(origin, entry, code.times(h, row))
                target = code.times(code.sum(code.times(n, shape.height), h), shape.width * filters)

                def from_pixel(w: Value, count: int) -> None:
                    here, there = code.times(w, channels), code.times(w, filters)
                    strip(source, code.sum(start, here), code.sum(target, there), out, count)

                walk.strips(shape.width, PIXELS, from_pixel)
                return []

            code.loop(shape.height, over_rows)

        walk.vectors(side, over_vectors)
        return []

    code.clear(scratch, shape.scratch)
    code.loop(shape.pictures, over_pictures)
    return code.text()


def kernel_gradient(name: str, shape: Shape, lanes: int) -> str:
    """LLVM code of `name(x, dy, gradient, scratch)`: gradient[t, c, m] = sum over pixels p of x[p + t, c] dy[p, m].

    As many of these sums as registers hold are taken over the pixels of one picture, and then added to the gradient.
    """
    code = Code(name, 4)
    x, dy, gradient, scratch = code.arrays
    walk = _Walk(code, shape, lanes)
    (k_rows, k_columns), channels, filters = shape.kernel, shape.channels, shape.filters
    row = shape.read[1] * channels

    def some(
        i: Value, first: Value, count: int, source: Value, entry: Value, behind: Value, out: Value, repeated: int
    ) -> None:
        """Row i of the kernel and `count` inputs: `entry` and `behind` are the offsets of a picture's x and dy."""

        def over_rows(h: Value, sums: list[Value]) -> list[Value]:
            start = code.sum(entry, code.times(code.sum(h, i), row))
            below = code.sum(behind, code.times(h, shape.width * filters))

            def over_pixels(w: Value, sums: list[Value]) -> list[Value]:
                dy_here = code.load(dy, code.sum(below, code.times(w, filters)), lanes)
                offsets = [code.sum(start, code.times(code.sum(w, j), channels)) for j in range(k_columns)]
                read = [value for offset in offsets for value in walk.inputs(source, offset, first, count)]
                return [code.multiply_add(value, dy_here, total) for value, total in zip(read, sums, strict=True)]

            return code.loop(shape.width, over_pixels, sums)

        sums = code.loop(shape.height, over_rows, [code.zeros(lanes)] * (k_columns * count))
        for number, (j, c) in enumerate(itertools.product(range(k_columns), range(count))):
            element = code.sum(code.times(code.sum(code.times(i, k_columns), j), shape.inputs), first, c)
            at = code.sum(code.times(element, filters), out)
            fresh = code.without(sums[number], repeated)
            code.store(code.add(code.load(gradient, at, lanes), fresh), gradient, at)

    def over_pictures(n: Value, _: list[Value]) -> list[Value]:
        source, origin = walk.picture(x, scratch, n)
        above = code.times(n, shape.height * shape.width * filters)

        def over_vectors(out: Value, entry: Value, repeated: int) -> None:
            def over_taps(i: Value, _: list[Value]) -> list[Value]:
                def chunk(first: Value, count: int) -> None:
                    some(i, first, count, source, code.sum(origin, entry), code.sum(above, out), out, repeated)

                walk.chunks(max(1, SUMS // k_columns), chunk)
                return []

            code.loop(k_rows, over_taps)

        walk.vectors(1, over_vectors)
        return []

    code.clear(gradient, k_rows * k_columns * shape.inputs * filters)
    code.clear(scratch, shape.scratch)
    code.loop(shape.pictures, over_pictures)
    return code.text()
