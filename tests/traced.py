"""What a network really holds and computes, found by building and tracing it: the oracle of closed-form costs."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from dsresearch.cost import Cost
from dsresearch.operators import convolution


def equations(program: Any) -> Iterator[Any]:
    """The equations of a traced program and of every program inside."""
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                if hasattr(inner, "jaxpr") or hasattr(inner, "eqns"):
                    yield from equations(getattr(inner, "jaxpr", inner))


def multiply_adds(equation: Any) -> int:
    """Of one operation: of a product or a convolution, by the shapes of what goes in and comes out."""
    if equation.primitive.name not in ("dot_general", "conv_general_dilated"):
        return 0
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    outputs = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return outputs * math.prod(left[axis] for axis in contracted)
    return outputs * math.prod(right) // right[equation.params["dimension_numbers"].rhs_spec[0]]


def traced(network: nn.Module, size: tuple[int, int], channels: int) -> Cost:
    """What a network really holds and computes: spatial convolutions are traced as the library's, for its shapes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "algorithm", lambda backend, inputs, groups, ours: "library")
        image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
        variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, True), image)
        program = jax.make_jaxpr(lambda variables, x: network.apply(variables, x, False))(variables, image)
    leaves = {kind: sum(leaf.size for leaf in jax.tree.leaves(variables.get(kind, {}))) for kind in ("params", "stats")}
    return Cost(leaves["params"], leaves["stats"], sum(map(multiply_adds, equations(program.jaxpr))))
