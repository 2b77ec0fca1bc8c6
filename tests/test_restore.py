"""From a store to a study's files and back: by several at once, beside damage, under all names of a cell."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from store_builder import finish, made_up
from study_builder import CLASS

from dsresearch import data
from dsresearch.design import InputError
from dsresearch.record import restore
from dsresearch.record.export import export
from dsresearch.record.store import Store, write_json
from dsresearch.report.evidence import Analysis
from dsresearch.report.study import read_study
from dsresearch.studies.plan import Request, plan

FILES = ("protocol.toml", "cells.json", "trials.csv", "runs.csv", "epochs.parquet", "predictions.parquet")


def files_of(store: Store) -> dict[str, bytes]:
    return {name: (store.root / name).read_bytes() for name in FILES}


def test_of_several_that_restore_one_folder_one_does_and_the_others_find_it_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_up(tmp_path / "made", 6)
    store = Store(tmp_path / "study")
    store.root.mkdir()
    for name in (*FILES, "exactness.json"):
        shutil.copy(made.root / name, store.root / name)
    results, write = restore._results, []

    def slow(*words: Any) -> None:
        write.append(threading.current_thread().name)
        time.sleep(0.05)
        results(*words)

    monkeypatch.setattr(restore, "_results", slow)
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(restore.restore(store))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, False, True]
    assert len(set(write)) == 1
    assert all(folder.result() for folder in store.cells())
    assert not (store.root / "restoring").exists()
    (store.root / "logs").mkdir()
    before = files_of(store)
    export(store)
    assert files_of(store) == before


def test_a_damaged_cell_leaves_the_files_what_they_were(tmp_path: Path) -> None:
    store = made_up(tmp_path / "study", 3)
    before = files_of(store)
    for path in (store.cells()[0].path / "attempts").rglob("epochs.parquet"):
        path.unlink()
    with pytest.raises(InputError, match=r"epochs\.parquet"):
        export(store)
    assert files_of(store) == before


def test_an_arm_that_is_its_own_at_equal_size_counts_at_every_size(tmp_path: Path) -> None:
    """`--match` asks for one cell under further names; the verdict needs the hybrid among the arms of equal size."""
    store, pictures = Store(tmp_path), data.load("digits")
    words = []
    for match in ("width", "params", "macs"):
        asked = plan(Request(match=match), pictures)
        store.prepare(asked)
        for cell in asked.once:
            if store.cell(cell).result() is None:
                finish(store, cell, asked)
        pairs = [{"a": "separable", "b": arm, "class": word, "passed": True} for arm, word in CLASS.items()]
        write_json(store.exactness_file, {"pairs": pairs})
        export(store)
        analysis = Analysis(read_study(tmp_path))
        analysis.rerun_differs = ()  # these rows are made up
        words.append(analysis.verdicts["hybrid"].qualifiers.get("capacity-confounded", ""))
        assert {cell.arm for cell in asked.asked if not cell.control and cell.role != "baseline"} == {
            cell.arm for cell in analysis.study.cells if cell.match == match and not cell.control_kind
        } - {"separable"}
        d = analysis.d(next(c for c in analysis.study.cells if c.arm == "hybrid" and c.match == match))
        assert len(d) == asked.protocol.trials
    assert "params not run, macs not run" in words[0]
    assert "macs not run" in words[1]
    assert "not run" not in words[2]
    names = {folder.config()["arm"]: folder.config().get("names") for folder in store.cells()}
    assert names["hybrid"] == [["hybrid", "params"], ["hybrid", "macs"]]
    assert names["separable"] is None


@pytest.mark.parametrize("names", [7, ["hybrid"], [["hybrid"]], [["hybrid", "size"]], [[1, "params"]]])
def test_names_that_are_none_are_refused_by_the_report_and_written_again_by_run(tmp_path: Path, names: Any) -> None:
    store = made_up(tmp_path / "study", 2)
    folder = store.cells()[0]
    write_json(folder.path / "cell.json", {**folder.config(), "names": names})
    assert folder.whole_config() is None
    write_json(store.cells_file, {folder.id: {"names": names}})
    with pytest.raises(InputError, match=r"cells\.json: cell .* pairs of arm and match"):
        read_study(store.root)


def test_a_look_leaves_a_folder_of_files_alone(tmp_path: Path) -> None:
    made, root = made_up(tmp_path / "made", 13), tmp_path / "study"
    root.mkdir()
    for name in (*FILES, "exactness.json"):
        shutil.copy(made.root / name, root / name)
    before = sorted(path.name for path in root.iterdir())
    with restore.looked_into(Store(root)) as seen:
        assert len([folder for folder in seen.cells() if folder.result()]) == 13
        assert seen.protocol() == made.protocol()
        assert not [*seen.root.rglob("*.parquet")]  # which would be read and written again for a line a cell
    assert sorted(path.name for path in root.iterdir()) == before
    assert not seen.root.exists()
    with restore.looked_into(made) as seen:
        assert seen is made
