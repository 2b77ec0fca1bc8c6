"""Which designs are one function: every pair that has maps is measured, what is left needs a witness.

First the classes: pairs with maps both ways are compared on the same weights. Then one member of each class is
compared with one of each other class, because members of a class are one set of functions.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dsresearch.design import Design, one_of
from dsresearch.exactness.measure import (
    Bits,
    cases,
    difference,
    leaves,
    module,
    network,
    random_weights,
    relative,
    same_bits,
    shallow,
    shapes,
    side_by_side,
    step_bits,
)
from dsresearch.exactness.witness import measure, side_for, witness
from dsresearch.schema import EXACT
from dsresearch.transport import transport

SEED = 20170118  # of weights and pictures, so that a table comes out the same again

Said = Callable[[str], None]


@dataclass(frozen=True)
class Pair:
    """How two formulations are related, and by what evidence.

    Attributes:
        a, b: names of the designs.
        relation: `exact` (one function, weights only stored otherwise), `reparam` (the same functions under linear maps
            of the weights), `distinct` (a witness was found), `undecided` (neither: no claim).
        max_rel_out_f64, max_rel_grad_f64: largest relative difference of outputs and of gradients on transported
            weights, both ways; None where there is no map.
        max_rel_out_f32: of the study network's logits in float32, for exact pairs.
        params_equal: whether they have as many parameters at every shape of the network.
        method: `index map`, `linear map`, or that of the witness: `closed-form`, `lower-bound`, `fit`.
        witness: by how much the best fit misses the witness, relative.
        same_bits: for exact pairs, whether the study's network with one module a stage gives the same bits in float32,
            compiled as for training: logits, loss, statistics, and gradients of all weights.
        passed: False where weights that a map claims to carry give another function: a wrong map.
        detail: what the witness shows, or why there is no comparison.
    """

    a: str
    b: str
    relation: str = "undecided"
    max_rel_out_f64: float | None = None
    max_rel_grad_f64: float | None = None
    max_rel_out_f32: float | None = None
    params_equal: bool = False
    method: str = ""
    witness: float | None = None
    same_bits: bool | None = None
    passed: bool = True
    detail: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON: `relation` is called `class`."""
        return {"class" if name == "relation" else name: value for name, value in vars(self).items()}


def classify(
    designs: Mapping[str, Design], *, baseline: str = "", bits: bool = True, said: Said = lambda text: None
) -> list[Pair]:
    """How every two of the named designs are related, or each one to the baseline.

    Args:
        designs: by name; modules are compared at the shapes that the study's network of their width and depth has, so
            that a group count means what it means there.
        baseline: compare only with this one.
        bits: also run the networks of exact pairs in float32.
        said: is told how far it is.

    Raises:
        InputError: the baseline is not among the designs.
    """
    if baseline:
        one_of("baseline", baseline, designs)
    pairs = [
        Pair(a, b, params_equal=_counts(designs[a]) == _counts(designs[b]))
        for a, b in itertools.combinations(sorted(designs, key=lambda name: name != baseline), 2)
        if not baseline or a == baseline
    ]
    known = _measured(pairs, designs, said)
    found = _told_apart([known.get((pair.a, pair.b), pair) for pair in pairs], designs, said)
    return _with_bits(found, designs, said) if bits else found


def _counts(design: Design) -> list[int]:
    rng = np.random.default_rng(0)
    return [sum(leaf.size for leaf in leaves(random_weights(design, *shape, rng)[0])) for shape in shapes(design)]


def _comparable(a: Design, b: Design) -> bool:
    return (a.width, a.depth) == (b.width, b.depth)


# --- the classes ------------------------------------------------------------------------------------------------


def _measured(pairs: Sequence[Pair], designs: Mapping[str, Design], said: Said) -> dict[tuple[str, str], Pair]:
    """The pairs that have maps both ways, with their relation."""
    mapped = [pair for pair in pairs if _has_maps(designs[pair.a], designs[pair.b])]
    needed = dict.fromkeys(designs[name] for pair in mapped for name in (pair.a, pair.b))
    tasks = [partial(module, design, case) for design in needed for case in cases(design, SEED)]
    side_by_side(tasks, said, "modules compiled")
    return {(pair.a, pair.b): _compared(pair, designs[pair.a], designs[pair.b]) for pair in mapped}


