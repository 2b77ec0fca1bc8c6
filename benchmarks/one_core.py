"""What the scripts share that measure case after case on one core: the words, the loop, the file."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dsresearch import runtime


def keep_rows(about: str, cases: Iterable[tuple[Any, ...]], measured: Callable[..., Any], **settings: int) -> None:
    """Measure every case, print its row, and keep all in the file `--to`, with the machine, versions and settings."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="the file, in JSON")
    words = parser.parse_args()
    runtime.prepare(threads=1)
    from dsresearch.bench.table import versions

    rows = []
    for case in cases:
        rows.append(measured(*case))
        print(json.dumps(rows[-1]), flush=True)
    machine = {"processor": runtime.processor(), "threads": 1, "system": runtime.system()}
    content = {"machine": machine, "versions": versions(), **settings, "rows": rows}
    words.to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
