"""How long a plan trains on this machine, at the rate that `bench` measured on it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from dsresearch import cost, runtime
from dsresearch.design import InputError, setup
from dsresearch.studies import Cell, Plan

HERE = Path(__file__).parents[2] / "results" / "benchmarks"  # of a checkout; an installed package has none


def estimate(plan: Plan, cells: Iterable[Cell], folder: Path = HERE) -> str:
    """Hours that the training of some cells takes, in words; compilation comes on top.

    A cell costs its images times the multiply-adds of its network; the benchmark gives the multiply-adds a second of
    every formulation on this processor, or, for one that it has not, their median, which is said. So are pictures of
    another size than the benchmark's: small ones leave a processor more idle.
    """
    cells = list(cells)
    found = _newest(folder, plan.protocol.kernels)
    rates = {} if found is None else _rates(found["rows"])
    if found is None or not rates:
        return "hours unknown: no rate measured on this processor (`dsresearch bench --to results/benchmarks`)"
    usual = median(rates.values())
    seconds = sum(plan.images(cell) * plan.cost(cell).macs / rates.get(_kind(cell), usual) for cell in cells)
    threads = found["machine"].get("threads", "all")
    said = (
        f"about {runtime.duration(max(1.0, seconds))} of training, with compilation on top, at the rate that `bench` "
        f"measured on this processor with {threads} threads"
    )
    if others := sum(_kind(cell) not in rates for cell in cells):
        said += f"; {others} of {len(cells)} cells at the median rate, of formulations that it did not measure"
    side, measured = plan.pictures.images.shape[1], min(row["image"] for row in found["rows"])
    if side < measured:
        said += f"; it measured pictures of {measured} px, those of {side} px take longer a multiply-add"
    return said


def _newest(folder: Path, kernels: str) -> Mapping[str, Any] | None:
    """The newest benchmark of this model of processor with these kernels (before there was a choice, XLA's)."""
    for path in sorted(folder.glob("*-cpu*.json"), reverse=True):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        ours = {row.get("kernels", "xla") for row in found.get("rows", [])}
        if found.get("machine", {}).get("processor") == runtime.processor() and ours == {kernels}:
            return dict(found)
    return None


def _rates(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], float]:
    """Multiply-adds a second of a forward pass at training speed, by setup and groups."""
    out = {}
    for row in (row for row in rows if row["images_per_s"]):
        try:
            groups = {"groups": row["groups"]} if row["groups"] else {}
            design = setup(row["setup"], width=row["widths"][0], depth=row["blocks"], **groups)
        except InputError:
            continue  # a setup of another version
        macs = cost.stack(design, image=(row["image"], row["image"]), channels=3, classes=10).macs
        out[row["setup"], row["groups"]] = macs * row["images_per_s"]
    return out


def _kind(cell: Cell) -> tuple[str, int]:
    return cell.setup, getattr(cell.design, "groups", 0)
