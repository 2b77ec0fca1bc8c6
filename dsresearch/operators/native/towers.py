"""Inception's four towers, as code: where they part from the same pictures, and where they are laid side by side.

In front of the module's BatchNorms all four begin with products of the same pictures: the tower of a mean with its own,
which gives the same sum as the product of the mean and a quarter of the channels to take the mean of. `part` computes
them in one passage, the `ends` [direct, mean] and the `starts` [single, double], which go through BatchNorm and their
first convolution by a passage of two groups to `middles`. `join` takes the last convolution of the double tower and the
mean, and lays all four side by side.
"""

from dataclasses import dataclass

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import Convolution, Plane, add_kernel_gradient, correlate
from dsresearch.operators.native.passage import Scratch, Written, of_batch
from dsresearch.operators.native.pixels import Pixels


@dataclass(frozen=True)
class Parting:
    """Pictures that are mapped, and pooled where asked for, and the products of them: of `ends` and of `starts`."""

    pictures: int
    products: tuple[Convolution, Convolution]
    pooled: bool

    @property
    def sides(self) -> tuple[int, int]:
        """Of the products."""
        return self.products[0].stored

    @property
    def read(self) -> tuple[int, int]:
        """Sides of the pictures."""
        rows, columns = self.sides
        return (2 * rows, 2 * columns) if self.pooled else (rows, columns)


def part(form: Parting, most: int) -> Written:
    """Code of `part(z, gain, shift, *kernels, ends, starts, total, squares, scratch)`: the sums are of the starts."""
    code = Code("part", 10)
    z, gain, shift, *kernels, ends, starts, total, squares, room = code.arrays
    scratch, first = Scratch(code, room), form.products[0]
    x = scratch.plane(form.sides, first.channels)
    at_x, at_starts = Pixels(code, form.sides, first.channels, most), Pixels(code, form.sides, first.filters, most)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        at_x.map(of_batch(code, z, n, form.read, first.channels), gain, shift, x, form.pooled)
        results = [of_batch(code, products, n, form.sides, first.filters) for products in (ends, starts)]
        for product, kernel, result in zip(form.products, kernels, results, strict=True):
            correlate(code, product, most, x, kernel, result)
        at_starts.add_sums(results[1], total, squares)
        return []

    for sums in (total, squares):
        code.clear(sums, first.filters)
    code.loop(form.pictures, picture)
    return Written(code.text(), scratch.size)


def part_back(form: Parting, most: int) -> Written:
    """Code of the gradients: `part_back(z, gain, shift, *turned, dends, dstarts, starts, added, sloped,
    dz, dgain, dshift, *dkernels, scratch)`; that at the starts is dstarts + added + sloped * starts.
    """
    code = Code("part_back", 16)
    groups = code.named(3, 2, 2, 3, 3, 2, 1)
    (z, gain, shift), turned, behind, (starts, added, sloped), (dz, *to_map), gradients, (room,) = groups
    scratch, first = Scratch(code, room), form.products[0]
    x, dx, more = (scratch.plane(form.sides, first.channels) for _ in range(3))
    to_starts = scratch.plane(form.sides, first.filters)
    at_x, at_y = Pixels(code, form.sides, first.channels, most), Pixels(code, form.sides, first.filters, most)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        source = of_batch(code, z, n, form.read, first.channels)
        at_x.map(source, gain, shift, x, form.pooled)
        to_ends, given, read = (of_batch(code, array, n, form.sides, first.filters) for array in (*behind, starts))
        at_y.add_slopes(given, read, added, sloped, to_starts)
        ways = zip(form.products, turned, (to_ends, to_starts), (dx, more), gradients, strict=True)
        for product, back, dy, to, gradient in ways:
            add_kernel_gradient(code, product, most, x, dy, gradient)
            correlate(code, product.transposed(), most, dy, back, to)
        at_x.add(dx, more)
        at_x.map_back(source, gain, shift, dx, of_batch(code, dz, n, form.read, first.channels), to_map, form.pooled)
        return []

    for gradient in gradients:
        code.clear(gradient, first.inputs * first.filters)
    for total in to_map:
        code.clear(total, first.channels)
    code.loop(form.pictures, picture)
    return Written(code.text(), scratch.size)


