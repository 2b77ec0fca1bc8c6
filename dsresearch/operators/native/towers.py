"""Inception's four towers, as code: where they part from the same pictures, and where they are laid side by side.

In front of the module's BatchNorms all four begin with products of the same pictures: the tower of a mean with its own,
which gives the same sum as the product of the mean and a quarter of the channels to take the mean of. `part` computes
them in one passage, the `ends` [direct, mean] and the `starts` [single, double], which go through BatchNorm and their
first convolution by a passage of two groups to `middles`. `join` takes the last convolution of the double tower and the
mean, and lays all four side by side.
"""

import math
from dataclasses import dataclass

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import Plane, Shape
from dsresearch.operators.native.loops import Loops
from dsresearch.operators.native.passage import Arrays, Shapes, Written
from dsresearch.operators.native.pixels import Pixels
from dsresearch.operators.native.rooms import Scratch, of_batch


@dataclass(frozen=True)
class Parting:
    """Pictures that are mapped, and pooled where asked for, and the shape of both products: of `ends` and `starts`."""

    pictures: int
    product: Shape
    pooled: bool
    summed: bool

    @property
    def sides(self) -> tuple[int, int]:
        """Of the products."""
        return self.product.stored

    @property
    def read(self) -> tuple[int, int]:
        """Sides of the pictures."""
        rows, columns = self.sides
        return (2 * rows, 2 * columns) if self.pooled else (rows, columns)

    @property
    def source(self) -> Shapes:
        """Shapes of the pictures and of their map."""
        channels = self.product.channels
        return (self.pictures, *self.read, channels), (channels,), (channels,)

    @property
    def made(self) -> tuple[int, ...]:
        """Shape of what each product gives."""
        return (self.pictures, *self.sides, self.product.filters)


def part(form: Parting, most: int) -> Written:
    """Code of `part(z, gain, shift, *kernels, ends, starts, [total, squares,] scratch)`: the sums are of the starts."""
    product, made = form.product, form.made
    arrays = Arrays([form.source, (product.weights,) * 2], [(made, made), (made[-1:],) * (2 * form.summed)])
    code, ((z, gain, shift), kernels, (ends, starts), sums, (room,)) = arrays.code("part")
    scratch = Scratch(code, room)
    loops = Loops(code, most, scratch)
    x = scratch.plane(form.sides, product.channels)
    at_x, at_starts = Pixels(code, form.sides, product.channels, most), Pixels(code, form.sides, product.filters, most)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        at_x.map(of_batch(code, z, n, form.read, product.channels), gain, shift, x, form.pooled)
        results = [of_batch(code, array, n, form.sides, product.filters) for array in (ends, starts)]
        for kernel, result in zip(kernels, results, strict=True):
            loops.correlate(product, x, kernel, result)
        if sums:
            at_starts.add_sums(results[1], *sums)
        return []

    for total in sums:
        code.clear(total, product.filters)
    code.loop(form.pictures, picture)
    return arrays.written(code, scratch.size)


def part_back(form: Parting, most: int) -> Written:
    """Code of the gradients: `part_back(z, gain, shift, *turned, dends, dstarts, starts, added, sloped,
    dz, dgain, dshift, *dkernels, scratch)`; that at the starts is dstarts + added + sloped * starts.
    """
    product, made, back = form.product, form.made, form.product.transposed()
    takes = [form.source, (back.weights,) * 2, (made, made), (made, made[-1:], made[-1:])]
    arrays = Arrays(takes, [form.source, (product.weights,) * 2])
    code, groups = arrays.code("part_back")
    (z, gain, shift), turned, behind, (starts, added, sloped), (dz, *to_map), gradients, (room,) = groups
    scratch = Scratch(code, room)
    loops = Loops(code, most, scratch)
    x, dx, more = (scratch.plane(form.sides, product.channels) for _ in range(3))
    to_starts = scratch.plane(form.sides, product.filters)
    at_x, at_y = Pixels(code, form.sides, product.channels, most), Pixels(code, form.sides, product.filters, most)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        source = of_batch(code, z, n, form.read, product.channels)
        at_x.map(source, gain, shift, x, form.pooled)
        to_ends, given, read = (of_batch(code, array, n, form.sides, product.filters) for array in (*behind, starts))
        at_y.add_slopes(given, read, added, sloped, to_starts)
        for kernel, dy, to, gradient in zip(turned, (to_ends, to_starts), (dx, more), gradients, strict=True):
            loops.add_kernel_gradient(product, x, dy, gradient)
            loops.correlate(back, dy, kernel, to)
        at_x.add(dx, more)
        at_x.map_back(source, gain, shift, dx, of_batch(code, dz, n, form.read, product.channels), to_map, form.pooled)
        return []

    for gradient in gradients:
        code.clear(gradient, product.inputs * product.filters)
    for total in to_map:
        code.clear(total, product.channels)
    code.loop(form.pictures, picture)
    return arrays.written(code, scratch.size)


@dataclass(frozen=True)
class Joining:
    """The last convolution of the double tower, and a mean over as large a window: a depthwise one with ones.

    Raises:
        ValueError: they do not read and give pictures of one shape.
    """

    pictures: int
    last: Shape
    mean: Shape
    summed: bool

    def __post_init__(self) -> None:
        last, mean = self.last, self.mean
        if {last.stored, last.made, mean.stored} != {mean.made} or {last.channels, last.filters} != {mean.filters}:
            raise ValueError(f"towers of {mean.filters} channels are not joined by a kernel {last.weights}")

    @property
    def sides(self) -> tuple[int, int]:
        """Of the pictures."""
        return self.last.height, self.last.width

    @property
    def tower(self) -> int:
        """Channels of each."""
        return self.last.filters

    @property
    def its_map(self) -> Shapes:
        """Shapes of a tower's map."""
        return (self.tower,), (self.tower,)

    @property
    def window(self) -> Shapes:
        """Shapes of the mean's ones, and of its shares."""
        return self.mean.weights, (*self.sides, self.tower)

    def batch(self, towers: int) -> tuple[int, ...]:
        """Shape of the batch's pictures, so many towers side by side."""
        return (self.pictures, *self.sides, towers * self.tower)


