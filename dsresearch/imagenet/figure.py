"""A run's page: the loss of its networks against steps, their pace side by side, from the run's files alone. No jax."""

import csv
import dataclasses
import io
import itertools
import json
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dsresearch.imagenet.settings import Settings
from dsresearch.references import training
from dsresearch.schema import write_atomic

SMOOTHED = 10  # steps that a drawn loss is the mean of
_COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161")  # seaborn's colour-blind palette
_METADATA: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
# Steps/s on 60 K80 GPUs (Chollet 2017, Table 3).
PUBLISHED = {
    name: training.value("xception_speed", "ImageNet", model)
    for name, model in (("xception", "Xception"), ("inception_v3", "Inception V3"))
}


def draw(out: Path) -> str:
    """Write `figure.pdf`, `figure.png` and `README.md` beside a run's `curve.csv` and `result.json`; gives the page."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    with (out / "curve.csv").open(encoding="utf-8", newline="") as file:
        curve = list(csv.DictReader(file))
    with mpl.rc_context():
        mpl.rcdefaults()  # the user's matplotlibrc reaches no figure
        figure = _figure(curve, result)
        for kind, metadata in _METADATA.items():
            sink = io.BytesIO()
            figure.savefig(sink, format=kind, metadata=dict(metadata), dpi=150)
            write_atomic(out / f"figure.{kind}", sink.getvalue())
    page = _page(result)
    write_atomic(out / "README.md", page.encode())
    return page


def _figure(curve: list[dict[str, str]], result: Mapping[str, Any]) -> Figure:
    losses: dict[str, list[float]] = defaultdict(list)
    for row in curve:
        losses[row["network"]].append(float(row["loss"]))
    figure = Figure(figsize=(7.1, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for (name, own), colour in zip(losses.items(), itertools.cycle(_COLOURS), strict=False):
        window = min(SMOOTHED, len(own))
        means = np.convolve(own, np.ones(window) / window, "valid")
        left.plot(range(1, len(own) + 1), own, color=colour, alpha=0.25, linewidth=0.7)
        left.plot(range(window, len(own) + 1), means, color=colour, label=name)
    left.set(xlabel="step", ylabel="training loss")
    left.legend(frameon=False, fontsize="small")
    names, paces = zip(*((row["network"], row["steps_per_s"]) for row in result["networks"]), strict=True)
    bars = right.barh(names, paces, color=[_COLOURS[list(losses).index(name) % len(_COLOURS)] for name in names])
    right.bar_label(bars, fmt="%.3g", padding=2, fontsize="small")
    right.set(xlabel="steps/s", xlim=(0, 1.25 * max(paces)))
    right.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("\n".join(textwrap.wrap(_source(result), 150)), x=0.995, ha="right", fontsize=5, color="#6a6a6a")
    return figure


def _source(result: Mapping[str, Any]) -> str:
    """The line under the drawing: what was trained, on what, how, from which commit."""
    settings, machine = result["settings"], result["machine"]
    changes = " with local changes" if machine["dirty"] else ""
    return (
        f"{settings['networks'].replace(',', ', ')}, {result['pictures']}, recipe {settings['recipe']}, "
        f"{settings['image']} px, batch {settings['batch']}, {settings['steps']} steps, "
        f"{result['train_pictures']} training pictures, run {machine['commit'][:12]}{changes}"
    )


def _page(result: Mapping[str, Any]) -> str:
    settings, machine = result["settings"], result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    head = ("network", "steps", "loss, first tenth", "last tenth", "median step, s", "steps/s", "of the first", "paper")
    first, table = result["networks"][0], [head, ("---",) * len(head)]
    for row in result["networks"]:
        published = PUBLISHED.get(row["network"])
        ratio = f"{row['steps_per_s'] / first['steps_per_s']:.2f}"
        cells = [row["network"], row["steps"], f"{row['loss_first']:.3f}", f"{row['loss_last']:.3f}"]
        cells += [f"{row['step_s']:.2f}", f"{row['steps_per_s']:.3g}", ratio, published or "–"]
        table.append(tuple(map(str, cells)))
    usual = dataclasses.asdict(Settings())
    always = ("networks", "image", "batch", "steps")
    said = [key for key in usual if key in settings and (key in always or settings[key] != usual[key])]
    changed = " ".join(f"{key}={settings[key]}" for key in said)
    return "\n".join(
        [
            f"# {' and '.join(row['network'] for row in result['networks'])} on ImageNet-sized pictures",
            "",
            f"Pictures: **{result['pictures']}** ({result['train_pictures']:,} to train, {result['classes']} classes).",
            "This shows that the networks train and how fast they step; it is no result on ImageNet.",
            "",
            f"    python experiments/imagenet.py with folder=PICTURES {changed}",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
            "![Training loss against steps, and steps a second](figure.png)",
            "",
            "Every network saw the same batches, one step after the other: their paces are of one hour and one load.",
            "Thin: the loss of a step; thick: the mean of ten. `paper`: steps/s on 60 K80 GPUs (Chollet 2017, Table",
            "3), where Xception's pace is 0.90 of Inception V3's. `curve.csv` has every step, `result.json` what the",
            "table shows, and the test pictures as the averaged weights and the last ones score them.",
            "",
            f"Machine: {machine['processor']}, {machine['cores']} cores, {settings['threads']} "
            f"threads; Python {machine['python']}, {versions}; commit {machine['commit'][:12]}.",
            "",
        ]
    )
