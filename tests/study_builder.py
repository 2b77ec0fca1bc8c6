"""Hand-made study folders: the files that a report reads, with known numbers and without a training."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsresearch.report.style import Picture
from dsresearch.schema import (
    EPOCH_COLUMNS,
    PREDICTION_COLUMNS,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    TRIAL_COLUMNS,
    write_csv,
    write_parquet,
)

ROLE = {
    "separable": "baseline",
    "inception": "rival",
    "resnext": "rival",
    "inception_reformulated": "rival",
    "separable_strict": "control",
    "hybrid": "candidate",
    "hybrid_residual": "reading",
    "hybrid_learned": "reading",
}
CLASS = {"separable": "exact", "separable_strict": "exact", "hybrid": "exact"}
TRAINED = {"exact": "separable_strict"}  # the arm that a control trains; the others train the baseline
GAP = {"inception": 83, "resnext": 62, "inception_reformulated": 71}  # pictures of 10,000: the paper's gaps

Key = tuple[str, str, str]  # arm, control_kind, match


def sha(*parts: Any) -> str:
    """Any parts as a sha256."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _toml(value: Any) -> str:
    """A plain value as TOML, which knows JSON's spelling of it but not its surrogate pairs."""
    return json.dumps(value, ensure_ascii=False)


def noise(trials: int, spread: float, seed: int) -> list[int]:
    """Whole numbers of mean exactly 0 and about the given spread."""
    drawn = np.random.default_rng(seed).normal(0, spread, trials)
    whole = np.round(drawn - drawn.mean()).astype(int)
    whole[: abs(whole.sum())] -= np.sign(whole.sum())
    return [int(value) for value in whole]


def good_study(trials: int = 10, spread: float = 6.0) -> dict[Key, list[int]]:
    """Wrong pictures of 10,000 in a study whose hybrid equals the baseline and whose rivals differ: SUPPORTED."""
    base = [700 + value for value in noise(trials, spread, 1)]

    def arm(gap: int, seed: int) -> list[int]:
        return [b + gap + value for b, value in zip(base, noise(trials, spread, seed), strict=True)]

    wrong = {("separable", "", "width"): base, ("hybrid", "", "width"): arm(0, 2)}
    wrong[("separable_strict", "", "width")] = arm(0, 3)
    for at, (rival, gap) in enumerate(GAP.items()):
        wrong[(rival, "", "width")] = arm(gap, 4 + at)
    for at, kind in enumerate(("bit", "exact", "seed", "split")):
        wrong[(TRAINED.get(kind, "separable"), kind, "width")] = arm(0, 7 + at)
    wrong[("separable", "rerun", "width")] = list(base)
    return wrong


