"""What may vary: a module's design, a training recipe, a protocol, and the named points among them.

Everything here is a frozen dataclass of plain values, validated when it is made, without jax, so that a plan
of ten thousand cells can be checked, hashed and printed in a second. An error is one line: the argument, its value,
what is allowed.

Where the hybrid paper (Ghosh 2017, arXiv:1701.04489) leaves a choice open, it is a field with a recorded default.
"""

from dsresearch.design.identity import digest, identity, seed_of
from dsresearch.design.inputs import InputError, nearest, number, one_of, replace, whole
from dsresearch.design.module import (
    ACTIVATIONS,
    FORMULATIONS,
    GROUPED,
    MATCHES,
    ORDERS,
    SETUPS,
    STAGES,
    Design,
    bsconv_s_rank,
    setup,
)
from dsresearch.design.protocol import KERNELS, SPLITS, Protocol
from dsresearch.design.recipe import DTYPES, Recipe

__all__ = [
    "ACTIVATIONS",
    "DTYPES",
    "FORMULATIONS",
    "GROUPED",
    "KERNELS",
    "MATCHES",
    "ORDERS",
    "SETUPS",
    "SPLITS",
    "STAGES",
    "Design",
    "InputError",
    "Protocol",
    "Recipe",
    "bsconv_s_rank",
    "digest",
    "identity",
    "nearest",
    "number",
    "one_of",
    "replace",
    "seed_of",
    "setup",
    "whole",
]
