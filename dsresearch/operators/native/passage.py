"""Convolutions that follow one another, from one BatchNorm's map to the sums of the next, as code: picture by picture.

BatchNorm has to wait for the whole batch, so what stands in front of it is written and read again. All else stays in a
core's cache here: a picture is mapped while it is read, goes through its convolutions, and is summed when it is
written; the gradient computes what lies between anew, picture by picture too (`bench.floor` counts these bytes).

Sums over a picture's pixels are taken one after another and then added to those of the pictures before, whatever the
processor's vectors hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import Convolution, Plane, add_kernel_gradient, correlate, vectors


@dataclass(frozen=True)
class Passage:
    """What a batch passes.

    Attributes:
        pictures: of the batch.
        links: the convolutions, each of which reads what the one before gives.
        mapped: whether the first reads relu(x * gain + shift), channel by channel, in place of x.
        pooled: whether it reads the 2 x 2 maxima of that.
        summed: whether sums and sums of squares of the result, channel by channel, are asked for.
    """

    pictures: int
    links: tuple[Convolution, ...]
    mapped: bool = False
    pooled: bool = False
    summed: bool = False

    @property
    def sides(self) -> tuple[int, int]:
        """Of the pictures that it reads."""
        rows, columns = self.links[0].stored
        return (2 * rows, 2 * columns) if self.pooled else (rows, columns)


class Written(NamedTuple):
    """Code, and how many numbers of scratch it wants as its last array."""

    text: str
    scratch: int


def forward(passage: Passage, most: int) -> Written:
    """Code of `forward(x, [gain, shift,] *kernels, y, [total, squares,] scratch)`, in vectors of `most` lanes."""
    maps, sums, links = 2 * passage.mapped, 2 * passage.summed, passage.links
    code = Code("forward", 1 + maps + len(links) + 1 + sums + 1)
    (x,), affine, kernels, (y,), totals, (scratch,) = code.named(1, maps, len(links), 1, sums, 1)
    way = _Way(code, passage, most, x, affine, kernels, scratch)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        result = _picture(code, y, n, (links[-1].height, links[-1].width), links[-1].filters)
        correlate(code, links[-1], most, way.read(n)[-1], kernels[-1], result)
        if passage.summed:
            _add_sums(code, links[-1], most, result, *totals)
        return []

    for total in totals:
        code.clear(total, links[-1].filters)
    code.clear(scratch, way.scratch)
    code.loop(passage.pictures, picture)
    return Written(code.text(), way.scratch)


def backward(passage: Passage, most: int, inward: bool) -> Written:
    """Code of the gradients at the kernels and, where asked for, `inward`: at x, gain and shift.

    `backward(x, [gain, shift,] *kernels, *turned, dy, [y, added, sloped,] [dx, [dgain, dshift,]] *dkernels, scratch)`:
    the gradient at the result is dy + added + sloped * y, where the sums are asked for. `turned` are the kernels of the
    transposed convolutions.
    """
    maps, links = 2 * passage.mapped, passage.links
    counts = (1, maps, len(links), len(links), 1, 3 * passage.summed, inward, maps * inward, len(links), 1)
    code = Code("backward", sum(counts))
    (x,), affine, kernels, turned, (dy,), outer, inner, to_map, gradients, (scratch,) = code.named(*counts)
    way = _Way(code, passage, most, x, affine, kernels, scratch)
    back = [link.transposed() for link in links]
    rooms = [way.room(link) for link in back]
    first = way.room_without_padding(links[0])

    def behind(n: Value) -> tuple[Plane, Plane]:
        """The gradient at the result, with the padding with which it is read back and without."""
        last, sides = links[-1], (links[-1].height, links[-1].width)
        given, (whole, inside) = _picture(code, dy, n, sides, last.filters), rooms[-1]
        if passage.summed:
            y, *slopes = outer
            _add_slopes(code, last, most, given, _picture(code, y, n, sides, last.filters), slopes, inside)
        elif back[-1].padded:
            _copy(code, sides[0], sides[1] * last.filters, given, inside)
        else:
            return given, given
        return whole, inside

    def picture(n: Value, _: list[Value]) -> list[Value]:
        read = way.read(n)
        whole, inside = behind(n)
        for i in reversed(range(len(links))):
            add_kernel_gradient(code, links[i], most, read[i], inside, gradients[i])
            if i:
                further = rooms[i - 1]
            elif inward:
                plane = first if passage.mapped else way.picture(inner[0], n)
                further = plane, plane
            else:
                return []
            correlate(code, back[i], most, whole, turned[i], further[1])
            whole, inside = further
        if passage.mapped:
            way.leave(n, first, inner[0], to_map)
        return []

    for gradient, link in zip(gradients, links, strict=True):
        code.clear(gradient, link.kernel[0] * link.kernel[1] * link.inputs * link.filters)
    for total in to_map:
        code.clear(total, links[0].channels)
    code.clear(scratch, way.scratch)
    code.loop(passage.pictures, picture)
    return Written(code.text(), way.scratch)


class _Way:
    """From a batch's pictures to what the links of a passage read, and back through its map."""

    def __init__(
        self, code: Code, passage: Passage, most: int, x: Value, affine: list[Value], kernels: list[Value], room: Value
    ) -> None:
        self.code, self.passage, self.most = code, passage, most
        self.x, self.affine, self.kernels = x, affine, kernels
        self._room, self.scratch = room, 0
        self.rooms = [self.room(link) for link in passage.links]

    def room(self, link: Convolution) -> tuple[Plane, Plane]:
        """Scratch for what a convolution reads: with its padding, which stays zeros, and without."""
        (rows, columns), ((top, _), (left, _)) = link.read, link.pads
        row = columns * link.channels
        offset = self._take(rows * row)
        inside = offset + top * row + left * link.channels
        return Plane(self._room, self.code.at(offset), row), Plane(self._room, self.code.at(inside), row)

    def room_without_padding(self, link: Convolution) -> Plane:
        """Scratch for the gradient at what a convolution reads."""
        rows, columns = link.stored
        row = columns * link.channels
        return Plane(self._room, self.code.at(self._take(rows * row)), row)

    def _take(self, size: int) -> int:
        """So many numbers of the scratch, from a cache line's first on."""
        offset, self.scratch = self.scratch, self.scratch + -(-size // 16) * 16
        return offset

    def picture(self, array: Value, n: Value) -> Plane:
        """Picture n of the batch, or the gradient at it."""
        return _picture(self.code, array, n, self.passage.sides, self.passage.links[0].channels)

    def read(self, n: Value) -> list[Plane]:
        """What every link reads of picture n."""
        planes, links = [self._enter(n)], self.passage.links
        for link, kernel, (whole, inside) in zip(links[:-1], self.kernels[:-1], self.rooms[1:], strict=True):
            correlate(self.code, link, self.most, planes[-1], kernel, inside)
            planes.append(whole)
        return planes

    def _enter(self, n: Value) -> Plane:
        """What the first link reads."""
        code, first, source = self.code, self.passage.links[0], self.picture(self.x, n)
        whole, inside = self.rooms[0]
        if not self.passage.mapped:
            if not first.padded:
                return source
            _copy(code, first.stored[0], first.stored[1] * first.channels, source, inside)
            return whole
        gain, shift = self.affine

        def some(h: Value, c: Value, lanes: int, _: int) -> None:
            by, plus, zero = code.load(gain, c, lanes), code.load(shift, c, lanes), code.zeros(lanes)

            def pixel(w: Value, _: list[Value]) -> list[Value]:
                mapped = [
                    code.maximum(zero, code.multiply_add(code.load(source.array, at, lanes), by, plus))
                    for at in self._window(source, c, h, w)
                ]
                for at in self._window(source, c, h, w):
                    _announce(code, source, at)
                largest = mapped[0]
                for other in mapped[1:]:
                    largest = code.maximum(largest, other)
                code.store(largest, inside.array, _pixel(code, inside, first.channels, c, h, w))
                return []

            code.loop(first.stored[1], pixel)

        _by_rows(code, first.stored[0], first.channels, self.most, some)
        return whole

    def leave(self, n: Value, behind: Plane, dx: Value, to_map: list[Value]) -> None:
        """The gradients at x, gain and shift, from that at what the first link reads.

        Of equal maxima the first gets the gradient; where the map gives nothing above zero none does.
        """
        code, first = self.code, self.passage.links[0]
        source, target = self.picture(self.x, n), self.picture(dx, n)
        gain, shift = self.affine

        def some(h: Value, c: Value, lanes: int, repeated: int) -> None:
            by, plus, zero = code.load(gain, c, lanes), code.load(shift, c, lanes), code.zeros(lanes)

            def pixel(w: Value, sums: list[Value]) -> list[Value]:
                dy = code.load(behind.array, _pixel(code, behind, first.channels, c, h, w), lanes)
                read = [code.load(source.array, at, lanes) for at in self._window(source, c, h, w)]
                mapped = [code.multiply_add(x, by, plus) for x in read]
                to_gain, to_shift = sums
                parts = _to_the_largest(code, dy, mapped)
                for x, value, part, at in zip(read, mapped, parts, self._window(target, c, h, w), strict=True):
                    kept = code.where_above(value, zero, part, zero)
                    code.store(code.multiply(kept, by), target.array, at)
                    _announce(code, target, at)
                    to_gain, to_shift = code.multiply_add(kept, x, to_gain), code.add(to_shift, kept)
                return [to_gain, to_shift]

            sums = code.loop(first.stored[1], pixel, [zero, zero])
            for total, fresh in zip(to_map, sums, strict=True):
                code.add_to(total, c, code.without(fresh, repeated))

        _by_rows(code, first.stored[0], first.channels, self.most, some)

    def _window(self, plane: Plane, c: Value, h: Value, w: Value) -> list[Value]:
        """Offsets of the pixels of which the first link reads the largest at (h, w): four, or itself alone."""
        code, channels = self.code, self.passage.links[0].channels
        if not self.passage.pooled:
            return [_pixel(code, plane, channels, c, h, w)]
        corner = _pixel(code, plane, channels, c, code.times(h, 2), code.times(w, 2))
        return [code.sum(corner, i * plane.row + j * channels) for i in (0, 1) for j in (0, 1)]


def _to_the_largest(code: Code, dy: Value, values: list[Value]) -> list[Value]:
    """The gradient for the first of the largest of four values by two rows, and zeros for the others."""
    if len(values) == 1:
        return [dy]
    a, b, c, d = values
    zero = code.zeros(dy.type.count)
    rows = code.maximum(a, b), code.maximum(c, d)
    upper, lower = code.where_above(rows[1], rows[0], zero, dy), code.where_above(rows[1], rows[0], dy, zero)
    return [
        code.where_above(b, a, zero, upper), code.where_above(b, a, upper, zero),
        code.where_above(d, c, zero, lower), code.where_above(d, c, lower, zero),
    ]  # fmt: skip


def _add_sums(code: Code, last: Convolution, most: int, result: Plane, total: Value, squares: Value) -> None:
    """Add the sums of a result's channels, and of their squares, to those of the pictures before."""

    def some(h: Value, c: Value, lanes: int, repeated: int) -> None:
        def pixel(w: Value, sums: list[Value]) -> list[Value]:
            at = _pixel(code, result, last.filters, c, h, w)
            y = code.load(result.array, at, lanes)
            _announce(code, result, at)
            return [code.add(sums[0], y), code.multiply_add(y, y, sums[1])]

        sums = code.loop(last.width, pixel, [code.zeros(lanes)] * 2)
        for so_far, fresh in zip((total, squares), sums, strict=True):
            code.add_to(so_far, c, code.without(fresh, repeated))

    _by_rows(code, last.height, last.filters, most, some)


def _add_slopes(
    code: Code, last: Convolution, most: int, dy: Plane, y: Plane, slopes: list[Value], target: Plane
) -> None:
    """dy + added + sloped * y: what comes back through a result, and through the sums over it."""

    def some(h: Value, c: Value, lanes: int, _: int) -> None:
        added, sloped = (code.load(values, c, lanes) for values in slopes)

        def pixel(w: Value, _: list[Value]) -> list[Value]:
            at = _pixel(code, dy, last.filters, c, h, w)
            for plane in (dy, y):
                _announce(code, plane, at)
            through = code.add(code.load(dy.array, at, lanes), added)
            value = code.multiply_add(code.load(y.array, at, lanes), sloped, through)
            code.store(value, target.array, _pixel(code, target, last.filters, c, h, w))
            return []

        code.loop(last.width, pixel)

    _by_rows(code, last.height, last.filters, most, some)


def _picture(code: Code, array: Value, n: Value, sides: tuple[int, int], channels: int) -> Plane:
    """Picture n of a batch."""
    row = sides[1] * channels
    return Plane(array, code.times(n, sides[0] * row), row, sides[0] * row)


def _announce(code: Code, plane: Plane, at: Value) -> None:
    """Have the same place of the next picture brought from memory while this one is computed."""
    code.prefetch(plane.array, code.sum(at, plane.following))


def _copy(code: Code, rows: int, row: int, source: Plane, target: Plane) -> None:
    """So many rows of so many numbers."""

    def one(h: Value, _: list[Value]) -> list[Value]:
        from_, to = (code.sum(plane.offset, code.times(h, plane.row)) for plane in (source, target))
        code.copy(source.array, from_, target.array, to, row)
        return []

    code.loop(rows, one)


def _pixel(code: Code, plane: Plane, channels: int, c: Value, h: Value, w: Value) -> Value:
    """Offset of channel c of pixel (h, w)."""
    return code.sum(plane.offset, c, code.times(h, plane.row), code.times(w, channels))


def _by_rows(code: Code, rows: int, channels: int, most: int, some: Callable[[Value, Value, int, int], None]) -> None:
    """`some(h, first, lanes, repeated)` for all channels of all rows in vectors; `repeated` as in `kernels.vectors`."""
    lanes = max((lanes for lanes in (16, 8, 4) if lanes <= min(most, channels)), default=1)

    def row(h: Value, _: list[Value]) -> list[Value]:
        vectors(code, channels, lanes, lambda first, repeated: some(h, first, lanes, repeated))
        return []

    code.loop(rows, row)
