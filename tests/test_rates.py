"""Hours from a benchmark of this processor, and none from another's."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from dsresearch import cost, data, runtime
from dsresearch.design import setup
from dsresearch.studies.plan import Request, plan
from dsresearch.studies.rates import estimate

MADE = plan(Request(profile="smoke"), data.load("digits"))


def benchmark(folder: Path, processor: str, name: str = "2026-01-01-cpu", rate: float = 100.0, **more: str) -> None:
    row = {"setup": "separable", "groups": 0, "images_per_s": rate, "widths": [8, 16, 32], "blocks": 1, "image": 8}
    row |= more
    unmeasured = {**row, "setup": "grouped", "groups": 8, "images_per_s": None}
    found = {"machine": {"processor": processor, "threads": 2}, "rows": [row, unmeasured]}
    (folder / f"{name}.json").write_text(json.dumps(found))


def test_a_network_of_the_benchmark_trains_at_its_rate(tmp_path: Path) -> None:
    benchmark(tmp_path, runtime.processor())
    cell = MADE.cells[0]
    measured = cost.stack(setup("separable", width=8, depth=1), image=(8, 8), channels=3, classes=10).macs
    seconds = MADE.images(cell) * MADE.cost(cell).macs / (100 * measured)
    assert estimate(MADE, [cell], tmp_path) == (
        f"about {seconds:.0f} s of training, with compilation on top, at the rate that `bench` measured on "
        "this processor with 2 threads"
    )


def test_what_the_benchmark_did_not_measure_is_said(tmp_path: Path) -> None:
    benchmark(tmp_path, runtime.processor())
    said = estimate(MADE, MADE.cells, tmp_path)
    others = sum(cell.setup != "separable" for cell in MADE.cells)
    assert 0 < others < len(MADE.cells)
    assert f"; {others} of {len(MADE.cells)} cells at the median rate" in said
    assert "px" not in said
    benchmark(tmp_path, runtime.processor(), image=32)
    assert estimate(MADE, MADE.cells, tmp_path).endswith(
        "; it measured pictures of 32 px, those of 8 px take longer a multiply-add"
    )


def test_another_processors_benchmark_says_nothing(tmp_path: Path) -> None:
    benchmark(tmp_path, "another one")
    assert estimate(MADE, MADE.cells, tmp_path).startswith("hours unknown: no rate measured on this processor")
    assert estimate(MADE, MADE.cells, tmp_path / "nothing").startswith("hours unknown")


def test_the_rate_is_that_of_the_protocols_kernels(tmp_path: Path) -> None:
    benchmark(tmp_path, runtime.processor())
    before = estimate(MADE, MADE.cells, tmp_path)
    benchmark(tmp_path, runtime.processor(), "2026-01-02-cpu-native", 1e-3, kernels="native")
    assert estimate(MADE, MADE.cells, tmp_path) == before
    protocol = dataclasses.replace(MADE.protocol, kernels="native")
    assert " h " in estimate(dataclasses.replace(MADE, protocol=protocol), MADE.cells, tmp_path)


def test_a_long_time_is_told_in_whole_hours_and_none_as_a_second(tmp_path: Path) -> None:
    for rate, said in ((1e-3, r"about [0-9,]{3,} h [0-9]+ min of training"), (1e15, "about 1 s of training")):
        benchmark(tmp_path, runtime.processor(), rate=rate)
        assert re.match(said, estimate(MADE, MADE.cells[:1], tmp_path))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 5 min"),
        (4.5e6, "1,250 h 0 min"),
    ],
)
def test_a_duration_is_told_as_people_do(seconds: float, said: str) -> None:
    assert runtime.duration(seconds) == said