def join(form: Joining, most: int) -> Written:
    """Code of `join(ends, middles, gain, shift, kernel, ones, shares, y, [total, squares,] scratch)`.

    `ends` are [direct, of the mean], `middles` [single, double], of which the second is mapped; `shares` [H, W, tower]
    is one over the pixels of the picture under the window.
    """
    pair, result = form.batch(2), form.batch(4)
    takes = [(pair, pair), form.its_map, (form.last.weights,), form.window]
    arrays = Arrays(takes, [(result,), (result[-1:],) * (2 * form.summed)])
    code, groups = arrays.code("join")
    (ends, middles), (gain, shift), (kernel,), (ones, shares), (y,), sums, (room,) = groups
    scratch, tower = Scratch(code, room), form.tower
    loops = Loops(code, most, scratch)
    double, window = scratch.room(form.last), scratch.room(form.mean)
    added = scratch.plane(form.sides, tower)
    at_tower, at_all = Pixels(code, form.sides, tower, most), Pixels(code, form.sides, 4 * tower, most)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        direct, summand = _side_by_side(code, of_batch(code, ends, n, form.sides, 2 * tower), tower, 2)
        single, middle = _side_by_side(code, of_batch(code, middles, n, form.sides, 2 * tower), tower, 2)
        whole = of_batch(code, y, n, form.sides, 4 * tower)
        to_direct, to_single, to_double, to_mean = _side_by_side(code, whole, tower, 4)
        at_tower.copy(direct, to_direct)
        at_tower.copy(single, to_single)
        at_tower.map(middle, gain, shift, double.inside, False)
        loops.correlate(form.last, double.whole, kernel, to_double)
        at_tower.copy(summand, window.inside)
        loops.correlate(form.mean, window.whole, ones, added)
        at_tower.scaled(added, _of_all(code, shares, form), to_mean)
        if sums:
            at_all.add_sums(whole, *sums)
        return []

    for total in sums:
        code.clear(total, 4 * tower)
    code.clear(room, scratch.size)
    code.loop(form.pictures, picture)
    return arrays.written(code, scratch.size)


def join_back(form: Joining, most: int) -> Written:
    """Code of the gradients: `join_back(middles, gain, shift, turned, ones, shares, dy, y, added, sloped,
    dends, dmiddles, dgain, dshift, dkernel, scratch)`; that at the result is dy + added + sloped * y.
    """
    back, pair, result = form.last.transposed(), form.batch(2), form.batch(4)
    takes = [(pair, *form.its_map), (back.weights, *form.window), (result, result, result[-1:], result[-1:])]
    arrays = Arrays(takes, [(pair, pair), form.its_map, (form.last.weights,)])
    code, groups = arrays.code("join_back")
    (middles, gain, shift), (turned, ones, shares), (dy, y, added, sloped), *made, (room,) = groups
    (dends, dmiddles), to_map, (gradient,) = made
    scratch, tower = Scratch(code, room), form.tower
    loops = Loops(code, most, scratch)
    double, behind, window = scratch.room(form.last), scratch.room(back), scratch.room(form.mean.transposed())
    dx, whole = scratch.plane(form.sides, tower), scratch.plane(form.sides, 4 * tower)
    at_tower, at_all = Pixels(code, form.sides, tower, most), Pixels(code, form.sides, 4 * tower, most)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        given, result = (of_batch(code, array, n, form.sides, 4 * tower) for array in (dy, y))
        at_all.add_slopes(given, result, added, sloped, whole)
        direct, single, last, mean = _side_by_side(code, whole, tower, 4)
        to_direct, to_summand = _side_by_side(code, of_batch(code, dends, n, form.sides, 2 * tower), tower, 2)
        to_single, to_middle = _side_by_side(code, of_batch(code, dmiddles, n, form.sides, 2 * tower), tower, 2)
        middle = _side_by_side(code, of_batch(code, middles, n, form.sides, 2 * tower), tower, 2)[1]
        at_tower.copy(direct, to_direct)
        at_tower.copy(single, to_single)
        at_tower.map(middle, gain, shift, double.inside, False)
        at_tower.copy(last, behind.inside)
        loops.add_kernel_gradient(form.last, double.whole, behind.inside, gradient)
        loops.correlate(back, behind.whole, turned, dx)
        at_tower.map_back(middle, gain, shift, dx, to_middle, to_map, False)
        at_tower.scaled(mean, _of_all(code, shares, form), window.inside)
        loops.correlate(form.mean.transposed(), window.whole, ones, to_summand)
        return []

    code.clear(gradient, math.prod(form.last.weights))
    for total in to_map:
        code.clear(total, tower)
    code.clear(room, scratch.size)
    code.loop(form.pictures, picture)
    return arrays.written(code, scratch.size)


def _side_by_side(code: Code, plane: Plane, channels: int, count: int) -> list[Plane]:
    """The pictures of so many channels each that a wider one holds."""
    return [plane._replace(offset=code.sum(plane.offset, i * channels)) for i in range(count)]


def _of_all(code: Code, array: Value, form: Joining) -> Plane:
    """A picture that is the same for the whole batch."""
    return of_batch(code, array, code.at(0), form.sides, form.tower)._replace(following=0)