def row(key: Key, trial: int, wrong: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """One row of trials.csv."""
    arm, kind, match = key
    twin = kind if kind not in ("rerun", "rerun_baseline") else ""  # a rerun repeats the baseline to the bit
    text = dict.fromkeys((name for name, column in TRIAL_COLUMNS.items() if column.kind == "text"), "none")
    values: dict[str, Any] = {
        **{name: 1 for name, column in TRIAL_COLUMNS.items() if column.kind == "whole"},
        **{name: 0.1 for name, column in TRIAL_COLUMNS.items() if column.kind == "number"},
        **{name: sha(name, arm, twin, match, trial) for name, c in TRIAL_COLUMNS.items() if c.kind == "sha256"},
        **text,
        "schema_version": SCHEMA_VERSION,
        "study_id": about["study_id"],
        "arm": arm,
        "control_kind": kind,
        "match": match,
        "trial": trial,
        "profile": about["profile"],
        "dataset": about["dataset"],
        "setup": arm,
        "role": about["roles"].get(arm, "exploratory"),
        "eq_class": CLASS.get(arm, "distinct"),
        "order": "spatial_first",
        "residual": False,
        "normalise": False,
        "bit_flip": int(kind == "bit"),
        "transport": "none",
        "kernels": "",
        "n_train": about["n_train"],
        "n_test": about["n_test"],
        "test_wrong": wrong,
        "train_wrong": 3,
        "test_nll": 0.1 + wrong / 1e5,
        "train_loss": 0.01,
        "status": "ok",
        "error_msg": "",
        "exec_mode": "sequential",
        "protocol_sha256": about["protocol_sha256"],
        "cell_id": sha(arm, kind, match)[:16],
        "data_sha256": sha("data"),
        "split_sha256": sha("split", trial, kind == "split"),
        "device_kind": "cpu",
    }
    return values


def write_study(
    folder: Path,
    wrong: Mapping[Key, Sequence[int]] | None = None,
    *,
    plan: Sequence[Key] | None = None,
    trials: int | None = None,
    change: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda row: row,
    exactness: Mapping[str, Any] | None = None,
    roles: Mapping[str, str] = ROLE,
    protocol: Mapping[str, Any] = {},
    dataset: str = "cifar10",
    profile: str = "confirm",
    study: str = "hybrid",
    n_test: int = 10_000,
    dirty: bool = False,
) -> Path:
    """Write protocol.toml, trials.csv and runs.csv of a study of the given wrong pictures.

    `plan` may ask for more cells than were trained. `change` edits a row before it is written, or drops it
    by returning None.
    """
    wrong = good_study() if wrong is None else wrong
    about = {
        "study": study,
        "study_id": f"{study}-{dataset}-{profile}",
        "profile": profile,
        "dataset": dataset,
        "roles": roles,
        "n_train": 50_000,
        "n_test": n_test,
    }
    folder.mkdir(parents=True, exist_ok=True)
    planned = {"trials": trials or max(len(v) for v in wrong.values()), "split": "pool60k_hold6k", **protocol}
    lines = [f"schema_version = {SCHEMA_VERSION}"]
    lines += [f"{name} = {_toml(about[name])}" for name in ("study", "study_id", "profile")]
    lines += ["", "[data]", f"name = {_toml(dataset)}", f"label = {_toml(dataset)}"]
    lines += [
        "",
        "[protocol]",
        'exec_mode = "sequential"',
        *(f"{name} = {_toml(value)}" for name, value in planned.items()),
    ]
    for arm, kind, match in plan or list(wrong):
        cell = {"arm": arm, "setup": arm, "role": roles.get(arm, "exploratory"), "control_kind": kind, "match": match}
        lines += ["", "[[cells]]", *(f"{name} = {_toml(value)}" for name, value in cell.items())]
    decided = ("\n".join(lines) + "\n").encode()
    (folder / "protocol.toml").write_bytes(decided)
    about["protocol_sha256"] = hashlib.sha256(decided).hexdigest()
    rows = [
        changed
        for key, values in wrong.items()
        for trial, value in enumerate(values)
        if (changed := change(row(key, trial, value, about))) is not None
    ]
    write_csv(folder / "trials.csv", rows, TRIAL_COLUMNS)
    if exactness is not None:
        (folder / "exactness.json").write_text(json.dumps(exactness), encoding="utf-8")
    runs = [{**_run(key, about), "git_dirty": dirty} for key in wrong]
    write_csv(folder / "runs.csv", runs, RUN_COLUMNS)
    return folder


def _run(key: Key, about: Mapping[str, Any]) -> dict[str, Any]:
    arm, kind, match = key
    empty = {name: None if column.optional else "x" for name, column in RUN_COLUMNS.items()}
    named = {"study_id": about["study_id"], "arm": arm, "control_kind": kind, "match": match, "attempt": 0}
    return {**empty, **named, "git_sha": "0123456789abcdef"}


def write_epochs(folder: Path, wrong: Mapping[Key, Sequence[int]], epochs: int = 5) -> None:
    """epochs.parquet with an error that falls to the given one."""
    rows = []
    for (arm, kind, match), values in wrong.items():
        for trial, last in enumerate(values):
            for epoch in range(1, epochs + 1):
                named = {"arm": arm, "control_kind": kind, "match": match, "trial": trial, "epoch": epoch}
                numbers = {"lr": 0.1, "train_loss": 1 / epoch, "grad_norm": 1.0, "param_norm": 2.0, "test_nll": 0.3}
                counts = {"step": epoch, "train_wrong": 9, "test_wrong": last * epochs // epoch}
                rows.append({"study_id": "hybrid-cifar10-confirm", **named, **numbers, **counts})
    write_parquet(folder / "epochs.parquet", [{name: r[name] for name in EPOCH_COLUMNS} for r in rows], EPOCH_COLUMNS)


def write_predictions(folder: Path, predicted: Mapping[Key, Sequence[Sequence[int]]], labels: Sequence[int]) -> None:
    """predictions.parquet of predicted classes by cell and trial."""
    rows = []
    for (arm, kind, match), trials in predicted.items():
        for trial, classes in enumerate(trials):
            for picture, (label, pred) in enumerate(zip(labels, classes, strict=True)):
                named = {"arm": arm, "control_kind": kind, "match": match, "trial": trial, "image_id": picture}
                rows.append({"study_id": "x", **named, "label": label, "pred": pred, "p_true": 0.5, "margin": 0.1})
    write_parquet(folder / "predictions.parquet", rows, PREDICTION_COLUMNS)


def undrawn(analysis: Any) -> list[Picture]:
    """In place of `report.figures`, where a test is about something else: drawing takes seconds."""
    names = ("errors", "forest", "null", "slopes", "profiles", "cost", "similarity", "divergence", "power", "margin")
    return [Picture(f"f{at}_{name}", name, "", absent="left out by the test") for at, name in enumerate(names, 1)]
