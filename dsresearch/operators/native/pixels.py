"""What stands between convolutions, for one picture: BatchNorm's map with ReLU and pooling, and sums, forth and back.

Sums run over the pixels of a row one after another, and are then added to those of the rows and pictures before,
whatever the processor's vectors hold.
"""

from collections.abc import Callable, Sequence

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import LANES, Plane, vectors


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

        def some(h: Value, c: Value, _: int) -> None:
            def pixel(w: Value, _: list[Value]) -> list[Value]:
                places = [(source, self._at(source, c, h, w)) for source in sources]
                for source, at in places:
                    self._announce(source, at)
                read = [code.load(source.array, at, self.lanes) for source, at in places]
                code.store(value(*read), target.array, self._at(target, c, h, w))
                return []

            code.loop(self.columns, pixel)

        self._by_rows(some)

    def add(self, target: Plane, other: Plane) -> None:
        """Add another picture to one."""
        code = self.code
        self._each(target, other, lambda value, more, repeated: code.add(value, code.without(more, repeated)))

    def relu(self, target: Plane) -> None:
        """The ReLU of a picture, in its place."""
        code, zero = self.code, self.code.zeros(self.lanes)
        self._each(target, target, lambda value, _, __: code.maximum(zero, value))

    def relu_back(self, target: Plane, result: Plane) -> None:
        """The gradient in front of a ReLU in the place of that behind it."""
        code, zero = self.code, self.code.zeros(self.lanes)
        self._each(target, result, lambda dy, y, _: code.where_above(y, zero, dy, zero))

    def _each(self, target: Plane, other: Plane, value: Callable[[Value, Value, int], Value]) -> None:
        """`value(target's, other's, repeated)` in every place; `repeated` as in `kernels.vectors`."""
        code = self.code

        def some(h: Value, c: Value, repeated: int) -> None:
            def pixel(w: Value, _: list[Value]) -> list[Value]:
                places = [(plane.array, self._at(plane, c, h, w)) for plane in (target, other)]
                mine, others = (code.load(array, at, self.lanes) for array, at in places)
                code.store(value(mine, others, repeated), *places[0])
                return []

            code.loop(self.columns, pixel)

        self._by_rows(some)

    def map(self, source: Plane, gain: Value, shift: Value, target: Plane, pooled: bool) -> None:
        """relu(x * gain + shift), or its 2 x 2 maxima.

        Of four pixels the last one's NaN alone is kept, where `operators.max_pool` keeps any: that would take one more
        comparison a pixel. In training none is lost, because a NaN in the sums makes the whole channel's map one.
        """
        code, lanes = self.code, self.lanes

        def some(h: Value, c: Value, _: int) -> None:
            by, plus, zero = code.load(gain, c, lanes), code.load(shift, c, lanes), code.zeros(lanes)

            def pixel(w: Value, _: list[Value]) -> list[Value]:
                largest = zero
                for at in self._window(source, c, h, w, pooled):
                    self._announce(source, at)
                    mapped = code.multiply_add(code.load(source.array, at, lanes), by, plus)
                    largest = code.maximum(largest, mapped)
                code.store(largest, target.array, self._at(target, c, h, w))
                return []

            code.loop(self.columns, pixel)

        self._by_rows(some)

    def add_mapped(self, source: Plane, gain: Value, shift: Value, target: Plane) -> None:
        """Add relu(x * gain + shift) to a picture."""
        code, lanes = self.code, self.lanes

        def some(h: Value, c: Value, repeated: int) -> None:
            by, plus, zero = code.load(gain, c, lanes), code.load(shift, c, lanes), code.zeros(lanes)

            def pixel(w: Value, _: list[Value]) -> list[Value]:
                at = self._at(source, c, h, w)
                self._announce(source, at)
                mapped = code.maximum(zero, code.multiply_add(code.load(source.array, at, lanes), by, plus))
                code.add_to(target.array, self._at(target, c, h, w), code.without(mapped, repeated))
                return []

            code.loop(self.columns, pixel)

        self._by_rows(some)

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
        code, lanes = self.code, self.lanes

        def some(h: Value, c: Value, repeated: int) -> None:
            by, plus, zero = code.load(gain, c, lanes), code.load(shift, c, lanes), code.zeros(lanes)

            def pixel(w: Value, so_far: list[Value]) -> list[Value]:
                to_gain, to_shift = so_far
                dy = code.load(behind.array, self._at(behind, c, h, w), lanes)
                read = [code.load(source.array, at, lanes) for at in self._window(source, c, h, w, pooled)]
                mapped = [code.multiply_add(x, by, plus) for x in read]
                parts, places = _to_the_largest(code, dy, mapped), self._window(target, c, h, w, pooled)
                for x, value, part, at in zip(read, mapped, parts, places, strict=True):
                    kept = code.where_above(value, zero, part, zero)
                    code.store(code.multiply(kept, by), target.array, at)
                    self._announce(target, at)
                    to_gain, to_shift = code.multiply_add(kept, x, to_gain), code.add(to_shift, kept)
                return [to_gain, to_shift]

            self._add(sums, c, repeated, code.loop(self.columns, pixel, [zero, zero]))

        self._by_rows(some)

    def add_sums(self, y: Plane, total: Value, squares: Value) -> None:
        """Add the sums of the channels, and of their squares."""
        code = self.code

        def some(h: Value, c: Value, repeated: int) -> None:
            def pixel(w: Value, so_far: list[Value]) -> list[Value]:
                at = self._at(y, c, h, w)
                self._announce(y, at)
                value = code.load(y.array, at, self.lanes)
                return [code.add(so_far[0], value), code.multiply_add(value, value, so_far[1])]

            self._add((total, squares), c, repeated, code.loop(self.columns, pixel, [code.zeros(self.lanes)] * 2))

        self._by_rows(some)

    def add_slopes(self, dy: Plane, y: Plane, added: Value, sloped: Value, target: Plane) -> None:
        """dy + added + sloped * y: what comes back through a result, and through the sums over it."""
        code, lanes = self.code, self.lanes

        def some(h: Value, c: Value, _: int) -> None:
            plus, by = code.load(added, c, lanes), code.load(sloped, c, lanes)

            def pixel(w: Value, _: list[Value]) -> list[Value]:
                at = self._at(dy, c, h, w)
                for plane in (dy, y):
                    self._announce(plane, at)
                through = code.add(code.load(dy.array, at, lanes), plus)
                value = code.multiply_add(code.load(y.array, at, lanes), by, through)
                code.store(value, target.array, self._at(target, c, h, w))
                return []

            code.loop(self.columns, pixel)

        self._by_rows(some)

    def _by_rows(self, some: Callable[[Value, Value, int], None]) -> None:
        """`some(h, first channel, repeated)` for all vectors of all rows; `repeated` as in `kernels.vectors`."""

        def row(h: Value, _: list[Value]) -> list[Value]:
            vectors(self.code, self.channels, self.lanes, lambda first, repeated: some(h, first, repeated))
            return []

        self.code.loop(self.rows, row)

    def _add(self, sums: Sequence[Value], c: Value, repeated: int, fresh: Sequence[Value]) -> None:
        """Add a row's sums, each channel's once."""
        for total, value in zip(sums, fresh, strict=True):
            self.code.add_to(total, c, self.code.without(value, repeated))

    def _at(self, plane: Plane, c: Value, h: Value, w: Value) -> Value:
        """Offset of channel c of pixel (h, w)."""
        code = self.code
        return code.sum(plane.offset, c, code.times(h, plane.row), code.times(w, plane.pixel))

    def _window(self, plane: Plane, c: Value, h: Value, w: Value, pooled: bool) -> list[Value]:
        """Offsets of the four pixels of the larger plane, row by row; or of the one."""
        code = self.code
        if not pooled:
            return [self._at(plane, c, h, w)]
        corner = self._at(plane, c, code.times(h, 2), code.times(w, 2))
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
