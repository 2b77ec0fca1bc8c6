"""Writing LLVM code: a function over arrays of float32, with counted loops and vectors of lanes.

A thin layer over llvmlite's builder, so that the kernels read as the loops that they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

Value = Any  # an ir.Value (llvmlite has no types), or, where an offset is meant, a number
Body = Callable[[Value, list[Value]], list[Value]]

INT, FLOAT, NOTHING = ir.IntType(64), ir.FloatType(), ir.VoidType()
POINTER = ir.PointerType()

_WORD = ir.IntType(32)
_NOT_VOLATILE = ir.Constant(ir.IntType(1), 0)
_TO_READ, _INTO_A_CORES_OWN_CACHE, _DATA = (ir.Constant(_WORD, number) for number in (0, 2, 1))


class Code:
    """The body of a function of arrays of float32 that do not overlap, which gives nothing if not said otherwise."""

    def __init__(self, name: str, arrays: int, gives: Any = NOTHING) -> None:
        self.module = ir.Module(name=name)
        self.function = ir.Function(self.module, ir.FunctionType(gives, [POINTER] * arrays), name=name)
        for argument in self.function.args:
            argument.add_attribute("noalias")
        self.arrays: Sequence[Value] = self.function.args
        self.builder = ir.IRBuilder(self.function.append_basic_block())

    def text(self, result: Value = None) -> str:
        """The code, which ends here."""
        if result is None:
            self.builder.ret_void()
        else:
            self.builder.ret(result)
        return str(self.module)

    def named(self, *counts: int) -> list[list[Value]]:
        """The arrays in groups of so many, in order."""
        rest = iter(self.arrays)
        return [[next(rest) for _ in range(count)] for count in counts]

    # --- offsets and loops ---

    def at(self, offset: Value) -> Value:
        """An offset, or the one that a number is."""
        return ir.Constant(INT, offset) if isinstance(offset, int) else offset

    def sum(self, *terms: Value) -> Value:
        """The sum of offsets."""
        total = self.at(terms[0])
        for term in terms[1:]:
            total = self.builder.add(total, self.at(term))
        return total

    def times(self, offset: Value, factor: int) -> Value:
        """A multiple of an offset."""
        return self.builder.mul(self.at(offset), self.at(factor))

    def loop(self, count: Value, body: Body, carried: Sequence[Value] = ()) -> list[Value]:
        """`carried = body(i, carried)` for i in range(count); gives the last `carried`."""
        if isinstance(count, int) and count < 2:
            return body(self.at(0), list(carried)) if count else list(carried)
        before = self.builder.block
        top, inside, after = (self.function.append_basic_block() for _ in range(3))
        self.builder.branch(top)
        self.builder.position_at_end(top)
        i, *values = [self.builder.phi(kind) for kind in (INT, *(value.type for value in carried))]
        self.builder.cbranch(self.builder.icmp_unsigned("<", i, self.at(count)), inside, after)
        self.builder.position_at_end(inside)
        results = [*body(i, values), self.sum(i, 1)]
        for phi, first, then in zip([*values, i], [*carried, self.at(0)], results, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, self.builder.block)
        self.builder.branch(top)
        self.builder.position_at_end(after)
        return values

    # --- arrays ---

    def pointer(self, array: Value, offset: Value) -> Value:
        """To an element."""
        return self.builder.gep(array, [self.at(offset)], source_etype=FLOAT)

    def load(self, array: Value, offset: Value, lanes: int) -> Value:
        """So many numbers side by side."""
        return self.builder.load(self.pointer(array, offset), align=4, typ=ir.VectorType(FLOAT, lanes))

    def store(self, value: Value, array: Value, offset: Value) -> None:
        """What `load` reads."""
        self.builder.store(value, self.pointer(array, offset), align=4)

    def prefetch(self, array: Value, offset: Value) -> None:
        """Begin to bring a cache line near, before it is asked for; past the array's end it is nothing."""
        self._call("llvm.prefetch.p0", NOTHING, self.pointer(array, offset), _TO_READ, _INTO_A_CORES_OWN_CACHE, _DATA)

    def add_to(self, array: Value, offset: Value, value: Value) -> None:
        """Add a vector to what lies there."""
        self.store(self.add(self.load(array, offset, value.type.count), value), array, offset)

    def copy(self, source: Value, from_: Value, target: Value, to: Value, count: int) -> None:
        """So many numbers of one array into another."""
        places = [self.pointer(target, to), self.pointer(source, from_)]
        self._call("llvm.memcpy.p0.p0.i64", NOTHING, *places, self.at(4 * count), _NOT_VOLATILE)

    def clear(self, array: Value, count: int) -> None:
        """Make the first numbers of an array zeros."""
        zero = ir.Constant(ir.IntType(8), 0)
        self._call("llvm.memset.p0.i64", NOTHING, array, zero, self.at(4 * count), _NOT_VOLATILE)

    # --- vectors ---

    def zeros(self, lanes: int) -> Value:
        """A vector of them."""
        return ir.Constant(ir.VectorType(FLOAT, lanes), [0.0] * lanes)

    def pick(self, vector: Value, lanes: Sequence[int]) -> Value:
        """The vector of these lanes of another one."""
        mask = ir.Constant(ir.VectorType(_WORD, len(lanes)), list(lanes))
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def without(self, vector: Value, lanes: int) -> Value:
        """A vector with zeros in its first lanes."""
        if not lanes:
            return vector
        size = vector.type.count
        both = list(range(size, size + lanes)) + list(range(lanes, size))
        mask = ir.Constant(ir.VectorType(_WORD, size), both)
        return self.builder.shuffle_vector(vector, self.zeros(size), mask)

    def everywhere(self, array: Value, offset: Value, lanes: int) -> Value:
        """One number of an array in all lanes."""
        return self.pick(self.load(array, offset, 1), [0] * lanes)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once."""
        return self._call(f"llvm.fma.v{a.type.count}f32", a.type, a, b, c)

    def add(self, a: Value, b: Value) -> Value:
        """a + b."""
        return self.builder.fadd(a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        """a - b."""
        return self.builder.fsub(a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        """a * b."""
        return self.builder.fmul(a, b)

    def where_above(self, a: Value, b: Value, then: Value, otherwise: Value) -> Value:
        """`then` in the lanes where a > b, which no NaN is."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), then, otherwise)

    def maximum(self, a: Value, b: Value) -> Value:
        """The larger; b where one of them is NaN, so that a NaN in a is lost."""
        return self.where_above(a, b, a, b)

    def _call(self, intrinsic: str, gives: Value, *arguments: Value) -> Value:
        """One of LLVM's own functions."""
        kind = ir.FunctionType(gives, [argument.type for argument in arguments])
        function = self.module.globals.get(intrinsic) or ir.Function(self.module, kind, intrinsic)
        return self.builder.call(function, arguments)
