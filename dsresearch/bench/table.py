"""A benchmark as people read it and as it is kept: the printed table, the JSON file, the progress. No jax."""

import json
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from dsresearch import __version__, runtime
from dsresearch.bench.cases import FIGURE_4
from dsresearch.bench.measure import Row
from dsresearch.design import InputError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
FIGURE_4_IMAGES = 10 * 190 * 50_000  # trials, epochs, pictures: training images of one setup
MAKERS = ("nvidia", "tesla", "geforce", "quadro", "amd", "instinct")  # words of a device's name before its model


class Record:
    """The JSON document of a benchmark; written anew after every change, so that a cut leaves what is done."""

    def __init__(self, command: Sequence[str], about: dict[str, str], threads: int, path: Path | None) -> None:
        self.path, self.rows = path, list[Row]()
        self.content: dict[str, Any] = {
            "machine": {
                "processor": runtime.processor(),
                "cores": runtime.cores(),
                "threads": threads,
                "system": runtime.system(),
                "accelerator": None if about["backend"] == "cpu" else about["device"],
                "roofs": {},
            },
            "versions": versions(),
            "command": shlex.join(["dsresearch", *without_places(command)]),
            "rows": self.rows,
        }

    def roofs(self, found: dict[str, dict[str, float]]) -> None:
        """What the device reached, by dtype."""
        self.content["machine"]["roofs"] = {
            dtype: {
                "copy_gb_per_s": round(r["bytes_per_s"] / 1e9, 1),
                "matmul_gflop_per_s": round(r["flops_per_s"] / 1e9),
            }
            for dtype, r in found.items()
        }

    def keep(self) -> None:
        """Write the file, whole or not at all.

        Not by `schema.write_atomic`: a machine that only measures may lack pandas and pyarrow, which `schema` needs.
        """
        projection = projected(self.rows)
        if projection:
            self.content["figure4"] = projection
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(self.text(), encoding="utf-8")
        fresh.replace(self.path)

    def text(self) -> str:
        return json.dumps(self.content, indent=1) + "\n"


def versions() -> dict[str, str | None]:
    """Versions of what was measured and measures; null where it is not installed."""
    found: dict[str, str | None] = {"python": ".".join(map(str, sys.version_info[:3])), "dsresearch": __version__}
    commit, changed = runtime.commit()
    found["commit"] = f"{commit}{' with changes' * changed}" or None
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def without_places(command: Sequence[str]) -> list[str]:
    """The words of a command without where it wrote to: no record holds a path of a machine."""
    out, words = [], iter(command)
    for word in words:
        if word == "--to":
            next(words, None)
        elif not word.startswith("--to="):
            out.append(word)
    return out


def device_name(about: dict[str, str]) -> str:
    """`cpu`, or an accelerator's model: `h100` of «NVIDIA H100 80GB HBM3», `rtx4090` of «NVIDIA GeForce RTX 4090».

    That is, without the maker, the words up to the first with a digit; what follows is memory or form.
    """
    if about["backend"] == "cpu":
        return "cpu"
    words = [word for word in re.findall("[a-z0-9]+", about["device"].lower()) if word not in MAKERS]
    end = next((at for at, word in enumerate(words, 1) if re.search("[0-9]", word)), len(words))
    return "".join(words[:end]) or about["backend"]


def path_of(to: Path | None, about: dict[str, str], what: str = "") -> Path | None:
    """The file to write: `to` itself where it ends in .json, else `<date>-<device>[-what].json` in it."""
    if to is None or to.suffix == ".json":
        return to
    date = datetime.now(UTC).date().isoformat()
    return to / f"{date}-{device_name(about)}{'-' if what else ''}{what}.json"


def writable(to: Path | None) -> None:
    """Raise InputError where nothing can be kept at `to`, before minutes are spent on measuring it."""
    if to is None:
        return
    folder = to.parent if to.suffix == ".json" else to
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"--to={to} is not allowed: {folder} cannot be written to ({error.strerror})") from None


def projected(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Minutes of the Figure 4 study from the measured rates: six setups, ten trials, 190 epochs of 50,000 pictures.

    Takes the rows of most trials a program, of the first dtype measured; says how many of the six setups are in it.
    """
    training = [row for row in rows if row and row["images_per_s"] and (row["mode"], row["image"]) == ("training", 32)]
    training = [row for row in training if row["setup"] in FIGURE_4]
    if not training:
        return None
    dtype, trials = training[0]["dtype"], max(row["trials"] for row in training)
    rates = {r["setup"]: r["images_per_s"] for r in training if (r["dtype"], r["trials"]) == (dtype, trials)}
    minutes = sum(FIGURE_4_IMAGES / rate for rate in rates.values()) / 60
    return {"setups": len(rates), "of": len(FIGURE_4), "dtype": dtype, "trials": trials, "minutes": round(minutes, 1)}


# --- for people -------------------------------------------------------------------------------------------------

_HEAD = (
    f"{'setup':<23}{'G':>3}{'T':>3} {'dtype':<9}{'images/s':>10}"
    f"{'/flax':>8}{'/torch':>8}{'[min, max]':>15}{'/kept':>7}{'/compile':>9}{'of floor':>10}{'compile':>9}{'MiB':>8}"
)


def head() -> str:
    """The head of the table: our images/s, then how many times a peer's that is."""
    return _HEAD


def line(row: Row) -> str:
    """A row; what was not measured is a dash."""
    low, high = row["ratio_torch_min"], row["ratio_torch_max"]
    span = f"[{_times(low)}, {_times(high)}]" if low is not None else "–"
    share = "–" if row["fraction_of_floor"] is None else f"{100 * row['fraction_of_floor']:.1f} %"
    compiling = "–" if row["compile_s"] is None else f"{row['compile_s']:.1f} s"
    return (
        f"{row['setup']:<23}{row['groups'] or '':>3}{row['trials']:>3} {row['dtype']:<9}"
        f"{_whole(row['images_per_s']):>10}"
        f"{_times(row['ratio_flax']):>8}{_times(row['ratio_torch']):>8}{span:>15}{_times(row['ratio_torch_kept']):>7}"
        f"{_times(row['ratio_torch_compile']):>9}{share:>10}{compiling:>9}{_whole(row['peak_mib']):>8}"
    )


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def summary(record: Record) -> list[str]:
    """What stands under the table."""
    machine, lines = record.content["machine"], []
    for dtype, roof in machine["roofs"].items():
        lines.append(
            f"this device in {dtype}: copy {roof['copy_gb_per_s']:,} GB/s, "
            f"matrix product {roof['matmul_gflop_per_s']:,} GFLOP/s"
        )
    study = record.content.get("figure4")
    if study:
        lines.append(
            "the Figure 4 study (10 trials, 190 epochs of 50,000 pictures) at these rates and widths: "
            f"{study['minutes']:,} min of training for {study['setups']} of its {study['of']} setups "
            f"({study['dtype']}, trials a program: {study['trials']})"
        )
    reasons = {f"{role}: {why}" for row in record.rows for role, why in row["missing"].items()}
    return [*lines, *(f"not measured: {reason}" for reason in sorted(reasons))]


class Clock:
    """Progress with an estimate of the time left, from the rows done so far."""

    def __init__(self, total: int) -> None:
        self.total, self.began = total, time.monotonic()

    def about(self, done: int, what: str) -> str:
        """`row 3 of 14, about 5 min 10 s left: ...`."""
        spent = time.monotonic() - self.began
        left = f", about {runtime.duration(spent / done * (self.total - done))} left" if done else ""
        return f"row {done + 1} of {self.total}{left}: {what}"
