"""What stands between convolutions, for one picture: BatchNorm's map with ReLU and pooling, and sums, forth and back.

Sums run over the pixels of a row one after another, and are then added to those of the rows and pictures before,
whatever the processor's vectors hold.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import LANES, Plane, vectors


class _Place(NamedTuple):
    """A vector of a picture: its pixel and its first channel, and `repeated` as in `kernels.vectors`."""

    row: Value
    column: Value
    channel: Value
    repeated: int


class Pixels:
    """Loops over the rows, columns and channels of a picture.

    A value is read from, or written to, the place of the same pixel in every plane; where a picture is `pooled`, the
    larger plane has four pixels for it.
    """

    def __init__(self, code: Code, sides: tuple[int, int], channels: int, most: int) -> None:
        self.code, (self.rows, self.columns), self.channels = code, sides, channels
        self.lanes = max((lanes for lanes in LANES if lanes <= min(most, channels)), default=1)

    def copy(self, source: Plane, target: Plane) -> None:
        """A picture from one plane to another."""
        code = self.code
        if (source.pixel, target.pixel) != (self.channels, self.channels):
            self._into(target, lambda value: value, source)
            return

        def row(h: Value, _: list[Value]) -> list[Value]:
            from_, to = (code.sum(plane.offset, code.times(h, plane.row)) for plane in (source, target))
            code.copy(source.array, from_, target.array, to, self.columns * self.channels)
            return []

        code.loop(self.rows, row)

    def scaled(self, source: Plane, factor: Plane, target: Plane) -> None:
        """The product of a picture and another one."""
        self._into(target, self.code.multiply, source, factor)

    def _into(self, target: Plane, value: Callable[..., Value], *sources: Plane) -> None:
        """`value` of what the sources hold in every place; none of them may overlap the target."""
        code = self.code

        def pixel(place: _Place) -> None:
            offsets = [(source, self._at(source, place)) for source in sources]
            for source, at in offsets:
                self._announce(source, at)
            read = [code.load(source.array, at, self.lanes) for source, at in offsets]
            code.store(value(*read), target.array, self._at(target, place))

        self._each(pixel)

    def add(self, target: Plane, other: Plane) -> None:
        """Add another picture to one."""
        code = self.code
        self._change(target, other, lambda value, more, repeated: code.add(value, code.without(more, repeated)))

    def relu(self, target: Plane) -> None:
        """The ReLU of a picture, in its place."""
        code, zero = self.code, self.code.zeros(self.lanes)
        self._change(target, target, lambda value, _, __: code.maximum(zero, value))

    def relu_back(self, target: Plane, result: Plane) -> None:
        """The gradient in front of a ReLU in the place of that behind it."""
        code, zero = self.code, self.code.zeros(self.lanes)
        self._change(target, result, lambda dy, y, _: code.where_above(y, zero, dy, zero))

    def _change(self, target: Plane, other: Plane, value: Callable[[Value, Value, int], Value]) -> None:
        """`value(target's, other's, repeated)` in every place of the target."""
        code = self.code

        def pixel(place: _Place) -> None:
            offsets = [(plane.array, self._at(plane, place)) for plane in (target, other)]
            mine, others = (code.load(array, at, self.lanes) for array, at in offsets)
            code.store(value(mine, others, place.repeated), *offsets[0])

        self._each(pixel)

    def map(self, source: Plane, gain: Value, shift: Value, target: Plane, pooled: bool) -> None:
        """relu(x * gain + shift), or its 2 x 2 maxima.

        Of four pixels the last one's NaN alone is kept, where `operators.max_pool` keeps any: that would take one more
        comparison a pixel. In training none is lost, because a NaN in the sums makes the whole channel's map one.
        """
        code, zero = self.code, self.code.zeros(self.lanes)

        def pixel(place: _Place, by: Value, plus: Value) -> None:
            largest = zero
            for at in self._window(source, place, pooled):
                self._announce(source, at)
                mapped = code.multiply_add(code.load(source.array, at, self.lanes), by, plus)
                largest = code.maximum(largest, mapped)
            code.store(largest, target.array, self._at(target, place))

        self._each(pixel, gain, shift)

    def add_mapped(self, source: Plane, gain: Value, shift: Value, target: Plane) -> None:
        """Add relu(x * gain + shift) to a picture."""
        code, zero = self.code, self.code.zeros(self.lanes)

        def pixel(place: _Place, by: Value, plus: Value) -> None:
            at = self._at(source, place)
            self._announce(source, at)
            mapped = code.maximum(zero, code.multiply_add(code.load(source.array, at, self.lanes), by, plus))
            code.add_to(target.array, self._at(target, place), code.without(mapped, place.repeated))

        self._each(pixel, gain, shift)

    def map_back(
        self,
        source: Plane,
        gain: Value,
        shift: Value,
        behind: Plane,
        target: Plane,
        sums: Sequence[Value],
        pooled: bool,
    ) -> None:
        """The gradient at x from that `behind` its map; those at gain and shift are added to the sums.

        Of equal maxima the first gets the gradient; where the map gives nothing above zero none does.
        """
        code, lanes, zero = self.code, self.lanes, self.code.zeros(self.lanes)

        def pixel(place: _Place, so_far: list[Value], by: Value, plus: Value) -> list[Value]:
            to_gain, to_shift = so_far
            dy = code.load(behind.array, self._at(behind, place), lanes)
            read = [code.load(source.array, at, lanes) for at in self._window(source, place, pooled)]
            mapped = [code.multiply_add(x, by, plus) for x in read]
            parts, offsets = _to_the_largest(code, dy, mapped), self._window(target, place, pooled)
            for x, value, part, at in zip(read, mapped, parts, offsets, strict=True):
                kept = code.where_above(value, zero, part, zero)
                code.store(code.multiply(kept, by), target.array, at)
                self._announce(target, at)
                to_gain, to_shift = code.multiply_add(kept, x, to_gain), code.add(to_shift, kept)
            return [to_gain, to_shift]

        self._sum(pixel, sums, gain, shift)

    def add_sums(self, y: Plane, total: Value, squares: Value) -> None:
        """Add the sums of the channels, and of their squares."""
        code = self.code

        def pixel(place: _Place, so_far: list[Value]) -> list[Value]:
            at = self._at(y, place)
            self._announce(y, at)
            value = code.load(y.array, at, self.lanes)
            return [code.add(so_far[0], value), code.multiply_add(value, value, so_far[1])]

        self._sum(pixel, (total, squares))

    def add_slopes(self, dy: Plane, y: Plane, added: Value, sloped: Value, target: Plane) -> None:
        """dy + added + sloped * y: what comes back through a result, and through the sums over it."""
        code, lanes = self.code, self.lanes

        def pixel(place: _Place, plus: Value, by: Value) -> None:
            at = self._at(dy, place)
            for plane in (dy, y):
                self._announce(plane, at)
            through = code.add(code.load(dy.array, at, lanes), plus)
            value = code.multiply_add(code.load(y.array, at, lanes), by, through)
            code.store(value, target.array, self._at(target, place))

        self._each(pixel, added, sloped)

    def _each(self, pixel: Callable[..., None], *of_channels: Value) -> None:
        """`pixel(place, *numbers)` in every place, with the channels' numbers of some arrays [C]."""

        def one(place: _Place, _: list[Value], *numbers: Value) -> list[Value]:
            pixel(place, *numbers)
            return []

        self._sum(one, (), *of_channels)

    def _sum(self, pixel: Callable[..., list[Value]], sums: Sequence[Value], *of_channels: Value) -> None:
        """`so_far = pixel(place, so_far, *numbers)` along each row, from zeros, which is then added to the sums."""
        code = self.code

        def some(h: Value, c: Value, repeated: int) -> None:
            numbers = [code.load(array, c, self.lanes) for array in of_channels]

            def step(w: Value, so_far: list[Value]) -> list[Value]:
                return pixel(_Place(h, w, c, repeated), so_far, *numbers)

            of_row = code.loop(self.columns, step, [code.zeros(self.lanes)] * len(sums))
            for total, value in zip(sums, of_row, strict=True):
                code.add_to(total, c, code.without(value, repeated))

        self._by_rows(some)

    def _by_rows(self, some: Callable[[Value, Value, int], None]) -> None:
        """`some(h, first channel, repeated)` for all vectors of all rows; `repeated` as in `kernels.vectors`."""

        def row(h: Value, _: list[Value]) -> list[Value]:
            vectors(self.code, self.channels, self.lanes, lambda first, repeated: some(h, first, repeated))
            return []

        self.code.loop(self.rows, row)

    def _at(self, plane: Plane, place: _Place) -> Value:
        """Offset of a place."""
        return self._offset(plane, place.row, place.column, place.channel)

    def _offset(self, plane: Plane, h: Value, w: Value, c: Value) -> Value:
        """Of channel c of pixel (h, w)."""
        code = self.code
        return code.sum(plane.offset, c, code.times(h, plane.row), code.times(w, plane.pixel))

    def _window(self, plane: Plane, place: _Place, pooled: bool) -> list[Value]:
        """Offsets of the four pixels of the larger plane, row by row; or of the one."""
        code = self.code
        if not pooled:
            return [self._at(plane, place)]
        corner = self._offset(plane, code.times(place.row, 2), code.times(place.column, 2), place.channel)
        return [code.sum(corner, i * plane.row + j * plane.pixel) for i in (0, 1) for j in (0, 1)]

    def _announce(self, plane: Plane, at: Value) -> None:
        """Have the same place of the next picture brought from memory while this one is computed."""
        self.code.prefetch(plane.array, self.code.sum(at, plane.following))


def _to_the_largest(code: Code, dy: Value, values: list[Value]) -> list[Value]:
    """The gradient for the first of the largest of four values, row by row, and zeros for the others."""
    if len(values) == 1:
        return [dy]
    a, b, c, d = values
    zero, above, below = code.zeros(dy.type.count), code.maximum(a, b), code.maximum(c, d)
    upper, lower = code.where_above(below, above, zero, dy), code.where_above(below, above, dy, zero)
    return [
        code.where_above(b, a, zero, upper), code.where_above(b, a, upper, zero),
        code.where_above(d, c, zero, lower), code.where_above(d, c, lower, zero),
    ]  # fmt: skip