@dataclass(frozen=True)
class Joining:
    """The last convolution of the double tower, and a mean over as large a window: a depthwise one with ones."""

    pictures: int
    last: Convolution
    mean: Convolution

    @property
    def sides(self) -> tuple[int, int]:
        """Of the pictures."""
        return self.last.height, self.last.width

    @property
    def tower(self) -> int:
        """Channels of each."""
        return self.last.filters


def join(form: Joining, most: int) -> Written:
    """Code of `join(ends, middles, gain, shift, kernel, ones, shares, y, total, squares, scratch)`.

    `ends` are [direct, of the mean], `middles` [single, double], of which the second is mapped; `shares` [H, W, tower]
    is one over the pixels of the picture under the window.
    """
    code = Code("join", 11)
    ends, middles, gain, shift, kernel, ones, shares, y, total, squares, room = code.arrays
    scratch, tower = Scratch(code, room), form.tower
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
        correlate(code, form.last, most, double.whole, kernel, to_double)
        at_tower.copy(summand, window.inside)
        correlate(code, form.mean, most, window.whole, ones, added)
        at_tower.scaled(added, _of_all(code, shares, form), to_mean)
        at_all.add_sums(whole, total, squares)
        return []

    for sums in (total, squares):
        code.clear(sums, 4 * tower)
    code.clear(room, scratch.size)
    code.loop(form.pictures, picture)
    return Written(code.text(), scratch.size)


def join_back(form: Joining, most: int) -> Written:
    """Code of the gradients: `join_back(middles, gain, shift, turned, ones, shares, dy, y, added, sloped,
    dends, dmiddles, dgain, dshift, dkernel, scratch)`; that at the result is dy + added + sloped * y.
    """
    code = Code("join_back", 16)
    groups = code.named(3, 3, 4, 2, 3, 1)
    (middles, gain, shift), (turned, ones, shares), outer, (dends, dmiddles), (*to_map, gradient), (room,) = groups
    scratch, tower, back = Scratch(code, room), form.tower, form.last.transposed()
    double, behind, window = scratch.room(form.last), scratch.room(back), scratch.room(form.mean.transposed())
    dx, whole = scratch.plane(form.sides, tower), scratch.plane(form.sides, 4 * tower)
    at_tower, at_all = Pixels(code, form.sides, tower, most), Pixels(code, form.sides, 4 * tower, most)
    dy, y, added, sloped = outer

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
        add_kernel_gradient(code, form.last, most, double.whole, behind.inside, gradient)
        correlate(code, back, most, behind.whole, turned, dx)
        at_tower.map_back(middle, gain, shift, dx, to_middle, to_map, False)
        at_tower.scaled(mean, _of_all(code, shares, form), window.inside)
        correlate(code, form.mean.transposed(), most, window.whole, ones, to_summand)
        return []

    code.clear(gradient, form.last.kernel[0] * form.last.kernel[1] * tower * tower)
    for total in to_map:
        code.clear(total, tower)
    code.clear(room, scratch.size)
    code.loop(form.pictures, picture)
    return Written(code.text(), scratch.size)


def _side_by_side(code: Code, plane: Plane, channels: int, count: int) -> list[Plane]:
    """The pictures of so many channels each that a wider one holds."""
    return [plane._replace(offset=code.sum(plane.offset, i * channels)) for i in range(count)]


def _of_all(code: Code, array: Value, form: Joining) -> Plane:
    """A picture that is the same for the whole batch."""
    return of_batch(code, array, code.at(0), form.sides, form.tower)._replace(following=0)
