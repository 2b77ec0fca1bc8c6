"""The benchmark's harness: what it computes and writes, and what it does without PyTorch, time or luck."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dsresearch.bench import crew, figure, layers, table
from dsresearch.bench.cases import (
    FIGURE_4,
    GROUPS,
    NETWORKS,
    Case,
    Network,
    Planned,
    case,
    every_setup,
    gpu_table,
    scaling,
)
from dsresearch.bench.crew import Crew, Member, RoleFailed, TimeIsUp
from dsresearch.bench.floor import elements, floor, macs
from dsresearch.bench.measure import Bench, Effort, blank, rows
from dsresearch.bench.run import Request, main, plan
from dsresearch.bench.worker import Worker, answer
from dsresearch.cli import main as cli
from dsresearch.design import SETUPS, Design, InputError

ROOT = Path(__file__).parents[1]
# The fields of a row that others read.
FIELDS = """setup groups trials dtype images_per_s flax_images_per_s torch_images_per_s torch_compile_images_per_s
    ratio_flax ratio_torch ratio_torch_compile fraction_of_floor compile_s peak_mib widths blocks image batch
    downsampling
    ratio_flax_min ratio_flax_max ratio_torch_min ratio_torch_max ratio_torch_compile_min ratio_torch_compile_max"""


# --- the floor --------------------------------------------------------------------------------------------------


def test_the_floor_is_the_published_one() -> None:
    """Bytes and FLOPs of the example network, worked out by hand elsewhere for one and for two BatchNorms a block."""
    of = case(NETWORKS["gpu"], "separable")
    assert elements(of) == 3_112_960
    assert floor(of).flops == pytest.approx(307e6, rel=0.002)
    assert floor(of).bytes == pytest.approx(6.24e6 + 61e3, rel=0.002)  # activations and pictures; weights
    assert floor(of).images_per_s(4.3e12, 790e12) == pytest.approx(689e3, rel=0.02)
    assert floor(case(NETWORKS["gpu"], "separable", mode="inference")).flops == 2 * macs(of)


def test_a_batch_norm_between_costs_its_tensor_six_times() -> None:
    class Normalised(Case):
        @property
        def design(self) -> Design:
            return dataclasses.replace(super().design, normalise=True)

    assert elements(Normalised(**vars(case(NETWORKS["gpu"], "separable")))) == 5_718_016


def test_float32_moves_twice_the_bytes_and_the_nearer_limit_binds() -> None:
    wide = floor(case(NETWORKS["gpu"], "grouped", groups=1, dtype="float32"))
    narrow = floor(case(NETWORKS["gpu"], "grouped", groups=1, dtype="bfloat16"))
    assert 1.9 < wide.bytes / narrow.bytes < 2
    assert wide.images_per_s(1e12, 1e9) == pytest.approx(1e9 / wide.flops)
    assert wide.images_per_s(1e9, 1e15) == pytest.approx(1e9 / wide.bytes)


@pytest.mark.parametrize("name", SETUPS)
def test_the_peers_layers_have_the_parameters_of_the_closed_form(name: str) -> None:
    of = case(NETWORKS["cpu"], name)
    kernels = [
        layer.kernel**2 * layer.inputs // layer.groups * layer.outputs * block.pixels
        for block in layers.blocks(of.design, of.image)
        for layer in layers.flat(block.layers)
        if isinstance(layer, layers.Conv)
    ]
    stem, head = 9 * 3 * of.width * of.image**2, of.design.widths[-1] * of.classes
    assert sum(kernels) + stem + head == macs(of)


# --- which rows -------------------------------------------------------------------------------------------------


def test_the_standard_networks_are_those_of_the_headline_table() -> None:
    assert NETWORKS["cpu"] == Network(width=32, depth=2, image=32, batch=128, dtype="float32")
    gpu = NETWORKS["gpu"]
    assert gpu.batch == NETWORKS["cpu"].batch, "--devices is checked before it is known which is measured"
    assert (case(gpu, "hybrid").design.widths, gpu.depth, gpu.dtype) == ((64, 128, 256), 4, "bfloat16")


def test_every_setup_is_measured_and_the_papers_six_come_first() -> None:
    cases = every_setup(Network())
    assert tuple(of.setup for of in cases[:6]) == FIGURE_4
    assert {of.setup for of in cases} == set(SETUPS)
    assert [of.groups for of in every_setup(Network(), ["grouped"])] == list(GROUPS)


def test_the_gpu_table_begins_with_what_tells_most() -> None:
    planned = gpu_table(NETWORKS["gpu"], ["flax", "torch"])
    first = planned[0]
    assert (first.case.setup, first.case.trials, first.case.dtype) == ("separable", 10, "bfloat16")
    assert {"torch", "torch_compile"} <= set(first.against)
    assert [row.case.setup for row in planned[1:6]] == list(FIGURE_4[1:])
    assert [row.case.trials for row in planned[6:9]] == [1, 2, 5]
    assert [row.case.groups for row in planned[9:14]] == list(GROUPS)
    assert {row.case.dtype for row in planned[14:]} == {"float32"}


def test_a_setup_that_is_not_in_the_gpu_table_has_its_row_where_it_is_asked_for() -> None:
    rows = gpu_table(NETWORKS["gpu"], ["torch"], ("separable", "bsconv_u"))
    assert {row.case.setup for row in rows} == {"separable", "bsconv_u"}
    assert [(row.case.trials, row.against) for row in rows if row.case.setup == "bsconv_u"] == [(10, ("torch",))]


def test_scaling_varies_one_thing_at_a_time_and_measures_the_middle_once() -> None:
    cases = scaling(NETWORKS["cpu"])
    assert len(set(cases)) == len(cases)
    middle = case(NETWORKS["cpu"], "separable")
    for of in cases:
        assert sum(getattr(of, name) != getattr(middle, name) for name in vars(of)) <= 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--setup", "seperable"], "did you mean 'separable'"),
        (["--against", "tensorflow"], "--against='tensorflow'"),
        (["--mode", "train"], "--mode='train'"),
        (["--network", "h100"], "--network='h100'"),
        (["--dtype", "float16"], "--dtype='float16'"),
        (["--rounds", "0"], "--rounds=0"),
        (["--seconds", "-1"], "--seconds=-1"),
        (["--devices", "3", "--threads", "2"], "--devices=3 is not allowed: it does not divide the 2 threads"),
        (["--devices", "3", "--threads", "3"], "it does not divide the 128 pictures of a batch"),
        (["--devices", "16", "--threads", "16", "--network", "tiny"], "the 8 pictures of a batch"),
        (["--devices", "2", "--threads", "2", "--mode", "scaling"], "--devices=2 is not allowed with --mode scaling"),
        (["--threads", "4096"], "threads=4096"),
        (["--kernels", "ours"], "--kernels='ours'"),
        (["--kernels", "fused"], "--kernels=fused is not allowed here: an accelerator computes by XLA's own"),
    ],
)
def test_wrong_words_are_one_line_and_nothing_is_written(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")  # where our own kernels are wrong words, too
    assert cli(["bench", *words, "--to", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_file_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsresearch.bench.run.Crew", lambda *_: pytest.fail("a worker was started"))
    (tmp_path / "file").write_text("")
    for to in ("file", "file/x.json"):
        assert cli(["bench", "--to", str(tmp_path / to)]) == 2
        assert f"--to={tmp_path / to} is not allowed" in capsys.readouterr().err


def test_kernels_that_this_processor_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setitem(sys.modules, "llvmlite", None)  # as where the extra is not installed
    with pytest.raises(InputError, match="--kernels=native is not allowed here: llvmlite is not installed"):
        Request(kernels="native").check()
    Request().check()


@pytest.mark.parametrize("kernels", ["native", "fused", "throughout", "winograd"])
def test_no_row_of_an_accelerator_says_that_our_kernels_computed_it(
    kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nothing but JAX knows of is found when our worker has started."""

    class Found(Crew):
        def ask(self, role: str, request: dict[str, Any], deadline: float) -> dict[str, Any]:
            assert request == {"do": "about"}
            return {"backend": "gpu", "device": "AMD Instinct MI300X"}

    monkeypatch.setattr("dsresearch.bench.run.Crew", Found)
    monkeypatch.setattr("dsresearch.bench.run.accelerated", lambda: False)
    with pytest.raises(InputError, match=f"--kernels={kernels} is not allowed here: an accelerator computes"):
        main(Request(kernels=kernels, to=tmp_path), ["bench"])
    assert not list(tmp_path.iterdir())


