"""Networks by name: their counts against published ones, and what is built against the closed form."""

import pytest
from traced import traced

from dsresearch import cost
from dsresearch.cost import Cost
from dsresearch.networks.build import Network
from dsresearch.networks.catalogue import POINTS, named


def built(architecture) -> Cost:
    return traced(Network(architecture), (architecture.image, architecture.image), architecture.channels)


@pytest.mark.parametrize("name", POINTS)
def test_all(name):
    a = named(name)
    assert cost.network(a) == built(a)
