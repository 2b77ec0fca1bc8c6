"""What is proven about the formulations, each pair with its evidence (`dsresearch verify`, exactness.json of a study).

`exact`: one function, weights carry over by index maps, outputs and gradients agree to 1e-10 in float64. `reparam`: the
same set of functions under linear maps of the weights. `distinct`: a map of one that the other's best fit misses by
1e-3 or more, relative.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from dsresearch.design import SETUPS, Design, setup
from dsresearch.exactness.classes import Pair, classify

__all__ = ["Pair", "classify", "document", "formulations", "main", "render", "sound"]


def formulations() -> dict[str, Design]:
    """What `verify` compares: the named setups and the points where identities are expected."""
    none = {"activation": "none", "normalise": False}
    s = {"activation": "relu", "normalise": True}
    channels = Design().widths[-1]  # as many groups as channels in every stage
    points = {
        **{f"{name} with s": setup(name, **s) for name in ("separable", "separable_strict", "hybrid")},
        "super_separable G=1": setup("super_separable", groups=1),
        "separable q=9": setup("separable", multiplier=9),
        "inception_extreme without s": setup("inception_extreme", **none),
        "grouped G=C spatial_first": setup("grouped", groups=channels),
        "grouped G=C pointwise_first": setup("grouped", groups=channels, order="pointwise_first"),
        "grouped G=4 pointwise_first": setup("grouped", groups=4, order="pointwise_first"),
        "grouped G=4 pointwise_first with s": setup("grouped", groups=4, order="pointwise_first", **s),
    }
    return {**{name: setup(name) for name in SETUPS}, **points}


def sound(pairs: Iterable[Pair]) -> bool:
    """Whether no map failed and no pair was left undecided."""
    return all(pair.passed and pair.relation != "undecided" for pair in pairs)


def document(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The pairs as JSON (the content of exactness.json)."""
    return {"pairs": [pair.record() for pair in pairs]}


def render(pairs: Sequence[Pair]) -> str:
    """The pairs as a text table: the related ones first, then the distinct ones, then what failed or is undecided."""
    header = ("a", "b", "class", "output f64", "gradient f64", "output f32", "same bits", "params", "method", "witness")
    order = ("exact", "reparam", "distinct", "undecided")
    rows = [_cells(pair) for pair in sorted(pairs, key=lambda pair: order.index(pair.relation))]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    counts = ", ".join(f"{sum(pair.relation == word for pair in pairs)} {word}" for word in order)
    return "\n".join([*(line.rstrip() for line in lines), f"{len(pairs)} pairs: {counts}"])


def _cells(pair: Pair) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.1e}" if value else "0"

    bits = {None: "-", True: "yes", False: "no"}[pair.same_bits]
    return (
        pair.a,
        pair.b,
        pair.relation if pair.passed else "FAILED",
        number(pair.max_rel_out_f64),
        number(pair.max_rel_grad_f64),
        number(pair.max_rel_out_f32),
        bits,
        "equal" if pair.params_equal else "differ",
        pair.method or "-",
        f"{number(pair.witness)} {pair.detail}".strip() if pair.witness is not None else pair.detail or "-",
    )


def main(as_json: bool) -> int:
    """`dsresearch verify`: print every pair, progress on stderr; 0 where all is proven, else 1."""
    pairs = classify(formulations(), said=lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(document(pairs), indent=1) if as_json else render(pairs))
    return 0 if sound(pairs) else 1