# --- a row, with workers that only say numbers ------------------------------------------------------------------


class Scripted(Crew):
    """A crew whose roles have scripted rates; in place of one a text is a failure, an exception is raised."""

    def __init__(self, rates: dict[str, list[Any]], compile_s: float = 3.25) -> None:
        super().__init__(threads=1)
        self.rates, self.asked = {role: iter(values) for role, values in rates.items()}, list[str]()
        self.compile_s = compile_s

    def ask(self, role: str, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        if request["do"] == "roof":
            return {"bytes_per_s": 69e9, "flops_per_s": 300e9}
        if request["do"] == "prepare":
            return {"compile_s": self.compile_s, "rss_mib": 700.4, "program_mib": 123.4}
        self.asked.append(role)
        value = next(self.rates[role])
        if isinstance(value, str | RoleFailed):
            raise RoleFailed(value) if isinstance(value, str) else value
        return {"images": value, "seconds": 1.0}

    def start(self, role: str) -> Member:
        raise AssertionError("no process is started here")


def test_the_roof_is_of_all_threads_where_processes_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank of two would reach half of it, and its program would stand above its own floor."""
    alone: list[tuple[int, int]] = []

    class Alone(Scripted):
        def __init__(self, threads: int, devices: int = 1) -> None:
            super().__init__({})
            alone.append((threads, devices))

    monkeypatch.setattr("dsresearch.bench.measure.Crew", Alone)
    shared = Scripted({"ours": [500.0] * 5})
    shared.threads, shared.devices = 4, 2
    bench = Bench(shared, False, False, {}, lambda text: None)
    list(rows(bench, Planned(case(NETWORKS["cpu"], "separable"), ()), Effort(rounds=3, seconds=1.0)))
    assert alone == [(4, 1)]
    assert bench.roofs["float32"]["bytes_per_s"] == 69e9


def measured(rates: dict[str, list[Any]], **changes: Any) -> tuple[list[dict[str, Any]], Scripted]:
    scripted = Scripted(rates)
    bench = Bench(scripted, False, False, {}, lambda text: None)
    planned = Planned(case(NETWORKS["cpu"], "separable", **changes), tuple(role for role in rates if role != "ours"))
    return [dict(row) for row in rows(bench, planned, Effort(rounds=3, seconds=1.0))], scripted


def test_ratios_are_medians_of_pairs_of_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsresearch.bench.measure.missing", lambda role, gpu: "")
    found, scripted = measured({"ours": [1, 1, 100, 300, 200], "torch": [50, 100, 400], "torch_kept": [100] * 3})
    alone, whole = found
    assert alone["images_per_s"] == 1
    assert alone["ratio_torch"] is None
    assert whole["images_per_s"] == 200
    assert whole["torch_images_per_s"] == 100
    assert (whole["ratio_torch_min"], whole["ratio_torch"], whole["ratio_torch_max"]) == (0.5, 2, 3)  # 2, 3, 0.5
    assert (whole["ratio_torch_kept"], whole["rounds"]) == (2, 3)
    assert whole["ratio_flax"] is None
    assert scripted.asked[2:8] == ["ours", "torch", "torch_kept", "torch_kept", "torch", "ours"]  # forth and back
    ceiling = floor(case(NETWORKS["cpu"], "separable")).images_per_s(69e9, 300e9)
    assert whole["fraction_of_floor"] == pytest.approx(200 / ceiling, rel=1e-3)
    assert (whole["compile_s"], whole["peak_mib"]) == (3.25, 700)


def test_the_faster_compiled_peer_stands_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsresearch.bench.measure.missing", lambda role, gpu: "")
    found, _ = measured({"ours": [100] * 5, "torch_compile": [40] * 3, "torch_graphs": [50] * 3})
    assert found[-1]["ratio_torch_compile"] == 2
    assert found[-1]["torch_compile_mode"] == "torch_graphs"


def test_a_peer_that_fails_is_null_with_its_reason_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsresearch.bench.measure.missing", lambda role, gpu: "")
    found, _ = measured({"ours": [100] * 5, "flax": ["out of memory"], "torch": [50] * 3})
    assert found[-1]["flax_images_per_s"] is None
    assert found[-1]["missing"] == {"flax": "out of memory"}
    assert found[-1]["ratio_torch"] == 2


def test_a_peer_that_fails_in_a_later_turn_has_no_figure_of_the_turns_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsresearch.bench.measure.missing", lambda role, gpu: "")
    rates = {
        "ours": [100] * 5,
        "torch": [50, "out of memory"],
        "torch_compile": [20, "as well"],
        "torch_graphs": [25] * 3,
    }
    found, scripted = measured(rates)
    assert found[-1]["missing"] == {"torch": "out of memory", "torch_compile": "as well"}
    assert {name: found[-1][f"{name}_images_per_s"] for name in ("torch", "torch_compile")} == {
        "torch": None,
        "torch_compile": 25,
    }
    assert found[-1]["ratio_torch_max"] is None
    assert (found[-1]["ratio_torch_compile"], found[-1]["rounds"], found[-1]["images_per_s"]) == (4, 3, 100)
    assert scripted.asked.count("torch") == 2


def test_where_ours_fails_in_a_later_turn_the_row_is_null_and_nobody_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dsresearch.bench.measure.missing", lambda role, gpu: "")
    found, scripted = measured({"ours": [100, 100, 100, 100, "ended"], "flax": [10] * 3, "torch": [50] * 3})
    assert found[0]["images_per_s"] == 100
    assert found[-1]["missing"] == {"ours": "ended"}
    figures = {name for name in found[-1] if "images_per_s" in name or "ratio" in name} | {"fraction_of_floor"}
    assert {found[-1][name] for name in figures} == {None}
    assert scripted.asked[-1] == "ours"
    table.line(found[-1])


def test_when_the_time_is_up_what_was_measured_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsresearch.bench.measure.missing", lambda role, gpu: "")
    late = TimeIsUp("took longer than its share of the time")
    found, scripted = measured({"ours": [100, 100, 100, 200], "flax": ["out of memory"], "torch": [50, late]})
    assert (found[-1]["images_per_s"], found[-1]["ratio_torch"], found[-1]["rounds"]) == (100, 2, 1)
    assert found[-1]["missing"] == {"flax": "out of memory"}
    assert scripted.asked[-2:] == ["torch", "torch"], "in the second turn, from the last to the first"
    found, _ = measured({"ours": [100] * 3, "flax": ["out of memory"], "torch": [late], "torch_kept": [50]})
    assert (found[-1]["images_per_s"], found[-1]["torch_kept_images_per_s"]) == (100, None)
    assert found[-1]["missing"] == {"flax": "out of memory", "torch": str(late), "torch_kept": str(late)}
    found, _ = measured({"ours": [100, 100, late], "torch": [50]})
    assert (found[-1]["images_per_s"], found[-1]["rounds"]) == (100, 0), "as it was measured alone"
    assert found[-1]["missing"] == {"torch": str(late)}


def test_a_row_without_ours_is_null_and_the_table_goes_on() -> None:
    found, _ = measured({"ours": ["took too long"]})
    assert found[-1]["images_per_s"] is None
    assert found[-1]["missing"] == {"ours": "took too long"}
    table.line(found[-1])


def test_a_row_has_the_fields_of_the_contract() -> None:
    row = blank(case(NETWORKS["cpu"], "grouped", groups=8))
    assert set(FIELDS.split()) <= set(row)
    assert (row["groups"], row["widths"], row["blocks"], row["image"], row["batch"]) == (8, [32, 64, 128], 2, 32, 128)
    assert len(table.line(row)) == len(table.head())


# --- processes --------------------------------------------------------------------------------------------------


def test_a_worker_that_takes_too_long_is_ended() -> None:
    with Crew(threads=1) as workers:
        member = workers.start("ours")
        with pytest.raises(TimeIsUp, match="longer than its share"):
            workers.ask("ours", {"do": "about"}, time.monotonic() + 0.05)
        assert not member.alive


def test_a_worker_that_dies_says_its_last_words() -> None:
    with Crew(threads=1) as workers, pytest.raises(RoleFailed, match="ended with status 1"):
        workers.ask("no such role", {"do": "about"}, time.monotonic() + 60)


def test_a_worker_does_what_it_knows_alone() -> None:
    with pytest.raises(ValueError, match="'abuot' is no request"):
        answer(Worker("ours", lambda case: None), {"do": "abuot"})


def test_our_worker_has_the_flags_of_the_study_and_a_peer_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsresearch.runtime import XLA_FLAGS

    monkeypatch.setenv("XLA_FLAGS", "--user")
    ours, flax = crew.environment("ours", 2), crew.environment("flax", 2)
    assert ours["XLA_FLAGS"] == f"--user {XLA_FLAGS}"
    assert "XLA_FLAGS" not in flax
    assert {side["NPROC"] for side in (ours, flax)} == {"2"}
    assert crew.environment("torch", 2, gpu=False)["CUDA_VISIBLE_DEVICES"] == ""


BLOCKED = """
import importlib.util, sys
GONE = {"sacred", "tensorflow_datasets", "array_record", "importlib_resources", "pandas", "pyarrow", "seaborn",
        "matplotlib", "sklearn", "PIL", "tomli_w", "orbax", "torch"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
there = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in GONE else there(name, package)
"""


def test_a_machine_with_jax_flax_and_optax_alone_measures_a_row(tmp_path: Path) -> None:
    """The whole command with the other requirements gone, PyTorch too: its columns are null, and it says so."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = ["--network", "tiny", "--setup", "regular", "--rounds", "1", "--seconds", "0.01", "--against", "torch"]
    done = subprocess.run(
        [sys.executable, "-m", "dsresearch", "bench", *words, "--to", tmp_path / "out"],
        cwd=tmp_path, env=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").iterdir()
    content = json.loads(path.read_text())
    (row,) = content["rows"]
    assert row["images_per_s"] > 0
    assert row["torch_images_per_s"] is None
    assert path.name.endswith("-cpu.json")
    assert "PyTorch is not installed" in done.stderr
    assert content["command"] == f"dsresearch bench {' '.join(words)}"
    assert str(tmp_path) not in path.read_text()
    assert content["machine"]["roofs"]["float32"]["copy_gb_per_s"] > 0


def test_the_time_is_kept_and_what_is_done_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quick(Scripted):
        def __init__(self, threads: int, devices: int, kernels: str) -> None:
            super().__init__({"ours": [7.0] * 1000})

        def ask(self, role: str, request: dict[str, Any], deadline: float) -> dict[str, Any]:
            if request["do"] == "about":
                return {"backend": "gpu", "device": "NVIDIA H200"}
            if request["do"] == "prepare" and deadline - time.monotonic() < 0:
                raise RoleFailed("took longer than its share of the time")
            time.sleep(0.02)
            return super().ask(role, request, deadline)

    monkeypatch.setattr("dsresearch.bench.run.Crew", Quick)
    request = Request(against=(), network="gpu_tiny", minutes=0.25 / 60, to=tmp_path)
    assert main(request, ["bench"]) == 0
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    assert path.name.endswith("-h200.json")
    assert content["machine"]["accelerator"] == "NVIDIA H200"
    assert 1 <= len(content["rows"]) < len(plan(request, True)[0])
    assert "the time is up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A6000", "rtxa6000"),
        ("NVIDIA TITAN Xp", "titanxp"),
        ("AMD Instinct MI300X", "mi300x"),
        ("TPU v4", "tpuv4"),
        ("NVIDIA", "gpu"),
    ],
)
def test_the_file_of_an_accelerator_is_named_after_its_model(device: str, name: str) -> None:
    assert table.device_name({"backend": "gpu", "device": device}) == name


