"""Convolutions that follow one another, from one BatchNorm's map to the sums of the next, as code: picture by picture.

BatchNorm has to wait for the whole batch, so what stands in front of it is written and read again. All else stays in a
core's cache here: a picture is mapped while it is read, goes through its convolutions, and is summed when it is
written; the gradient computes what lies between anew, picture by picture too (`bench.floor` counts these bytes).
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dsresearch.operators.native.code import Code, Value
from dsresearch.operators.native.kernels import Plane, Shape
from dsresearch.operators.native.loops import Loops
from dsresearch.operators.native.pixels import Pixels
from dsresearch.operators.native.rooms import Room, Scratch, of_batch

Shapes = tuple[tuple[int, ...], ...]  # of arrays


@dataclass(frozen=True)
class Passage:
    """What a batch passes.

    Attributes:
        pictures: of the batch.
        links: the convolutions, each of which reads what the one before gives.
        mapped: whether the first reads relu(x * gain + shift), channel by channel, in place of x.
        pooled: whether it reads the 2 x 2 maxima of that.
        identity: whether what the first reads is added to what the last gives.
        beside: whether relu(z * gain + shift) of other pictures z is added to it.
        summed: whether sums and sums of squares of the result, channel by channel, are asked for.

    Raises:
        ValueError: a convolution reads other pictures than the one before gives, or an identity is added to others.
    """

    pictures: int
    links: tuple[Shape, ...]
    mapped: bool = False
    pooled: bool = False
    identity: bool = False
    beside: bool = False
    summed: bool = False

    def __post_init__(self) -> None:
        first, last = self.links[0], self.links[-1]
        joints = [*itertools.pairwise(self.links), *([(last, first)] if self.identity else [])]
        for link, following in joints:
            made, read = (*link.made, link.filters), (*following.stored, following.channels)
            if made != read:
                raise ValueError(f"pictures {made} of a convolution do not fit what is {read}")

    @property
    def sides(self) -> tuple[int, int]:
        """Of the pictures that it reads."""
        rows, columns = self.links[0].stored
        return (2 * rows, 2 * columns) if self.pooled else (rows, columns)

    @property
    def result(self) -> tuple[int, int]:
        """Sides of the pictures that it gives."""
        return self.links[-1].made

    @property
    def reads(self) -> list[Shapes]:
        """Shapes of the pictures, of their map, of the kernels, and of what is beside with its map."""
        x, weights = (self.pictures, *self.sides, self.links[0].channels), (link.weights for link in self.links)
        beside = (self.gives, *[self.gives[-1:]] * 2) if self.beside else ()
        return [(x,), (x[-1:],) * (2 * self.mapped), tuple(weights), beside]

    @property
    def gives(self) -> tuple[int, ...]:
        """Shape of the result."""
        return (self.pictures, *self.result, self.links[-1].filters)


class Written(NamedTuple):
    """Code, the shapes of the arrays that it takes and gives, and the numbers of scratch that are its last array."""

    text: str
    takes: Shapes
    gives: Shapes
    scratch: int


class Arrays(NamedTuple):
    """Shapes of the arrays that code takes and gives, in groups."""

    takes: Sequence[Shapes]
    gives: Sequence[Shapes]

    def code(self, name: str) -> tuple[Code, list[list[Value]]]:
        """The beginning of a function of these arrays and of scratch behind them, and all of them in their groups."""
        counts = [len(group) for group in (*self.takes, *self.gives)]
        code = Code(name, sum(counts) + 1)
        return code, code.named(*counts, 1)

    def written(self, code: Code, scratch: int) -> Written:
        """The code, which ends here."""
        return Written(code.text(), _flat(self.takes), _flat(self.gives), scratch)


def _flat(groups: Iterable[Shapes]) -> Shapes:
    return tuple(itertools.chain.from_iterable(groups))


def forward(passage: Passage, most: int) -> Written:
    """Code of `forward(x, [gain, shift,] *kernels, [z, its gain, shift,] y, [total, squares,] scratch)`.

    In vectors of `most` lanes.
    """
    links, result = passage.links, passage.gives
    arrays = Arrays(passage.reads, [(result,), (result[-1:],) * (2 * passage.summed)])
    code, ((x,), affine, kernels, beside, (y,), totals, (scratch,)) = arrays.code("forward")
    way = _Way(code, passage, most, x, affine, kernels, scratch)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        read, result = way.read(n), way.result(y, n)
        way.loops.correlate(links[-1], read[-1].whole, kernels[-1], result)
        if passage.identity:
            way.at_last.add(result, read[0].inside)
        if beside:
            z, gain, shift = beside
            way.at_last.add_mapped(way.result(z, n), gain, shift, result)
        if passage.summed:
            way.at_last.add_sums(result, *totals)
        return []

    for total in totals:
        code.clear(total, links[-1].filters)
    code.clear(scratch, way.scratch.size)
    code.loop(passage.pictures, picture)
    return arrays.written(code, way.scratch.size)


def backward(passage: Passage, inward: bool, most: int) -> Written:
    """Code of the gradients at the kernels, at what is `beside`, and, where asked for, `inward`: at x, gain and shift.

    `backward(x, [gain, shift,] *kernels, *turned, [z, its gain, shift,] dy, [y, added, sloped,]
    [dx, [dgain, dshift,]] *dkernels, [dz, its dgain, dshift,] scratch)`: the gradient at the result is
    dy + added + sloped * y, where the sums are asked for. `turned` are the kernels of the transposed convolutions.
    """
    links, result = passage.links, passage.gives
    pictures, maps, weights, others = passage.reads
    through_sums = (result, *[result[-1:]] * 2) if passage.summed else ()
    turned_weights = tuple(link.transposed().weights for link in links)
    takes = [pictures, maps, weights, turned_weights, others, (result,), through_sums]
    arrays = Arrays(takes, [pictures * inward, maps * inward, weights, others])
    code, ((x,), affine, kernels, turned, beside, (dy,), behind_sums, *results) = arrays.code("backward")
    inner, to_map, gradients, to_beside, (scratch,) = results
    way = _Way(code, passage, most, x, affine, kernels, scratch)
    back = _Back(way, turned, dy, behind_sums)

    def picture(n: Value, _: list[Value]) -> list[Value]:
        read, at_result = way.read(n), back.enter(n)
        if beside:
            (z, gain, shift), (dz, *to_its_map) = beside, to_beside
            way.at_last.map_back(way.result(z, n), gain, shift, at_result.inside, way.result(dz, n), to_its_map, False)
        dy = at_result
        for i in reversed(range(len(links))):
            way.loops.add_kernel_gradient(links[i], read[i].whole, dy.inside, gradients[i])
            if i == 0 and not inward:
                return []
            dy = back.through(i, n, dy, read[i], inner)
        if passage.identity:
            way.at_first.add(dy.inside, at_result.inside)
        if passage.mapped:
            way.leave(n, dy.inside, inner[0], to_map)
        return []

    for gradient, link in zip(gradients, links, strict=True):
        code.clear(gradient, math.prod(link.weights))
    for total in to_map:
        code.clear(total, links[0].channels)
    for total in to_beside[1:]:
        code.clear(total, links[-1].filters)
    code.clear(scratch, way.scratch.size)
    code.loop(passage.pictures, picture)
    return arrays.written(code, way.scratch.size)


class _Way:
    """From a batch's pictures to what the links of a passage read, and back through its map."""

    def __init__(
        self, code: Code, passage: Passage, most: int, x: Value, affine: list[Value], kernels: list[Value], room: Value
    ) -> None:
        self.code, self.passage, self.most = code, passage, most
        self.x, self.affine, self.kernels = x, affine, kernels
        self.scratch = Scratch(code, room)
        self.loops = Loops(code, most, self.scratch)
        self.rooms = [self.scratch.room(link) for link in passage.links]
        self.at_first = Pixels(code, passage.links[0].stored, passage.links[0].channels, most)
        self.at_last = Pixels(code, passage.result, passage.links[-1].filters, most)

    def picture(self, array: Value, n: Value) -> Plane:
        """Picture n of the batch, or the gradient at it."""
        return of_batch(self.code, array, n, self.passage.sides, self.passage.links[0].channels)

    def result(self, array: Value, n: Value) -> Plane:
        """What picture n becomes, or the gradient at that."""
        return of_batch(self.code, array, n, self.passage.result, self.passage.links[-1].filters)

    def read(self, n: Value) -> list[Room]:
        """What every link reads of picture n."""
        read, links = [self._enter(n)], self.passage.links
        for link, following, kernel, room in zip(links, links[1:], self.kernels, self.rooms[1:], strict=False):
            self.loops.correlate(link, read[-1].whole, kernel, room.inside)
            if link.relu:
                Pixels(self.code, following.stored, following.channels, self.most).relu(room.inside)
            read.append(room)
        return read

    def _enter(self, n: Value) -> Room:
        """What the first link reads."""
        source, room = self.picture(self.x, n), self.rooms[0]
        if self.passage.mapped:
            gain, shift = self.affine
            self.at_first.map(source, gain, shift, room.inside, self.passage.pooled)
        elif self.passage.links[0].padded:
            self.at_first.copy(source, room.inside)
        else:
            return Room(source, source)
        return room

    def leave(self, n: Value, behind: Plane, dx: Value, to_map: list[Value]) -> None:
        """The gradients at x, gain and shift, from that at what the first link reads."""
        source, target, (gain, shift) = self.picture(self.x, n), self.picture(dx, n), self.affine
        self.at_first.map_back(source, gain, shift, behind, target, to_map, self.passage.pooled)


