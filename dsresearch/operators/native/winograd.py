"""The two loops of a 3x3 convolution by minimal filtering F(2x2, 3x3), for one picture, as code.

Four results take 16 products a channel and filter in place of 36 (Winograd 1980; Lavin and Gray 2016, section 4.1): a
tile d of 4 x 4 pixels and a kernel g give the 2 x 2 results A^T [(G g G^T) * (B^T d B)] A, and channels can be summed
before A is applied. So a picture becomes 16 pictures of one pixel a tile, the convolution as many pointwise products,
and the kernel is read as G g G^T, its `spectrum` [4, 4, C / G, M]. Its gradient comes in that form, too.

    B^T = 1  0 -1  0     G =  1    0    0      A^T = 1  1  1  0
          0  1  1  0         1/2  1/2  1/2           0  1 -1  1
          0 -1  1  0         1/2 -1/2  1/2
          0 -1  0  1          0    0    1

(The signs of B's last row and A's last column are both turned, so that A d takes no negation.) They add and halve, so
that small whole numbers stay exact; the order of every sum is the same whatever the processor's vectors hold.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch.operators.apart import apart
from dsresearch.operators.geometry import exchanged
from dsresearch.operators.native import kernels
from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import LANES, Plane, Shape, strips, vectors
from dsresearch.operators.native.rooms import Scratch

Array = jax.Array
Values = list[Value]
Matrix = list[Values]  # by rows

POSITIONS = 16  # of a tile
TILES = 16  # about as many at a time: more do not stay in the core's fastest cache
CHANNELS = 8  # a group's inputs and outputs from which saved products are worth the tiles' additions (benchmarks)


def saves(shape: Shape) -> bool:
    """Whether a convolution is faster so: a 3x3 of enough channels, with whole tiles in its result and its picture."""
    whole = all(side % 2 == 0 for side in (*shape.made, *shape.stored))
    return shape.kernel == (3, 3) and whole and min(shape.inputs, shape.outputs) >= CHANNELS


def spectrum(kernel: Array) -> Array:
    """G g G^T of a kernel [3, 3, C / G, M]: [4, 4, C / G, M]."""
    return apart(_by_g(_by_g(kernel).swapaxes(0, 1)).swapaxes(0, 1))


def _by_g(g: Array) -> Array:
    """G times what lies along the first axis."""
    ends, middle = (g[0] + g[2]) / 2, g[1] / 2
    return jnp.stack([g[0], ends + middle, ends - middle, g[2]])


def turned_spectrum(read: Array, groups: int) -> Array:
    """That of the transposed convolution's kernel, from a kernel's: turned round, G g has its ends exchanged."""
    turned = np.array([3, 1, 2, 0])
    return exchanged(read[turned][:, turned], groups)


class Tiles:
    """Room for the tiles of what a convolution reads and gives, and the loops over them."""

    def __init__(self, code: Code, shape: Shape, most: int, scratch: Scratch) -> None:
        self.code, self.shape, self.most = code, shape, most
        self.rows, self.columns = shape.height // 2, shape.width // 2
        self.together = max(1, min(self.rows, TILES // self.columns))  # rows
        self.read, self.made = self._rooms(scratch)

    def _rooms(self, scratch: Scratch) -> list[Plane]:
        """A pixel a tile, a row a position, and a line of the cache between rows, so that not all fall on one place."""
        tiles, channels = self.together * self.columns, (self.shape.channels, self.shape.filters)
        rows = [tiles * count + 16 for count in channels]
        array, start = scratch.briefly(POSITIONS * sum(rows))
        starts = (start, start + POSITIONS * rows[0])
        return [Plane(array, self.code.at(at), *words) for at, *words in zip(starts, channels, rows, strict=True)]

    def correlate(self, source: Plane, kernel: Value, target: Plane) -> None:
        """`kernels.correlate`, of a kernel's spectrum."""

        def product(form: Shape, read: Plane, made: Plane, weights: Value) -> None:
            kernels.correlate(self.code, form, self.most, read, weights, made)

        def some(first: Value, rows: int) -> None:
            self._enter(source, 4, self._by_b, self.read, first, rows)
            self._products(rows, kernel, product)
            self._leave(target, first, rows)

        strips(self.code, self.rows, self.together, some)

    def add_kernel_gradient(self, source: Plane, behind: Plane, gradient: Value) -> None:
        """`kernels.add_kernel_gradient`, of the gradient at a kernel's spectrum."""

        def product(form: Shape, read: Plane, made: Plane, weights: Value) -> None:
            kernels.add_kernel_gradient(self.code, form, self.most, read, made, weights)

        def some(first: Value, rows: int) -> None:
            self._enter(source, 4, self._by_b, self.read, first, rows)
            self._enter(behind, 2, self._by_a, self.made, first, rows)
            self._products(rows, gradient, product)

        strips(self.code, self.rows, self.together, some)

    def _products(self, rows: int, kernel: Value, one: Callable[[Shape, Plane, Plane, Value], None]) -> None:
        """`one(form, read, made, weights)` of the pointwise product of so many rows' tiles, for each position."""
        code, shape, alone = self.code, self.shape, ((0, 0), (0, 0))
        form = Shape(1, rows * self.columns, alone, (1, 1), shape.groups, shape.inputs, shape.outputs)

        def position(p: Value, _: Values) -> Values:
            read, made = (
                room._replace(offset=code.sum(room.offset, code.times(p, room.row))) for room in (self.read, self.made)
            )
            one(form, read, made, code.pointer(kernel, code.times(p, shape.inputs * shape.filters)))
            return []

        code.loop(POSITIONS, position)

    def _enter(
        self, source: Plane, side: int, by: Callable[[Values], Values], room: Plane, first: Value, rows: int
    ) -> None:
        """M d M^T of the squares d of a picture, of so many pixels' side, that belong to the tiles of some rows."""
        code = self.code

        def tile(h: Value, w: Value, c: Value, lanes: int) -> None:
            corner = self._corner(source, code.sum(first, h), w, c)
            pixels = [[code.sum(corner, i * source.row + j * source.pixel) for j in range(side)] for i in range(side)]
            entered = _on_both_sides(by, [[code.load(source.array, at, lanes) for at in row] for row in pixels])
            for p, value in enumerate(itertools.chain.from_iterable(entered)):
                code.store(value, room.array, code.sum(self._tile(room, h, w, c), p * room.row))

        self._each(rows, room.pixel, tile)

    def _leave(self, target: Plane, first: Value, rows: int) -> None:
        """A^T m A of the tiles of some rows."""
        code, room = self.code, self.made

        def tile(h: Value, w: Value, c: Value, lanes: int) -> None:
            at, corner = self._tile(room, h, w, c), self._corner(target, code.sum(first, h), w, c)
            positions = [[code.sum(at, (4 * i + j) * room.row) for j in range(4)] for i in range(4)]
            made = [[code.load(room.array, at, lanes) for at in row] for row in positions]
            for i, row in enumerate(_on_both_sides(self._by_a_transposed, made)):
                for j, value in enumerate(row):
                    code.store(value, target.array, code.sum(corner, i * target.row + j * target.pixel))

        self._each(rows, room.pixel, tile)

    def _each(self, rows: int, channels: int, one: Callable[[Value, Value, Value, int], None]) -> None:
        """`one(row, column, first channel, lanes)` of all tiles of so many rows, in vectors of the channels."""
        code = self.code
        lanes = max((lanes for lanes in LANES if lanes <= min(self.most, channels)), default=1)

        def over_rows(h: Value, _: Values) -> Values:
            def over_columns(w: Value, _: Values) -> Values:
                vectors(code, channels, lanes, lambda c, _: one(h, w, c, lanes))
                return []

            return code.loop(self.columns, over_columns)

        code.loop(rows, over_rows)

    def _tile(self, room: Plane, h: Value, w: Value, c: Value) -> Value:
        """Offset of a tile's first position."""
        code = self.code
        return code.sum(room.offset, c, code.times(code.sum(code.times(h, self.columns), w), room.pixel))

    def _corner(self, plane: Plane, h: Value, w: Value, c: Value) -> Value:
        """Offset of a tile's first pixel."""
        code = self.code
        return code.sum(plane.offset, c, code.times(h, 2 * plane.row), code.times(w, 2 * plane.pixel))

    def _by_b(self, d: Values) -> Values:
        """B^T d."""
        add, less = self.code.add, self.code.subtract
        return [less(d[0], d[2]), add(d[1], d[2]), less(d[2], d[1]), less(d[3], d[1])]

    def _by_a(self, d: Values) -> Values:
        """A d."""
        return [d[0], self.code.add(d[0], d[1]), self.code.subtract(d[0], d[1]), d[1]]

    def _by_a_transposed(self, m: Values) -> Values:
        """A^T m."""
        add, less = self.code.add, self.code.subtract
        return [add(m[0], add(m[1], m[2])), add(less(m[1], m[2]), m[3])]


def _on_both_sides(by: Callable[[Values], Values], d: Matrix) -> Matrix:
    """M d M^T, where `by` gives M times a column."""
    columns = [by(list(column)) for column in zip(*d, strict=True)]
    return [by(list(row)) for row in zip(*columns, strict=True)]
