"""What grows with the number of cells grows in proportion to it; counted, because seconds are the machine's."""

import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from store_builder import PROFILE, made_up
from study_builder import undrawn, write_study

from dsresearch import cli, data, launch, schema
from dsresearch.launch import Launcher
from dsresearch.record.export import export
from dsresearch.record.progress import Progress
from dsresearch.record.store import Store
from dsresearch.report import draw_trials
from dsresearch.report.evidence import Analysis
from dsresearch.report.study import read_study
from dsresearch.report.tables import MOST_ROWS, Field, Table, shortened, to_csv
from dsresearch.studies.plan import Request, plan

ROOT = Path(__file__).parents[1]
_opened: list[str] | None = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and _opened is not None and isinstance(args[0], str):
        _opened.append(args[0])


sys.addaudithook(_hook)


def opened(folder: Path, work: Callable[[], object]) -> int:
    """How often files and folders below `folder` are opened by some work."""
    global _opened
    _opened = seen = []
    try:
        work()
    finally:
        _opened = None
    return sum(path.startswith(str(folder)) for path in seen)


SIZES = (19, 31, 43)  # cells


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [made_up(tmp_path_factory.mktemp("scale") / f"store-{cells}", cells).root for cells in SIZES]


def _run(folder: Path) -> list[str]:
    return ["run", "hybrid", "--profile", PROFILE, "--grid", str(folder.with_suffix(".toml")), "--out", str(folder)]


@pytest.mark.parametrize("name", ["status", "find", "export", "report"])
def test_every_file_is_opened_a_fixed_number_of_times(
    stores: list[Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dsresearch.report.figures", undrawn)
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)
    monkeypatch.setattr("dsresearch.report.planning.PRINTED_STUDIES", 20)
    work: dict[str, Callable[[Path], object]] = {
        "status": lambda folder: cli.main(["status", str(folder)]),
        "find": lambda folder: cli.main([*_run(folder), "--dry-run"]),
        "export": lambda folder: export(Store(folder)),
        "report": lambda folder: cli.main(["report", str(folder), "--to", str(tmp_path)]),
    }
    counts = [opened(folder, lambda folder=folder: work[name](folder)) for folder in stores]  # type: ignore[misc]
    assert counts[1] - counts[0] == counts[2] - counts[1]
    assert counts[0] > 0
    assert (counts[1] - counts[0]) / (SIZES[1] - SIZES[0]) <= 8
    if name == "status":
        assert f"{SIZES[-1]} done" in capsys.readouterr().out


def test_nothing_is_missing_of_a_made_up_store(stores: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*_run(stores[0]), "--dry-run"]) == 0
    assert "missing: 0 models" in capsys.readouterr().out


def test_a_finished_cell_is_told_without_looking_at_the_others(stores: list[Path]) -> None:
    asked = plan(Request(profile=PROFILE), data.load("digits"))
    progress = Progress(Store(stores[0]), asked, asked.cells, out=io.StringIO())
    assert opened(stores[0], lambda: progress.finished(asked.cells[0])) == 1


def test_exporting_takes_a_twentieth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand cells of 10 seconds, where an export takes a tenth of a second more with every cell."""
    clock, spent, cells = [0.0], [], [0]

    def slow(store: Store) -> None:
        spent.append(0.1 * cells[0])
        clock[0] += spent[-1]

    monkeypatch.setattr(launch, "export", slow)
    monkeypatch.setattr(launch.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Store, "one_at_a_time", lambda store: contextlib.nullcontext())
    one = Launcher(plan(Request(profile="smoke"), data.load("digits")), Store(tmp_path), workers=1)
    for _ in range(1_000):
        cells[0] += 1
        clock[0] += 10
        one._export_at_times()
    assert len(spent) > 20
    assert sum(spent) < 0.06 * clock[0]


def test_a_folder_that_looks_like_a_column_adds_none(stores: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "rate=0.1"
    folder.mkdir()
    content = (stores[0] / "epochs.parquet").read_bytes()
    (folder / "epochs.parquet").write_bytes(content)
    assert list(schema.read_parquet(folder / "epochs.parquet", schema.EPOCH_COLUMNS)) == list(schema.EPOCH_COLUMNS)


def test_too_many_arms_for_a_figure_are_said_to_be(tmp_path: Path) -> None:
    wrong = {("separable", "", "width"): [70, 71]} | {(f"grouped:width={w}", "", "width"): [72, 73] for w in range(100)}
    analysis = Analysis(read_study(write_study(tmp_path, wrong)))
    assert "101 arms are more than the 40" in draw_trials.forest(analysis).absent


def test_a_long_table_is_whole_in_its_files_and_short_on_a_page() -> None:
    rows = tuple({"arm": f"a{at}"} for at in range(MOST_ROWS + 3))
    table = Table("cost", "Cost", "", (Field("arm", "arm", "name"),), rows)
    assert len(to_csv(table).splitlines()) == MOST_ROWS + 4
    assert len(shortened(table).rows) == MOST_ROWS
    assert shortened(table).notes == ("3 more rows stand in tables/cost.csv and tables/cost.md.",)
    assert shortened(shortened(table)) == shortened(table)


def _script(name: str) -> ModuleType:
    """A file of benchmarks/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_what_the_results_give() -> None:
    page = _script("scale_page")
    assert page.injected(page.PAGE, page.texts()) == page.PAGE.read_text(encoding="utf-8")


def test_the_benchmark_exports_and_no_failure_is_a_timing(
    stores: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    scale, table = _script("scale"), stores[0] / "trials.csv"
    before = table.stat().st_mtime_ns
    assert scale.measured("export", scale.commands(stores[0])["export"])["wall_s"] > 0
    assert table.stat().st_mtime_ns > before
    ends_with_1 = [sys.executable, "-c", "raise SystemExit(1)"]
    assert scale.measured("report", ends_with_1)["wall_s"] > 0
    with pytest.raises(SystemExit, match="raise SystemExit"):
        scale.measured("export", ends_with_1)


def test_the_tables_of_our_kernels_are_those_of_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for page, text in _script("native_page").pages().items():
        assert page.read_text(encoding="utf-8") == text
