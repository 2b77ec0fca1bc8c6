"""What the scripts share that measure on one core: turns and their ratios, the loop over cases, the file."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dsresearch import runtime


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes, which must wait for what it computes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def taking_turns(sides: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of a call of every side in every turn, after one that warms it up; every other turn goes backwards."""
    for call in sides.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in sides if turn % 2 == 0 else reversed(sides):
            times[name].append(seconds(sides[name]))
    return times


def times_as_fast(own: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """How many times as fast as another a side is: median, least and greatest of the ratios of their turns' seconds."""
    ratios = [theirs / ours for ours, theirs in zip(own, other, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def keep_rows(about: str, cases: Iterable[tuple[Any, ...]], measured: Callable[..., Any], **settings: int) -> None:
    """Measure every case, print its row, and keep those so far in the file `--to`, with machine, versions, settings."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="the file, in JSON")
    words = parser.parse_args()
    runtime.prepare(threads=1)
    from dsresearch.bench.table import versions

    rows: list[Any] = []
    content = {
        "machine": {"processor": runtime.processor(), "threads": 1, "system": runtime.system()},
        "versions": versions(),
        "command": f"python benchmarks/{Path(sys.argv[0]).name}",
        **settings,
        "rows": rows,
    }
    for case in cases:
        rows.append(measured(*case))
        print(json.dumps(rows[-1]), flush=True)
        keep(words.to, content)


def keep(path: Path, content: dict[str, Any]) -> None:
    """Write a file of measurements, whole or not at all."""
    from dsresearch.schema import write_atomic  # and pandas, which may come after `runtime.prepare`

    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
