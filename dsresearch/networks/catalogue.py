"""Published networks by name: family, version, then the published point.

A family's points stand in its own file as `POINTS`. A trailing `_W` gives a point another width, `mobilenet_v2_1.4`,
published or not.
"""

import dataclasses
import re
from collections.abc import Mapping

from dsresearch.design import InputError, nearest
from dsresearch.networks import (
    alexnet,
    bn_inception,
    bsconv,
    darknet,
    deeplab_v3plus,
    efficientnet,
    fractalnet,
    inception_v1,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    quicknet,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    vgg,
    xception,
)
from dsresearch.networks.vocabulary import Architecture

FAMILIES = (
    alexnet,
    bn_inception,
    bsconv,
    darknet,
    deeplab_v3plus,
    efficientnet,
    fractalnet,
    inception_v1,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    quicknet,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    vgg,
    xception,
)
POINTS: Mapping[str, Architecture] = {name: point for family in FAMILIES for name, point in family.POINTS.items()}


def known(name: str) -> bool:
    """Whether `named` knows a name."""
    return _point(name) is not None


def named(name: str, *, classes: int | None = None, image: int | None = None) -> Architecture:
    """The architecture of a name, for other classes or pictures where given.

    Raises:
        InputError: no such name, or a width, class count or picture that is not allowed.
    """
    point = _point(name)
    if point is None:
        raise InputError(f"name={name!r} is not a network{nearest(name, POINTS)}; `dsresearch cost --list` prints all")
    given = {"classes": classes, "image": image}
    return dataclasses.replace(point, **{key: value for key, value in given.items() if value is not None})


def _point(name: str) -> Architecture | None:
    if name in POINTS:
        return POINTS[name]
    base, _, width = name.rpartition("_")
    if base not in POINTS or not re.fullmatch(r"\d+(\.\d+)?", width):
        return None
    return dataclasses.replace(POINTS[base], width=POINTS[base].width * float(width))
