"""What an arm trains: the study's own stack, as a Design says, or a published network, fitted to the pictures."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dsresearch import cost
from dsresearch.data import Pictures
from dsresearch.design import SETUPS, STAGES, Design, InputError, one_of, replace, setup
from dsresearch.networks.catalogue import POINTS, known, named
from dsresearch.networks.vocabulary import Architecture

SMALLEST = 2 ** (STAGES - 1)  # pixels a side that the stack leaves one of, halving between its stages
Varied = Design | Architecture  # what may vary of an arm; both are frozen, validated and known by the name of a point


def is_published(point: str) -> bool:
    """Whether a named point is a published network; else it is one of the stack's setups."""
    return point not in SETUPS and known(point)


def is_proven(role: str, control: str, setup: str) -> bool:
    """Whether it is proven how a cell's function relates to the baseline's: a setup of the stack, whatever its match.

    None of the role `arm`: those are compared because they differ, and no verdict asks for their class.
    """
    return role != "arm" and control in ("", "exact") and not is_published(setup)


def check_point(name: str, arms: Mapping[str, str]) -> None:
    """Raise InputError unless a study whose arms start from these points can have an arm of that name.

    That is one of its own, or a point that has no other fields than they have.
    """
    fields = set(fields_of(arms.values()))
    points = [point for point in (*SETUPS, *POINTS) if fields.issuperset(fields_of([point]))]
    if not (is_published(name) and fields.issuperset(fields_of([name]))):
        one_of("setup", name, dict.fromkeys((*arms, *points)))


def fields_of(points: Iterable[str]) -> list[str]:
    """The names of what may vary of any of the named points."""
    kinds = dict.fromkeys(type(named(point)) if is_published(point) else Design for point in points)
    return list(dict.fromkeys(field.name for kind in kinds for field in dataclasses.fields(kind)))


def design_of(point: str, pictures: Pictures, changes: Mapping[str, Any]) -> Varied:
    """A named point with fields changed; a published network has the pictures' classes, channels and a side for them.

    Where the pictures are smaller than `image`, or than the network's strides leave whole if none is given, every pixel
    is repeated: their side is the least whole multiple that is large enough.

    Raises InputError for an unknown point, key or value, and where a stage vanishes at the side that was asked for.
    """
    side, across, channels = pictures.images.shape[1:]
    if not is_published(point):
        if min(side, across) < SMALLEST:
            raise InputError(
                f"data={pictures.name!r} is not allowed with {point!r}: sides of {SMALLEST} pixels or more, not "
                f"{side} x {across}"
            )
        return setup(point, **changes)
    if side != across:
        raise InputError(
            f"data={pictures.name!r} is not allowed with {point!r}: square pictures, not {side} x {across}"
        )
    own = {"classes": len(pictures.classes), "channels": channels}
    for key, value in own.items():
        if changes.get(key, value) != value:
            raise InputError(f"design.{key}={changes[key]!r} is not allowed: the pictures have {value}")
    with _fields_as_keys(point):
        plain = {key: _plain(value) for key, value in changes.items()}
        design: Architecture = replace("design", named(point), plain | own)
        if "image" in changes:
            cost.network(design)
        least = design.image if "image" in changes else cost.smallest(design)
        return dataclasses.replace(design, image=-(-least // side) * side)


@contextlib.contextmanager
def _fields_as_keys(point: str) -> Iterator[None]:
    """What is wrong with a field of a published network, said of the key that the user typed."""
    try:
        yield
    except InputError as error:
        field = str(error).partition("=")[0]
        raise InputError(f"design.{error}" if field in fields_of([point]) else str(error)) from None


def _plain(value: Any) -> Any:
    """Lists, as JSON and TOML have them, as tuples."""
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def network_cost(design: Varied, pictures: Pictures) -> cost.Cost:
    """Parameters and multiply-adds of the network of a design on a data set."""
    if isinstance(design, Architecture):
        return cost.network(design)
    height, width, channels = pictures.images.shape[1:]
    return cost.stack(design, image=(height, width), channels=channels, classes=len(pictures.classes))


def columns_of(design: Varied, point: str) -> dict[str, Any]:
    """What a row says of a design: the stack's fields, or a published network's name, width factor, side and options.

    Options are the other fields in which it differs from its point.
    """
    fields = ("groups", "order", "residual", "activation", "normalise", "kernel", "width", "depth", "multiplier")
    if isinstance(design, Design):
        return {name: getattr(design, name) for name in fields}
    published = vars(named(point))
    changed = {name: value for name, value in vars(design).items() if value != published[name]}
    options = [f"{name}={changed[name]}" for name in changed if name not in ("classes", "channels", "image", "width")]
    empty: dict[str, Any] = {**dict.fromkeys(fields), "order": "", "activation": ""}
    return {
        **empty,
        "network": point,
        "factor": float(design.width),
        "image": design.image,
        "options": " ".join(options),
    }