def _has_maps(a: Design, b: Design) -> bool:
    """Whether weights can be carried both ways at every shape of the network."""
    if not _comparable(a, b):
        return False
    rng = np.random.default_rng(SEED)
    try:
        for shape in shapes(a):
            transport(*random_weights(a, *shape, rng), a, b, *shape)
            transport(*random_weights(b, *shape, rng), b, a, *shape)
    except ValueError:
        return False
    return True


def _compared(pair: Pair, a: Design, b: Design) -> Pair:
    """A pair with maps both ways: the worst of all cases in both directions decides."""
    rng = np.random.default_rng(SEED)
    found = [difference(*way, case, rng) for case in cases(a, SEED) for way in ((a, b), (b, a))]
    output = max(one.output for one in found)
    gradients = [one.gradient for one in found if one.gradient is not None]
    pair = dataclasses.replace(pair, max_rel_out_f64=output, max_rel_grad_f64=max(gradients, default=None))
    if len(gradients) == len(found) and pair.params_equal:
        relation, method, worst = "exact", "index map", max(output, *gradients)
    else:
        relation, method, worst = "reparam", "linear map", output
    if worst <= EXACT:
        return dataclasses.replace(pair, relation=relation, method=method)
    detail = f"the {method} is wrong: transported weights give another function"
    return dataclasses.replace(pair, passed=False, method=method, detail=detail)


# --- what tells classes apart -----------------------------------------------------------------------------------


def _told_apart(pairs: Sequence[Pair], designs: Mapping[str, Design], said: Said) -> list[Pair]:
    """The pairs, with a witness for those that no map relates, found between representatives of their classes."""
    first = _representatives(pairs, designs)
    left = [pair for pair in pairs if pair.relation == "undecided" and pair.passed]
    between = {pair: (first[pair.a], first[pair.b]) for pair in left if _comparable(designs[pair.a], designs[pair.b])}
    wanted = list(dict.fromkeys(between.values()))
    needed = dict.fromkeys(designs[name] for names in wanted for name in names)
    side = side_for(needed) if needed else 0
    tasks = [partial(measure, design, *shapes(design)[0], side, SEED) for design in needed]
    side_by_side(tasks, said, "maps measured")
    found = {}
    for number, (a, b) in enumerate(wanted, 1):
        found[a, b] = witness(designs[a], designs[b], side, SEED)
        if number % 20 == 0 or number == len(wanted):
            said(f"pairs of classes told apart: {number} of {len(wanted)}")
    out = []
    for pair in pairs:
        seen = found[between[pair]] if pair in between else None
        if seen:
            pair = dataclasses.replace(
                pair, relation="distinct", method=seen.method, witness=seen.miss, detail=seen.detail
            )
        elif pair in left:
            other = "" if pair in between else "networks of other width or depth are not compared"
            pair = dataclasses.replace(pair, detail=other or "no map, and no witness found")
        out.append(pair)
    return out


def _representatives(pairs: Sequence[Pair], designs: Mapping[str, Design]) -> dict[str, str]:
    """For each name the first of its class: names that exact and reparam pairs connect."""
    first = {name: name for name in designs}
    for pair in pairs:
        if pair.relation in ("exact", "reparam"):
            old, new = first[pair.b], first[pair.a]
            first = {name: new if one == old else one for name, one in first.items()}
    return first


# --- bits -------------------------------------------------------------------------------------------------------


def _with_bits(pairs: Sequence[Pair], designs: Mapping[str, Design], said: Said) -> list[Pair]:
    """The pairs, the exact ones with what their networks do in float32."""
    exact = [pair for pair in pairs if pair.relation == "exact"]
    first = _representatives(exact, designs)
    families: dict[str, dict[str, Design]] = {}
    for name in dict.fromkeys(name for pair in exact for name in (pair.a, pair.b)):
        families.setdefault(first[name], {})[name] = shallow(designs[name])
    tasks = [partial(network, design) for family in families.values() for design in family.values()]
    side_by_side(tasks, said, "networks compiled")
    results: dict[str, Bits] = {}
    for reference, family in families.items():
        ran = step_bits(shallow(designs[reference]), family.values(), SEED)
        results |= {name: ran[design] for name, design in family.items()}
    return [
        dataclasses.replace(
            pair,
            same_bits=same_bits(results[pair.a], results[pair.b]),
            max_rel_out_f32=relative(results[pair.a].logits, results[pair.b].logits),
        )
        if pair in exact
        else pair
        for pair in pairs
    ]
