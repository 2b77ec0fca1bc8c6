"""The scaling figure, drawn from the file of measurements alone. No jax."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

# What is varied, as the rows hold it, and as an axis says it.
AXES = {
    "width": "channels of the first stage",
    "depth": "modules a stage",
    "batch": "pictures a step and trial",
    "trials": "trials in one program",
}
SIDES = {"images_per_s": "dsresearch", "torch_images_per_s": "PyTorch eager, one trial"}
_METADATA: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def drawn(content: Mapping[str, Any]) -> pd.DataFrame:
    """What is drawn, as (what, value, side, images_per_s), from the document of a scaling run.

    The rows vary one thing at a time about a common middle, which is the row that has most often each value.
    """
    rows = pd.DataFrame(
        [
            {"width": r["widths"][0], "depth": r["blocks"], **{k: r[k] for k in ("batch", "trials", *SIDES)}}
            for r in content["rows"]
        ]
    )
    middle = {what: rows[what].mode()[0] for what in AXES}
    parts = []
    for what in AXES:
        others = [other for other in AXES if other != what]
        along = rows[(rows[others] == pd.Series(middle)[others]).all(axis=1)].drop_duplicates(what)
        if along[what].nunique() < 2:
            continue
        part = along.melt(id_vars=[what], value_vars=list(SIDES), var_name="side", value_name="rate")
        part = part.rename(columns={what: "value", "rate": "images_per_s"}).assign(what=what).dropna()
        parts.append(part.sort_values(["side", "value"]))
    columns = ["what", "value", "side", "images_per_s"]
    return pd.concat(parts)[columns].reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def files(content: Mapping[str, Any]) -> dict[str, bytes]:
    """CSV, PDF and PNG by kind; the same bytes for the same content and drawing library."""
    data = drawn(content)
    out = {"csv": data.to_csv(index=False, lineterminator="\n").encode()}
    if not len(data):
        return out
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(style="whitegrid", palette="colorblind", font="DejaVu Sans")
        figure = _figure(data, content)
        for kind, metadata in _METADATA.items():
            sink = io.BytesIO()
            figure.savefig(sink, format=kind, metadata=dict(metadata), dpi=150)
            out[kind] = sink.getvalue()
    return out


def _figure(data: pd.DataFrame, content: Mapping[str, Any]) -> Figure:
    shown = [what for what in AXES if (data["what"] == what).any()]
    figure = Figure(figsize=(3.1 * len(shown), 3.3), layout="constrained")
    for place, (axes, what) in enumerate(zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True)):
        part = data[data["what"] == what].assign(side=lambda rows: rows["side"].map(SIDES))
        sns.lineplot(
            part,
            x="value",
            y="images_per_s",
            hue="side",
            style="side",
            markers=True,
            dashes=False,
            ax=axes,
            errorbar=None,
        )
        axes.set(xscale="log", xlabel=AXES[what], ylabel="training images/s" if place == 0 else "", ylim=(0, None))
        axes.set_xticks(sorted(part["value"].unique()))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        if place == 0:
            axes.legend(title=None, fontsize="small")
        else:
            axes.get_legend().remove()
    figure.suptitle(_title(content), fontsize="medium")
    return figure


def _title(content: Mapping[str, Any]) -> str:
    row, machine = content["rows"][0], content["machine"]
    where = machine["accelerator"] or f"{machine['processor']}, {machine['threads']} threads"
    return f"Cost as the work grows: {row['setup']}, {row['dtype']}, {where}"
