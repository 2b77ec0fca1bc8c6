"""A map of one formulation that another cannot express, with a bound on how far the other's best fit stays away.

A random map of `a` is measured on pictures chosen for what they reveal. What every map of `b` has in common (a dense
kernel of bounded rank, linearity, a small window, few inner channels, convexity in one number) then bounds from below
how near any of them comes, relative to the norm of a's answers. Where nothing bounds, `fit` searches, and counts only
if it also finds maps that are there. BatchNorm stands at its running statistics throughout.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from dsresearch.design import Design
from dsresearch.exactness import fit
from dsresearch.exactness.measure import Floats, evaluation, random_weights, shapes
from dsresearch.fused_form import convolutions
from dsresearch.transport import best_fit, dense_kernel, describe, framed, has_identity, identity_kernel

MISS = 1e-3  # a witness is missed by at least so much, relative
_ROUNDING = 1e-11  # relative, float64
_WINDOWS, _SAMPLES, _ACTIVE, _TRIPLES, _TARGETS = 24, 240, 4, 12, 3


class Witness(NamedTuple):
    """A map that is missed: by how much, found how (`closed-form`, `lower-bound` or `fit`), and what it shows."""

    miss: float
    method: str
    detail: str


def witness(a: Design, b: Design, side: int, seed: int) -> Witness | None:
    """A map of one that the other's best fit misses by MISS or more, at the first shape of the network that has one.

    Args:
        a, b: designs of one width and depth.
        side: of the pictures that maps are measured on, pixels; see `side_for`.
        seed: of the random maps and pictures.
    """
    wanted = shapes(a)
    for c_in, c_out in wanted:
        found = [bounded(one, two, c_in, c_out, side, seed) for one, two in ((a, b), (b, a))]
        best = max(found, key=lambda one: one.miss)
        if best.miss >= MISS:
            return best
    return _fitted(a, b, *wanted[-1], seed) or _fitted(b, a, *wanted[-1], seed)


def bounded(a: Design, b: Design, c_in: int, c_out: int, side: int, seed: int) -> Witness:
    """The largest lower bound on how far every map of `b` stays from a random map of `a`."""
    answers = measure(a, c_in, c_out, side, seed)
    found = [Witness(*bound(answers, b, c_in, c_out)) for bound in (_kernel, _linear, _window, _rank, _convex)]
    best = max(found, key=lambda one: one.miss)
    return best._replace(detail=f"{best.detail} (a map of {describe(a)}, {c_in} -> {c_out} channels)")


def _reach(design: Design) -> int:
    """Side of the window that an output pixel can depend on."""
    return 2 * design.kernel - 1 if design.formulation == "inception" else design.kernel


def side_for(designs: Iterable[Design]) -> int:
    """Side of pictures that hold the windows of all these designs."""
    return max(3, *map(_reach, designs))


# --- questions and answers --------------------------------------------------------------------------------------


class _Questions(NamedTuple):
    """Pictures [n, side, side, c_in] that a map is asked about.

    Attributes:
        impulses: one at the centre of each channel, and before them an empty picture.
        windows: random ones; behind them, for every smaller odd side, the same within that window and new outside.
        samples: random ones, zero in all but nine pixels and the first channels.
        triples: [pixels and channels, _TRIPLES, 3] of them with one number v - h, v, v + h at one pixel of one channel.
    """

    impulses: Floats
    windows: Floats
    samples: Floats
    triples: Floats


class _Answers(NamedTuple):
    """What a map says to each question at the centre pixel [n, c_out], to `impulses` and `windows` everywhere."""

    questions: _Questions
    impulses: Floats
    windows: Floats
    samples: Floats
    triples: Floats


@cache
def _questions(c_in: int, side: int, seed: int) -> _Questions:
    rng = np.random.default_rng(seed)
    centre, active = side // 2, min(c_in, _ACTIVE)
    impulses = np.zeros((1 + c_in, side, side, c_in))
    impulses[np.arange(1, 1 + c_in), centre, centre, np.arange(c_in)] = 1
    base = rng.standard_normal((_WINDOWS, side, side, c_in))
    changed = [base]
    for inner in range(1, side, 2):
        other = rng.standard_normal(base.shape)
        inside = slice(centre - inner // 2, centre + inner // 2 + 1)
        other[:, inside, inside] = base[:, inside, inside]
        changed.append(other)
    samples, middle = np.zeros((_SAMPLES, side, side, c_in)), slice(centre - 1, centre + 2)
    samples[:, middle, middle, :active] = rng.standard_normal((_SAMPLES, 3, 3, active)) * (c_in / active) ** 0.5
    places = [(centre - 1, centre, channel) for channel in range(active)]
    places += [(centre, centre, channel) for channel in range(active)]
    triples = np.zeros((len(places), _TRIPLES, 3, side, side, c_in))
    for number, (row, column, channel) in enumerate(places):
        value, step = rng.standard_normal((2, _TRIPLES, 1)) * c_in**0.5
        value[::2] = 0  # without BatchNorm the bend is at zero
        triples[number, ..., row, column, channel] = value + step * np.array([-1, 0, 1])
    return _Questions(impulses, np.concatenate(changed), samples, triples.reshape(-1, side, side, c_in))


@cache
def measure(design: Design, c_in: int, c_out: int, side: int, seed: int) -> _Answers:
    """The answers of a random map of a design; the seed fixes the map and the questions."""
    questions = _questions(c_in, side, seed)
    weights = random_weights(design, c_in, c_out, np.random.default_rng(seed + 1))
    images = np.concatenate(questions)
    y = evaluation(design, c_in, c_out, len(images), side)(*weights, images)
    impulses, windows, samples, triples = np.split(y, np.cumsum([len(part) for part in questions])[:-1])
    centre = side // 2
    return _Answers(questions, impulses, windows, samples[:, centre, centre], triples[:, centre, centre])


# --- bounds: what every map of b has in common ------------------------------------------------------------------

Bound = tuple[float, str, str]
_NONE: Bound = (0.0, "lower-bound", "")


def _affine(design: Design) -> bool:
    """Whether a module at its running statistics is a linear map and an offset."""
    return design.activation == "none"


def _kernel(answers: _Answers, b: Design, c_in: int, c_out: int) -> Bound:
    """Two affine maps: the dense kernel of one against the nearest that the other can have."""
    y = answers.impulses
    kernel = (y[1:] - y[:1])[:, ::-1, ::-1].transpose(1, 2, 0, 3)  # an impulse shows the kernel turned round
    if not (_affine(b) and _is_affine(answers)) or b.formulation == "inception":
        return _NONE
    size = float(np.linalg.norm(kernel))
    inner = framed(kernel, b.kernel)
    outside = float(np.linalg.norm(kernel - framed(inner, len(kernel)))) if b.kernel < len(kernel) else 0.0
    inner = inner - identity_kernel(b, c_in, c_out)
    plain = dataclasses.replace(b, normalise=False, residual=False)
    fitted = best_fit(inner, plain, c_in, c_out)
    if fitted is not None:
        inside = float(np.linalg.norm(inner - dense_kernel(fitted, plain, c_in, c_out)))
    else:
        inside = _rank_tail(inner, plain, c_in, c_out)
    method = "lower-bound" if fitted is None else "closed-form"
    return math.hypot(outside, inside) / size, method, "nearest dense kernel, by singular values"


def _is_affine(answers: _Answers) -> bool:
    """Whether the answers to triples v - h, v, v + h lie on lines."""
    bend = _bends(answers.triples)
    return bool(np.abs(bend).max() <= _ROUNDING * np.abs(answers.triples).max())


def _rank_tail(kernel: Floats, design: Design, c_in: int, c_out: int) -> float:
    """A lower bound on the distance of [k, k, C, N] from the kernels of a formulation with three factors.

    Every unfolding of such a kernel to a matrix has a bounded rank; the largest of the distances to those ranks.
    """
    first, second, _ = convolutions(design, c_in, c_out)
    rank, groups = first.outputs, second.groups
    by_input = _tail(kernel.transpose(2, 0, 1, 3).reshape(c_in, -1), rank)
    if first.part == "reduce":  # of each output channel one blueprint, and all through the rank
        return max(by_input, math.hypot(*(_tail(kernel[..., n].reshape(-1, c_in), 1) for n in range(c_out))))
    by_output, by_tap = kernel.reshape(-1, c_out), kernel.reshape(design.kernel**2, -1)
    return max(by_input, _tail(by_output, rank), _tail(by_tap, groups * (rank // groups) ** 2))


def _tail(matrix: Floats, rank: int) -> float:
    """Distance of a matrix from those of a rank."""
    return float(np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[rank:]))


def _linear(answers: _Answers, b: Design, c_in: int, c_out: int) -> Bound:
    """Against a linear b: the best linear map of the samples, which no linear module beats on them."""
    if not _affine(b):
        return _NONE
    inputs = answers.questions.samples.reshape(_SAMPLES, -1)
    inputs = np.append(inputs[:, inputs.any(0)], np.full((_SAMPLES, 1), float(b.normalise)), axis=1)  # and an offset
    rest = answers.samples - inputs @ np.linalg.lstsq(inputs, answers.samples, rcond=None)[0]
    return float(np.linalg.norm(rest) / np.linalg.norm(answers.samples)), "lower-bound", "best linear map of samples"


def _window(answers: _Answers, b: Design, c_in: int, c_out: int) -> Bound:
    """Two pictures that are equal in b's window must get one answer: at best the mean of the two."""
    inner = _reach(b)
    side = answers.windows.shape[1]
    if inner >= side:
        return _NONE
    centre = answers.windows[:, side // 2, side // 2].reshape(-1, _WINDOWS, c_out)
    one, two = centre[0], centre[1 + inner // 2]
    miss = np.linalg.norm(one - two) / np.sqrt(2) / np.linalg.norm([one, two])
    return float(miss), "lower-bound", f"depends on pixels outside of {inner} x {inner}"


def _rank(answers: _Answers, b: Design, c_in: int, c_out: int) -> Bound:
    """Outputs of a b that ends in a 1x1 of few channels lie in a space of so many dimensions."""
    chain = convolutions(b, c_in, c_out)
    if not chain or chain[-1].part != "after" or chain[-1].inputs >= c_out:
        return _NONE
    rank = chain[-1].inputs
    y = answers.windows
    outputs = y - answers.questions.windows if has_identity(b, c_in, c_out) else y
    miss = _tail(outputs.reshape(-1, c_out), rank) / np.linalg.norm(y)
    return float(miss), "lower-bound", f"outputs span more than {rank} dimensions"


def _convex(answers: _Answers, b: Design, c_in: int, c_out: int) -> Bound:
    """With one unit between an input number and an output, the output is convex or concave in that number.

    To bring f(v - h) - 2 f(v) + f(v + h) from s to zero, the three values must move by |s| / sqrt(6) or more.
    """
    chain = convolutions(b, c_in, c_out)
    paths = [each.groups for each in chain if each.part == "spatial"]
    if len(chain) != 2 or [chain[0].outputs] != paths or _affine(b):
        return _NONE
    bend = _bends(answers.triples)  # relu and elu are convex
    up, down = ((np.maximum(sign * bend, 0) ** 2).sum(1) / 6 for sign in (1, -1))
    miss = np.sqrt(np.minimum(up, down).sum()) / np.linalg.norm(answers.triples)
    return float(miss), "lower-bound", "neither convex nor concave in one input number"


def _bends(triples: Floats) -> Floats:
    """Second differences [places, _TRIPLES, c_out]."""
    y = triples.reshape(-1, _TRIPLES, 3, triples.shape[-1])
    return y[:, :, 0] - 2 * y[:, :, 1] + y[:, :, 2]


# --- fits -------------------------------------------------------------------------------------------------------


def _fitted(a: Design, b: Design, c_in: int, c_out: int, seed: int) -> Witness | None:
    """Several maps of `a`, all of which the best fit of `b` misses although it finds as many maps of its own."""
    rng = np.random.default_rng(seed)
    images = fit.pictures(c_in, side_for((a, b)), rng)
    one, two = (fit.Part(design, c_out, images, rng) for design in (a, b))
    found = _all_of(lambda: two.miss(one.own_map()), fit.MISSED, np.inf)
    if found is None or _all_of(lambda: two.miss(two.own_map()), 0.0, fit.FOUND) is None:
        return None
    detail = f"best of {fit.STARTS} starts misses {_TARGETS} maps of {_TARGETS} and finds as many of its own"
    return Witness(min(found), "fit", f"{detail} (maps of {describe(a)}, {c_in} -> {c_out} channels)")


def _all_of(attempt: Callable[[], float], low: float, high: float) -> list[float] | None:
    """Results of _TARGETS attempts; None as soon as one of them is not within [low, high]."""
    found: list[float] = []
    while len(found) < _TARGETS:
        found.append(attempt())
        if not low <= found[-1] <= high:
            return None
    return found
