"""A study's files that somebody has broken: read for what they are, or refused by name in one line."""

import contextlib
import csv
import io
import json
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from fuzzing import bounded, broken, cases, changed, command, each, edits, text, value, watched
from hypothesis import strategies as st
from store_builder import made_up
from study_builder import good_study, undrawn, write_epochs, write_predictions, write_study

from dsresearch import ledger
from dsresearch.checkpoint import Checkpoints
from dsresearch.design import InputError
from dsresearch.launch import Launcher
from dsresearch.trials import Result

Edits = list[tuple[str, int, bytes]]
PATH = st.lists(st.integers(0, 60), max_size=5)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn, no design simulated, no cell trained."""
    monkeypatch.setattr("dsresearch.report.figures", undrawn)
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)
    monkeypatch.setattr("dsresearch.report.planning.PRINTED_STUDIES", 20)
    monkeypatch.setattr(Launcher, "_start", lambda self, *words: subprocess.Popen(["false"]))
    monkeypatch.setattr("dsresearch.launch.POLL_SECONDS", 0.001)


def changed_file(name: str, content: bytes, path: list[int], new: Any, word: str) -> bytes:
    """A file of the study with one of its values replaced, in its own format; bytes where it has none of these."""
    if name.endswith(".json"):
        return json.dumps(changed(json.loads(content), path, new)).encode("utf-8", "surrogatepass")
    if name.endswith(".toml"):
        return tomli_w.dumps(changed(tomllib.loads(content.decode()), path or [0], new)).encode()
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    where = [*path, 1, 1][:2]
    row = rows[where[0] % len(rows)]
    row[where[1] % len(row)] = word
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue().encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of a small study by name."""
    folder = tmp_path_factory.mktemp("study")
    wrong = {key: [20 + count % 9 for count in counts] for key, counts in good_study(2).items()}
    pair = {"a": "separable", "b": "separable_strict", "class": "exact", "max_rel_out_f64": 4e-16, "passed": True}
    write_study(folder, wrong, exactness={"pairs": [pair]}, n_test=60)
    write_epochs(folder, wrong, epochs=3)
    labels = [at % 10 for at in range(60)]
    predicted = {
        key: [[(label + (at < count)) % 10 for at, label in enumerate(labels)] for count in counts]
        for key, counts in wrong.items()
    }
    write_predictions(folder, predicted, labels)
    (folder / "determinism.csv").write_text("invariance,passed,sha256,device\norder of the cells,true,,cpu\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def reported(tmp_path: Path, study: dict[str, bytes], name: str, content: bytes, words: int) -> None:
    """Report, or one of the other commands that read a study, on a study with one other file."""
    folder, to = tmp_path / "study", tmp_path / "to"
    folder.mkdir(exist_ok=True)
    for other, data in {**study, name: content}.items():
        (folder / other).write_bytes(data)
    commands: list[tuple[str, ...]] = [
        ("report", str(folder), "--to", str(to)),
        ("compare", str(folder), "--baseline", "separable", "--to", str(to)),
        ("status", str(folder)),
        ("run", "hybrid", "--profile", "smoke", "--dry-run", "--out", str(folder)),
    ]
    found = command(*commands[words], writable=[to, folder], keeps=[tmp_path])
    if words == 0 and found.status != 2:
        json.loads((to / "verdict.json").read_bytes(), parse_constant=pytest.fail)
        assert "<script" not in (to / "report.html").read_text(encoding="utf-8").lower()
    shutil.rmtree(to, ignore_errors=True)


FILES = ("protocol.toml", "trials.csv", "runs.csv", "exactness.json", "determinism.csv", "epochs.parquet",
         "predictions.parquet")  # fmt: skip


@cases("study files")
def test_a_study_with_a_broken_file(tmp_path: Path, study: dict[str, bytes], examples: int) -> None:
    @each(examples, st.sampled_from(FILES), edits, st.integers(0, 3))
    def check(name: str, changes: Edits, words: int) -> None:
        reported(tmp_path, study, name, broken(study[name], changes), words)


@cases("study values")
def test_a_study_with_another_value(tmp_path: Path, study: dict[str, bytes], examples: int) -> None:
    @each(examples, st.sampled_from(FILES[:5]), PATH, value, text, st.integers(0, 3))
    def check(name: str, path: list[int], new: Any, word: str, words: int) -> None:
        try:
            content = changed_file(name, study[name], path, new, word)
        except (TypeError, ValueError, AttributeError):  # what no TOML can hold
            return
        reported(tmp_path, study, name, content, words)


# --- a store while it is run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the study's own cells."""
    return made_up(tmp_path_factory.mktemp("store") / "store", 13).root


RUN = ("run", "hybrid", "--profile", "smoke", "--workers", "1", "--out")


def again(folder: Path, name: str, content: bytes, words: int) -> None:
    """Look at a store with one other file, and run what it lacks; the file is put back."""
    path = folder / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    commands = (("status", str(folder)), (*RUN, str(folder), "--dry-run"), (*RUN, str(folder)))
    try:
        command(*commands[words], writable=[folder], may_start=words == 2)
    finally:
        path.unlink(missing_ok=True) if before is None else path.write_bytes(before)  # a run clears it


@cases("store files")
def test_a_store_with_a_broken_file(tmp_path: Path, store: Path, examples: int) -> None:
    shutil.copytree(store, tmp_path / "store")
    folder = tmp_path / "store"
    cell = next(path.parent for path in sorted(folder.glob("cells/*/cell.json")))
    names = ["protocol.toml", "exactness.json", "cells.json"]
    names += [str((cell / name).relative_to(folder)) for name in ("cell.json", "result.json", "attempts/1/run.json",
              "attempts/1/info.json", "attempts/1/epochs.parquet", "attempts/1/predictions.parquet")]  # fmt: skip
    whole = {name: (folder / name).read_bytes() for name in names}
    progress = str((cell / "progress.json").relative_to(folder))
    whole[progress] = b'{"done": 1, "total": 4, "here": 1, "seconds": 2.0, "images_per_s": 3.0}'

    @each(examples, st.sampled_from(sorted(whole)), edits, PATH, value, st.booleans(), st.integers(0, 2))
    def check(name: str, changes: Edits, path: list[int], new: Any, valid: bool, words: int) -> None:
        content = broken(whole[name], changes)
        if valid and name.endswith(("json", "toml")):
            try:
                content = changed_file(name, whole[name], path, new, "")
            except (TypeError, ValueError, AttributeError):
                return
        again(folder, name, content, words)


@cases("restore")
def test_exported_files_that_are_broken(
    tmp_path: Path, store: Path, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"  # where the store is made that is looked into
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    files = ("protocol.toml", "cells.json", "trials.csv", "runs.csv", "epochs.parquet", "predictions.parquet")
    whole = {name: (store / name).read_bytes() for name in files}

    @each(examples, st.sampled_from(files), edits, PATH, value, text, st.booleans())
    def check(name: str, changes: Edits, path: list[int], new: Any, word: str, valid: bool) -> None:
        content = broken(whole[name], changes)
        if valid and not name.endswith("parquet"):
            try:
                content = changed_file(name, whole[name], path, new, word)
            except (TypeError, ValueError, AttributeError):
                return
        folder = tmp_path / "restored"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for other, data in {**whole, name: content}.items():
            (folder / other).write_bytes(data)
        command("status", str(folder), writable=[scratch])
        assert {path.name for path in folder.iterdir()} == set(whole)
        assert not list(scratch.iterdir())


@cases("cell.json")
def test_a_worker_whose_cell_is_broken(
    tmp_path: Path, store: Path, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object) -> None:
        raise InputError("this would train")

    monkeypatch.setattr(ledger, "experiment", trained)
    monkeypatch.setattr("dsresearch.runtime.die_with_parent", lambda: None)
    shutil.copytree(store, tmp_path / "store")
    cell = next(path.parent for path in sorted((tmp_path / "store").glob("cells/*/cell.json")))
    (cell / "result.json").unlink()
    whole = (cell / "cell.json").read_bytes()

    @each(examples, edits, PATH, value, st.booleans())
    def check(changes: Edits, path: list[int], new: Any, valid: bool) -> None:
        content = changed_file("cell.json", whole, path, new, "") if valid else broken(whole, changes)
        (cell / "cell.json").write_bytes(content)
        words = ("worker", "cell", str(tmp_path / "store"), cell.name)
        assert command(*words, writable=[tmp_path / "store"]).status == 2


# --- what an unfinished cell keeps ------------------------------------------------------------------------------


@cases("kept trial")
def test_a_finished_trial_that_is_broken(tmp_path: Path, examples: int) -> None:
    import numpy as np

    kept = Result({"trial": 0, "test_wrong": 3}, {"epoch": np.arange(3)}, {"pred": np.arange(5, dtype=np.uint8)})
    kept.save(tmp_path / "0.npz")
    whole = (tmp_path / "0.npz").read_bytes()
    _refused(examples, tmp_path / "0.npz", whole, Result.load)


def _refused(examples: int, path: Path, whole: bytes, load: Callable[[Path], object]) -> None:
    """What is broken is a value or an error that its caller knows, and never costs more memory than it should."""

    @each(examples, edits)
    def check(changes: Edits) -> None:
        path.write_bytes(broken(whole, changes))
        with bounded(), watched(), contextlib.suppress(OSError, ValueError):
            load(path)


@cases("checkpoint")
def test_a_checkpoint_that_is_broken(tmp_path: Path, examples: int) -> None:
    import jax.numpy as jnp

    like = {"a": jnp.arange(6.0), "b": {"c": jnp.ones((2, 3))}}
    Checkpoints(tmp_path / "whole").save(0, 1, like)
    files = sorted(path for path in (tmp_path / "whole").rglob("*") if path.is_file())

    @each(examples, st.sampled_from(range(len(files))), edits)
    def check(at: int, changes: Edits) -> None:
        shutil.rmtree(tmp_path / "broken", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "broken")
        path = tmp_path / "broken" / files[at].relative_to(tmp_path / "whole")
        path.write_bytes(broken(path.read_bytes(), changes))
        Checkpoints(tmp_path / "broken").newest(0, like)
