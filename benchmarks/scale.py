"""What a study costs as it grows: made-up stores of many cells, and the commands that read them, as real processes.

    python benchmarks/scale.py [--cells 100 1000 10000] [--in DIR] [--to results/measurements/scale.json]

The stores are those of tests/store_builder.py: finished studies at profile `smoke`, two trials a cell. Seconds are of
the clock and of the processor, memory is the largest that the process had.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dsresearch.runtime import processor  # and nothing heavy: a child begins as large as its parent is

ROOT = Path(__file__).parents[1]
PROFILE = "smoke"
EXPORT = (
    "import sys, pathlib; from dsresearch.record.export import export; from dsresearch.record.store import Store; "
    "export(Store(pathlib.Path(sys.argv[1])))"
)


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands that are measured, by name."""
    grid = ["run", "hybrid", "--profile", PROFILE, "--grid", str(folder.with_suffix(".toml"))]
    program = [sys.executable, "-m", "dsresearch"]
    return {
        "status": [*program, "status", str(folder)],
        "find": [*program, *grid, "--out", str(folder), "--dry-run"],
        "export": [sys.executable, "-c", EXPORT, str(folder)],
        "report": [*program, "report", str(folder), "--to", str(folder.with_suffix(".report"))],
    }


def measured(name: str, words: list[str]) -> dict[str, float]:
    """Seconds of the clock and of the processor, and the largest memory in MiB, of the command of that name.

    Exits with what the command said where it fails. Status 1 is no failure of `report` alone: the verdict on made-up
    numbers is INVALID.
    """
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process.stderr as pipe:
        said = pipe.read().decode()
    _, status, usage = os.wait4(process.pid, 0)  # not process.wait(), which does not tell what was used
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ((0, 1) if name == "report" else (0,)):
        sys.exit(f"{' '.join(words)}: {said}")
    return {
        "wall_s": round(time.monotonic() - began, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def bytes_of(folder: Path) -> tuple[int, int]:
    """Files and bytes below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def rows(folder: Path, cells: int) -> list[dict[str, Any]]:
    """Every command on a store of so many cells, which is made where it is missing."""
    if not folder.is_dir():
        builder = [sys.executable, str(ROOT / "tests" / "store_builder.py"), str(folder), str(cells)]
        subprocess.run(builder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    of_cells = bytes_of(folder / "cells")
    found: list[dict[str, Any]] = []
    for name in ("export", "status", "find", "report"):
        found.append({"cells": cells, "command": name, **measured(name, commands(folder)[name])})
        print(
            "{cells:>7,} cells  {command:<8} {wall_s:>8.2f} s  {cpu_s:>8.2f} s cpu  {peak_mib:>8.1f} MiB".format(
                **found[-1]
            ),
            flush=True,
        )
    exported = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    found.append(
        {"cells": cells, "command": "store", "files": of_cells[0], "bytes": of_cells[1], "exported_bytes": exported}
    )
    return found


def main() -> None:
    """Measure, print and keep."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cells", type=int, nargs="+", default=[100, 1_000, 10_000])
    words.add_argument("--in", type=Path, dest="folder", help="where the stores are kept (default: nowhere)")
    words.add_argument("--to", type=Path, default=ROOT / "results" / "measurements" / "scale.json")
    chosen = words.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp())
    try:
        found = [row for cells in chosen.cells for row in rows(folder / f"study-{cells}", cells)]
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder)
    about = {"machine": processor(), "cores": os.cpu_count(), "python": sys.version.split()[0], "profile": PROFILE}
    chosen.to.write_text(json.dumps({**about, "rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
