"""What the launcher decides without training anything."""

from pathlib import Path

from dsresearch import data
from dsresearch.launch import ENVIRONMENT, Launcher, default_workers
from dsresearch.ledger import cell_of
from dsresearch.plan import Request, plan
from dsresearch.store import Store, write_json


def launcher(folder: Path) -> Launcher:
    made = Launcher(plan(Request(profile="smoke"), data.load("digits")), Store(folder), workers=1)
    made.store.prepare(made.plan)
    return made


def test_a_baseline_of_another_machine_is_trained_anew_beside_its_rerun(tmp_path: Path) -> None:
    one = launcher(tmp_path)
    cells = {cell.control: cell for cell in one.plan.cells if cell.arm == "separable"}
    here = dict.fromkeys(ENVIRONMENT, "here")
    for stored, wanted in (({}, 0), ({"device_kind": "elsewhere"}, 1), ({"jaxlib": "older"}, 1)):
        write_json(one.store.cell(cells[""]).path / "result.json", {"attempt": 1, "rows": [{**here, **stored}]})
        write_json(one.store.cell(cells["rerun"]).path / "result.json", {"attempt": 1, "rows": [here]})
        assert len(one._baseline_anew()) == wanted
    twin = one._baseline_anew()[0]
    assert twin.control == "rerun_baseline"
    assert twin.design == cells[""].design
    assert twin.id not in {cell.id for cell in one.plan.cells}


def test_what_is_written_of_a_cell_is_that_cell_again(tmp_path: Path) -> None:
    """A worker trains what cell.json says: of every arm and control, and of the baseline trained anew."""
    one = launcher(tmp_path)
    for cell in one.plan.cells:
        config = one.store.cell(cell).config()
        settings = {key: config[key] for key in ("profile", "data", "arm", "setup", "role", "control", "match")}
        protocol = dict(config["protocol"])
        seeds = {"seed": protocol.pop("seed"), "trials": protocol.pop("trials")}
        parts = {"design": config["design"], "recipe": config["recipe"], "protocol": protocol}
        for control in {cell.control, "rerun_baseline"} if cell.control == "rerun" else {cell.control}:
            again = cell_of("hybrid", {**settings, **parts, **seeds, "control": control})
            assert (again.id == cell.id) == (control == cell.control)
            assert (again.arm, again.role, again.design) == (cell.arm, cell.role, cell.design)


def test_workers_leave_a_cell_its_threads() -> None:
    assert default_workers(threads=1) >= default_workers(threads=2) >= 1