def test_the_file_of_a_processor_is_named_cpu() -> None:
    assert table.device_name({"backend": "cpu", "device": "NVIDIA Grace"}) == "cpu"


def test_the_time_left_of_a_long_table_is_told_in_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3650.0])
    monkeypatch.setattr(table.time, "monotonic", lambda: next(times))
    assert table.Clock(3).about(1, "a row") == "row 2 of 3, about 2 h 1 min left: a row"


# --- what is printed and drawn ----------------------------------------------------------------------------------


def test_the_study_is_projected_from_the_rows_of_most_trials() -> None:
    of = [case(NETWORKS["gpu"], name, trials=trials) for name in FIGURE_4[:2] for trials in (1, 10)]
    content = [{**blank(one), "images_per_s": 50_000.0 * one.trials} for one in of]
    found = table.projected(content)
    assert found is not None
    assert (found["setups"], found["of"], found["trials"]) == (2, 6, 10)
    assert found["minutes"] == pytest.approx(2 * 95e6 / 500_000 / 60, abs=0.1)


def test_the_scaling_figure_is_drawn_from_the_file_without_jax(tmp_path: Path) -> None:
    rows = [
        {**blank(of), "images_per_s": 1000.0 + of.width, "torch_images_per_s": None if of.trials > 2 else 900.0}
        for of in scaling(NETWORKS["cpu"])
    ]
    machine = {"accelerator": None, "processor": "a processor", "threads": 2}
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows, "machine": machine}))
    code = (
        "import json, pathlib, sys; from dsresearch.bench.figure import files;"
        "made = files(json.loads(pathlib.Path('rows.json').read_text()));"
        "[pathlib.Path(f'rows.{kind}').write_bytes(data) for kind, data in made.items()];"
        "assert 'jax' not in sys.modules"
    )
    place = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=place, check=True)
    data = figure.drawn({"rows": rows})
    assert set(data["what"]) == {"width", "depth", "batch", "trials"}
    ours = data[(data["what"] == "width") & (data["side"] == "images_per_s")]
    assert list(ours["value"]) == [16, 32, 64, 128]
    assert list(ours["images_per_s"]) == [1016, 1032, 1064, 1128]
    assert (tmp_path / "rows.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
