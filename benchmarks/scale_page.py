"""The tables of docs/scale.md, computed from results/: what was measured, and what 100,000 models would cost.

python benchmarks/scale_page.py        writes them between the markers of the page
"""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dsresearch.report.tables import injected
from dsresearch.studies import PROFILES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
MODELS, TRIALS = 100_000, 10  # of the study that is reckoned with, and trials a cell
CELLS = MODELS // TRIALS
CIFAR_TRAIN, CIFAR_TEST = 50_000, 10_000  # pictures
GIB = 2**30


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A pipe table, numbers to the right but for the first column."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def measured(found: dict[str, Any]) -> str:
    """Cost against cells, as benchmarks/scale.py measured it."""
    runs = [row for row in found["rows"] if row["command"] != "store"]
    rows = [
        (row["command"], f"{row['cells']:,}", f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}", f"{row['peak_mib']:,.0f}")
        for row in sorted(runs, key=lambda row: (row["command"], row["cells"]))
    ]
    head = ("what", "cells", "seconds", "seconds of the processor", "MiB at most")
    made = f"On {found['machine']}, Python {found['python']}; made-up stores of profile `{found['profile']}`."
    return f"{table(head, rows)}\n\n{made} {_reckoned(runs)}".strip()


def _reckoned(runs: list[dict[str, Any]]) -> str:
    """What CELLS cells would take by the slope of the two largest sizes, where they have not been measured."""
    sizes = sorted({row["cells"] for row in runs})
    if len(sizes) < 2 or sizes[-1] >= CELLS:
        return ""
    by = {(row["command"], row["cells"]): row["cpu_s"] for row in runs}
    said = []
    for name in sorted({row["command"] for row in runs}):
        small, large = (by[name, cells] for cells in sizes[-2:])
        said.append(f"{name} {large + (large - small) / (sizes[-1] - sizes[-2]) * (CELLS - sizes[-1]):.1f}")
    return (
        f"Not measured: {CELLS:,} cells; by the slope they would take, in seconds of the processor: {', '.join(said)}."
    )


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def designs() -> list[dict[str, Any]]:
    """Two studies of MODELS models: images and rows a model, and the rates that were measured for them."""
    quick = ROOT / "results" / "hybrid-digits-quick"
    row = next(row for row in read(quick, "trials.csv") if row["arm"] == "separable")
    run = next(row for row in read(quick, "runs.csv") if row["arm"] == "separable" and row["images_per_s"])
    digits = {
        "name": "digits, profile `quick`",
        "images": int(row["steps"]) * int(row["batch_size"]),
        "epochs": int(row["epochs"]),
        "tested": int(row["n_test"]),
        "rates": [(f"{run['cpu']}, one core (runs.csv)", float(run["images_per_s"]))],
    }
    recipe = PROFILES["confirm"]["recipe"]
    steps = CIFAR_TRAIN // recipe["batch"] * recipe["epochs"]
    cifar: dict[str, Any] = {
        "name": "CIFAR-10, recipe of `confirm`",
        "images": steps * recipe["batch"],
        "epochs": recipe["epochs"],
        "tested": CIFAR_TEST,
        "rates": [],
    }
    for path in sorted((ROOT / "results" / "benchmarks").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        best = [of for of in document["rows"] if of["setup"] == "separable" and of["images_per_s"]]
        for of in best[:1]:
            about = document["machine"].get("accelerator") or document["machine"]["processor"]
            network = f"widths {'-'.join(map(str, of['widths']))}, {of['dtype']}"
            cifar["rates"].append((f"{about}, {network} ({path.name})", float(of["images_per_s"])))
    return [digits, cifar]


def hours() -> str:
    """Images and hours of MODELS models at the measured rates."""
    rows = [
        (
            of["name"],
            f"{MODELS * of['images']:.3g}",
            device,
            f"{rate:,.0f}",
            f"{MODELS * of['images'] / rate / 3600:,.0f}",
        )
        for of in designs()
        for device, rate in of["rates"]
    ]
    return table(("study", "training images", "on", "images/s", "device hours"), rows)


def sizes(found: dict[str, Any]) -> str:
    """Files and bytes of MODELS models, from the bytes a row of the committed study and the files of a stored cell."""
    quick = ROOT / "results" / "hybrid-digits-quick"
    rows = read(quick, "trials.csv")
    models, tested, epochs = len(rows), int(rows[0]["n_test"]), int(rows[0]["epochs"])
    each = {name: (quick / name).stat().st_size for name in ("trials.csv", "predictions.parquet", "epochs.parquet")}
    store = max((row for row in found["rows"] if row["command"] == "store"), key=lambda row: row["cells"])
    files = store["files"] / store["cells"] * MODELS / TRIALS
    out = []
    for of in designs():
        exported = {
            "trials.csv": each["trials.csv"] / models * MODELS,
            "predictions.parquet": each["predictions.parquet"] / (models * tested) * of["tested"] * MODELS,
            "epochs.parquet": each["epochs.parquet"] / (models * epochs) * of["epochs"] * MODELS,
        }
        said = [f"{size / GIB:.2f}" for size in exported.values()]
        out.append((of["name"], f"{files:,.0f}", *said, f"{of['tested'] * MODELS:.3g}"))
    return table(("study", "files below cells/", *(f"{name}, GiB" for name in each), "rows of predictions"), out)


def texts() -> dict[str, str]:
    """The tables by the name of their markers."""
    found = json.loads((ROOT / "results" / "measurements" / "scale.json").read_text(encoding="utf-8"))
    return {"measured": measured(found), "hours": hours(), "sizes": sizes(found)}


if __name__ == "__main__":
    PAGE.write_text(injected(PAGE, texts()), encoding="utf-8")