class _Back:
    """From the gradient at what pictures become to those at what the links read of them."""

    def __init__(self, way: _Way, turned: list[Value], dy: Value, through_sums: list[Value]) -> None:
        self.way, self.turned, self.dy, self.through_sums = way, turned, dy, through_sums
        links = way.passage.links
        self.links = [link.transposed() for link in links]
        self.rooms = [way.scratch.room(link) for link in self.links]
        self.first = way.scratch.plane(links[0].stored, links[0].channels)

    def enter(self, n: Value) -> Room:
        """The gradient at picture n's result: dy, and what comes through the sums where they are asked for."""
        given, room = self.way.result(self.dy, n), self.rooms[-1]
        if self.through_sums:
            y, added, sloped = self.through_sums
            self.way.at_last.add_slopes(given, self.way.result(y, n), added, sloped, room.inside)
        elif self.links[-1].padded:
            self.way.at_last.copy(given, room.inside)
        else:
            return Room(given, given)
        return room

    def through(self, i: int, n: Value, dy: Room, read: Room, dx: list[Value]) -> Room:
        """The gradient at what link i reads, in front of a ReLU of the link before, from that at what it gives."""
        code, most, links = self.way.code, self.way.most, self.way.passage.links
        room = self.rooms[i - 1] if i else self._first(n, dx)
        self.way.loops.correlate(self.links[i], dy.whole, self.turned[i], room.inside)
        if i and links[i - 1].relu:
            Pixels(code, links[i].stored, links[i].channels, most).relu_back(room.inside, read.inside)
        return room

    def _first(self, n: Value, dx: list[Value]) -> Room:
        """For what the first link reads: the gradient at the picture itself where no map stands between."""
        plane = self.first if self.way.passage.mapped else self.way.picture(dx[0], n)
        return Room(plane, plane)
