"""Columns of the study's files: their kinds, meaning and order.

One name for one thing: which pair a row belongs to is its `trial`, which split its `split_sha256`, and which
configuration its `cell_id`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dsresearch.design import KERNELS, MATCHES, ORDERS, nearest

SCHEMA_VERSION = 1

# '' is an ordinary arm; the others are the controls, and the baseline trained anew beside `rerun` where the stored
# baseline came from another machine.
CONTROL_KINDS = ("", "rerun", "rerun_baseline", "bit", "exact", "seed", "split")
ROLES = ("baseline", "candidate", "rival", "control", "reading", "arm", "exploratory")
EQ_CLASSES = ("", "exact", "reparam", "distinct")
EXACT = 1e-10  # largest relative difference, float64, of outputs and gradients that are called the same
STATUSES = ("ok", "diverged", "failed")

Kind = Literal["whole", "number", "flag", "text", "sha256"]


@dataclass(frozen=True)
class Column:
    """One column: its kind, what it means, the words it may hold, and whether a cell may be empty.

    `whole` is a non-negative integer, `number` a finite float, `flag` true or false, `sha256` 64 hexadecimal digits.
    `stored` is the Arrow type in Parquet files where it is narrower than the kind. Files from before a `later` column
    came lack it, and read as if it were empty.
    """

    kind: Kind
    meaning: str
    words: tuple[str, ...] = ()
    optional: bool = False
    stored: str = ""
    later: bool = False


def _whole(meaning: str, optional: bool = False, stored: str = "") -> Column:
    return Column("whole", meaning, (), optional, stored)


def _number(meaning: str, optional: bool = False, stored: str = "") -> Column:
    return Column("number", meaning, (), optional, stored)


def _text(meaning: str, *words: str, optional: bool = False) -> Column:
    return Column("text", meaning, words, optional or "" in words)


def _sha(meaning: str) -> Column:
    return Column("sha256", f"sha256 of {meaning}", (), optional=True)


KEY = ("study_id", "arm", "control_kind", "match", "trial")

_STUDY = {"study_id": _text("<study>-<data>-<profile>")}
_ARM = {
    "arm": _text("name of the arm that was trained"),
    "control_kind": _text("which control the row belongs to, empty for an ordinary arm", *CONTROL_KINDS),
    "match": _text("what is held equal to the baseline", *MATCHES),
}
_TRIAL = {"trial": _whole("one split, data order and augmentation, shared by all arms", stored="int32")}

TRIAL_COLUMNS: Mapping[str, Column] = {
    "schema_version": _whole("version of these columns"),
    **_STUDY,
    **_ARM,
    **_TRIAL,
    "protocol_sha256": _sha("the protocol that was decided beforehand"),
    "profile": _text("name of the profile, or custom (from ...)"),
    "dataset": _text("label of the pictures"),
    "setup": _text("named point of the design space"),
    "role": _text("what the arm is in the study", *ROLES),
    "eq_class": _text("how the arm's function relates to the baseline's", *EQ_CLASSES),
    "groups": _whole("group count, towers or cardinality; 0 where the setup has none", optional=True),
    "order": _text("which operation comes first", "", *ORDERS),
    "residual": Column("flag", "the module's input is added to its output", optional=True),
    "activation": _text("non-linearity between the operations", optional=True),
    "normalise": Column("flag", "BatchNorm before that non-linearity", optional=True),
    "kernel": _whole("side of the spatial kernel, pixels", optional=True),
    "width": _whole("channels of the first stage", optional=True),
    "depth": _whole("modules in each stage", optional=True),
    "multiplier": _whole("depth multiplier", optional=True),
    "network": Column("text", "published network, in the place of the study's stack", optional=True, later=True),
    "factor": Column("number", "factor on the published network's channels", optional=True, later=True),
    "image": Column("whole", "side of the pictures, enlarged for the network, in pixels", optional=True, later=True),
    "options": Column("text", "its other fields that differ from the published ones", optional=True, later=True),
    "split_protocol": _text("how training and test pictures were parted"),
    "split_seed": _whole("seed of the split", optional=True),
    "init_seed": _whole("seed of the initial weights", optional=True),
    "order_seed": _whole("seed of the data order", optional=True),
    "aug_seed": _whole("seed of the augmentation", optional=True),
    "bit_flip": _whole("weights moved by one ulp"),
    "transport": _text("whose initial weights the model took", "none", "baseline", "partial"),
    "n_train": _whole("training pictures"),
    "n_test": _whole("test pictures"),
    "epochs": _whole("passes over the training pictures"),
    "steps": _whole("optimiser steps"),
    "batch_size": _whole("pictures a step"),
    "optimizer": _text("optimiser"),
    "lr": _number("peak learning rate"),
    "momentum": _number("momentum"),
    "wd": _number("weight decay"),
    "schedule": _text("learning rate against steps"),
    "warmup": _number("share of the steps in which the rate rises"),
    "fall": Column("number", "factor on the learning rate at a step of a staircase", optional=True, later=True),
    "every": Column("whole", "epochs or pictures between two such steps", optional=True, later=True),
    "smoothing": Column("number", "label smoothing", optional=True, later=True),
    "polyak": Column("number", "decay of the averaged weights; 0 evaluates the last ones", optional=True, later=True),
    "augment": _text("augmentation"),
    "dtype": _text("dtype of the activations"),
    "params": _whole("trainable parameters"),
    "stats": _whole("running statistics of BatchNorm"),
    "macs_fwd": _whole("multiply-adds of one forward pass of one picture"),
    "test_wrong": _whole("test pictures classified wrongly after the last epoch; empty when failed", optional=True),
    "test_nll": _number("mean negative log-likelihood on the test pictures, nats; empty when diverged", optional=True),
    "train_wrong": _whole("training pictures classified wrongly; empty when failed", optional=True),
    "train_loss": _number("mean training loss of the last epoch, nats; empty when diverged", optional=True),
    "status": _text("how the training ended", *STATUSES),
    "error_msg": _text("what went wrong", optional=True),
    "exec_mode": _text("how trials were put in a program", "sequential", "vmap", "sharded"),
    "trial_batch": _whole("trials in one program"),
    "threads": _whole("CPU threads of the cell"),
    "kernels": Column(
        "text", "whose convolutions on a CPU, empty: XLA's", ("", *KERNELS[1:]), optional=True, later=True
    ),
    "device_kind": _text("device"),
    "device_count": _whole("devices of the cell"),
    "matmul_precision": _text("jax_default_matmul_precision", optional=True),
    "xla_flags": _text("XLA_FLAGS", optional=True),
    "jax": _text("version"),
    "jaxlib": _text("version"),
    "flax": _text("version"),
    "python": _text("version"),
    "platform": _text("operating system and machine"),
    "cell_id": _text("hash of design, recipe, protocol, data and control kind"),
    "data_sha256": _sha("the pictures"),
    "split_sha256": _sha("the indices of the split"),
    "init_sha256": _sha("the initial weights"),
    "params_sha256": _sha("the final weights"),
    "predictions_sha256": _sha("the predictions on the test pictures"),
}

RUN_COLUMNS: Mapping[str, Column] = {
    **_STUDY,
    **_ARM,
    "cell_id": _text("hash of design, recipe, protocol, data and control kind"),
    "attempt": _whole("which start of the cell"),
    "status": _text("how the attempt ended"),
    "started_utc": _text("ISO 8601"),
    "stopped_utc": _text("ISO 8601", optional=True),
    "wall_s": _number("seconds from start to stop", optional=True),
    "compile_s": _number("seconds of them in the compiler", optional=True),
    "train_s": _number("seconds of them in training", optional=True),
    "images_per_s": _number("training pictures a second", optional=True),
    "peak_mem_mib": _number("largest memory of the process, MiB", optional=True),
    "host": _text("name of the machine", optional=True),
    "cpu": _text("its processor", optional=True),
    "git_sha": _text("commit of the code", optional=True),
    "git_dirty": Column("flag", "the checkout had changes", optional=True),
    "sacred_run_id": _text("run in the cell's folder", optional=True),
    "resumed_from_epoch": _whole("epoch of the checkpoint that the attempt went on from", optional=True),
}

EPOCH_COLUMNS: Mapping[str, Column] = {
    **_STUDY,
    **_ARM,
    **_TRIAL,
    "epoch": _whole("passes done, from 1", stored="int32"),
    "step": _whole("optimiser steps done"),
    "lr": _number("learning rate of the last step", optional=True),
    "train_loss": _number("mean loss of the epoch, nats", optional=True),
    "train_wrong": _whole("training pictures classified wrongly in the epoch", stored="int32"),
    "test_wrong": _whole("test pictures classified wrongly", stored="int32"),
    "test_nll": _number("mean negative log-likelihood on the test pictures, nats", optional=True),
    "grad_norm": _number("mean norm of the gradient over the epoch", optional=True),
    "param_norm": _number("norm of the weights", optional=True),
}

PREDICTION_COLUMNS: Mapping[str, Column] = {
    **_STUDY,
    **_ARM,
    **_TRIAL,
    "image_id": _whole("index of the picture in the data set's fixed order", stored="uint16"),
    "label": _whole("its class", stored="uint8"),
    "pred": _whole("predicted class", stored="uint8"),
    "p_true": _number("probability given to the true class", optional=True, stored="float16"),
    "margin": _number("that probability less the largest other one", optional=True, stored="float16"),
}

MOST_PICTURES, MOST_CLASSES = 2**16, 2**8  # of a data set: what image_id, label and pred can tell apart

DIVERGENCE_COLUMNS: Mapping[str, Column] = {
    **_STUDY,
    "control_kind": _text("whose weights are compared with the baseline's", "bit", "exact", "seed"),
    **_TRIAL,
    "step": _whole("optimiser steps done by both"),
    "relative_distance": _number("norm of the difference of their weights over the norm of the baseline's"),
    "param_norm": _number("norm of the baseline's weights"),
}

# What may be varied without another bit, or with as little as is promised (T10 of a report).
INVARIANCES = (
    "rerun in a fresh process",
    "resume from a checkpoint",
    "one trial alone or among others",
    "evaluation on or off",
    "order of the cells",
    "number of workers",
    "trials in one program",
    "exact formulation, float64",
)
DETERMINISM_COLUMNS: Mapping[str, Column] = {
    "invariance": _text("what is varied", *INVARIANCES),
    "passed": Column("flag", "the promise was kept"),
    "sha256": _sha("the final weights of trial 0"),
    "device": _text("the processor", optional=True),
}

# What two trainings must share for their bits to be comparable. (How trials are put in a program is the protocol's.)
ENVIRONMENT = (
    *("device_kind", "device_count", "platform", "threads", "kernels"),
    *("matmul_precision", "xla_flags", "jax", "jaxlib", "flax", "python"),
)

# What a study's folder keeps of the study itself.
STUDY_FILES = ("protocol.toml", "cells.json", "trials.csv", "runs.csv", "epochs.parquet", "predictions.parquet")

# Rows that may not differ within one trials.csv: two values are two studies, and no pair may be formed across them.
ONE_STUDY = ("study_id", "protocol_sha256", "profile", "dataset", "split_protocol", "n_train", "n_test", "data_sha256")


# --- what a cell may hold ---------------------------------------------------------------------------------------


def fault(column: Column, cell: str) -> str:
    """What is allowed in a cell, where it holds something else."""
    if not cell:
        return "" if column.optional else "not empty"
    if column.words and cell not in column.words:
        return f"one of {', '.join(repr(word) for word in column.words)}{nearest(cell, column.words)}"
    if column.kind == "whole" and not re.fullmatch(r"[0-9]{1,18}", cell, re.ASCII):
        return "a whole number; percentages are derived, never stored"
    if column.kind == "number" and not _is_number(cell):
        return "a finite number"
    if column.kind == "flag" and cell not in ("true", "false"):
        return "true or false"
    if column.kind == "sha256" and not re.fullmatch(r"[0-9a-f]{64}", cell):
        return "64 hexadecimal digits"
    return ""


def _is_number(cell: str) -> bool:
    plain = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", cell, re.ASCII)
    return plain is not None and math.isfinite(float(cell))


def arrow_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """The Arrow schema in which a file of these columns is stored."""
    plain = {"whole": "int64", "number": "float64", "flag": "bool"}
    return pa.schema(
        [
            (name, pa.type_for_alias(column.stored or plain.get(column.kind, "string")))
            for name, column in columns.items()
        ]
    )
