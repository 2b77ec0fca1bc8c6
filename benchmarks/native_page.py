"""The tables about our own convolution kernels in README.md and benchmarks/README.md, from the files that hold them.

python benchmarks/native_page.py        writes them between the markers of the pages
"""

import json
from pathlib import Path
from typing import Any

from scale_page import table

from dsresearch.report.tables import injected

ROOT = Path(__file__).parents[1]
BENCHMARKS, README = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
OPERATORS = ROOT / "results" / "measurements" / "native-kernels.json"
# A later file is of every group count, for which the dated table had little time: its rows stand for that table's.
STEPS = {
    "native": ("benchmarks/2026-11-29-cpu-native.json", "measurements/bench-cpu-native-groups.json"),
    "fused": ("benchmarks/2026-11-29-cpu-fused.json",),
    "throughout": ("benchmarks/2026-11-30-cpu-throughout.json", "measurements/bench-cpu-throughout-groups.json"),
    "winograd": ("benchmarks/2026-12-01-cpu-winograd.json",),
}
CHOICES = ROOT / "results" / "measurements" / "kernels.json"


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def operators() -> str:
    """A line an operator: milliseconds of ours and XLA's, forward and back, and the ratio of their turns.

    And how many times as fast ours is by fewer products.
    """
    columns = ("{}, ms", "XLA's", "ratio", "GFLOP/s", "`winograd`, times as fast")
    head = ("convolution", *(column.format(what) for what in ("forward", "kernel gradient") for column in columns))
    lines = []
    for row in rows(OPERATORS):
        side, k, channels = row["pixels"], row["kernel"], row["channels"]
        name = f"{k}x{k}, {side} px, {channels} channels, " + (
            "1 group" if row["groups"] == 1 else f"{row['groups']} groups"
        )
        both = []
        for what in ("forward", "gradient"):
            times = [f"{row[f'{what}_{kernels}_ms']:.2f}" for kernels in ("native", "xla")]
            fewer = row.get(f"{what}_winograd_ratio")
            both += [*times, f"{row[f'{what}_ratio']:.1f}", f"{row[f'{what}_gflop_per_s']:.0f}"]
            both.append("–" if fewer is None else f"{fewer:.2f}")
        lines.append((name, *both))
    return table(head, lines)


def choices() -> str:
    """A line a setup and width: milliseconds of a step by each choice of kernels, and times as fast as by `native`."""
    lines, asked = [], ("fused", "throughout", "winograd")
    for row in rows(CHOICES):
        ratios = [
            f"{row[f'{kernels}_ratio']:.2f} [{row[f'{kernels}_ratio_min']:.2f}, {row[f'{kernels}_ratio_max']:.2f}]"
            for kernels in asked
        ]
        times = [f"{row[f'{kernels}_ms']:.1f}" for kernels in ("native", *asked)]
        lines.append((f"{named(row)}, {row['width']} channels", *times, *ratios))
    head = ("network", "`native`, ms", *(f"`{kernels}`" for kernels in asked))
    return table((*head, "`fused`, times as fast", *(f"`{kernels}`" for kernels in asked[1:])), lines)


def named(row: dict[str, Any]) -> str:
    """What a row is of."""
    return f"`grouped`, G = {row['groups']}" if row["setup"] == "grouped" else f"`{row['setup']}`"


def measured(kernels: str) -> dict[str, dict[str, Any]]:
    """The newest row of every setup and group count."""
    found = [row for path in STEPS[kernels] for row in rows(ROOT / "results" / path) if row["ratio_torch"]]
    return {named(row): row for row in found}


def speed() -> str:
    """A line a setup: images/s, and how many times PyTorch's."""
    lines = [
        (name, f"{row['images_per_s']:,.0f}", f"{row['ratio_torch']:.2f}", f"{row['ratio_torch_kept']:.2f}")
        for name, row in measured("winograd").items()
    ]
    return table(("setup", "images/s", "times PyTorch as installed", "with its heap kept"), lines)


def steps(kernels: str) -> str:
    """The same with the ranges of the turns, and more."""
    head = (
        "setup",
        "images/s",
        "PyTorch as installed",
        "its heap kept",
        "torch.compile",
        "of the floor",
        "compiled in",
    )
    lines = []
    for name, row in measured(kernels).items():
        ratios = [
            f"{row[f'ratio_{peer}']:.2f} [{row[f'ratio_{peer}_min']:.2f}, {row[f'ratio_{peer}_max']:.2f}]"
            for peer in ("torch", "torch_kept", "torch_compile")
        ]
        shares = (f"{100 * row['fraction_of_floor']:.0f} %", f"{row['compile_s']:.1f} s")
        lines.append((name, f"{row['images_per_s']:,.0f}", *ratios, *shares))
    return table(head, lines)


def pages() -> dict[Path, str]:
    """The two pages with the tables in their places."""
    tables = {
        "native_kernels": operators(),
        "kernels": choices(),
        **{f"{kernels}_steps": steps(kernels) for kernels in STEPS},
    }
    return {BENCHMARKS: injected(BENCHMARKS, tables), README: injected(README, {"speed": speed()})}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
