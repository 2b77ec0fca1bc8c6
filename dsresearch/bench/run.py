"""What `dsresearch bench` does: choose the cases, measure them row by row, print and keep them. No jax."""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsresearch.bench.cases import (
    GPU_TABLE,
    MODES,
    NETWORKS,
    Network,
    Planned,
    every_setup,
    gpu_table,
    positive,
    roles_against,
    scaling,
)
from dsresearch.bench.crew import Crew, RoleFailed, missing
from dsresearch.bench.measure import Bench, Effort, rows
from dsresearch.bench.table import Clock, Record, head, line, path_of, summary, writable
from dsresearch.design import DTYPES, KERNELS, InputError, Protocol, one_of
from dsresearch.runtime import DONE, FAILED, accelerated, cores, lacks

START_SECONDS = 300.0  # for a worker to import its libraries and see its device


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for; None takes what belongs to the device.

    Attributes:
        against: peers, of cases.PEERS.
        setups: only these.
        mode: `training`, `inference`, or `scaling`.
        network: a key of cases.NETWORKS, by default the device's standard network.
        dtype: of the activations, by default the network's.
        rounds: turns of every role.
        seconds: of one measurement.
        minutes: for the whole table; 0 means no limit.
        threads: CPU threads of every side.
        devices: devices of ours that share each batch; on a CPU processes that share the threads.
        kernels: whose convolutions ours are on a CPU, `protocol.kernels`.
        to: file or folder to write.
        as_json: print the JSON document in place of the table.
    """

    against: Sequence[str] = ("flax", "torch")
    setups: Sequence[str] = ()
    mode: str = "training"
    network: str | None = None
    dtype: str | None = None
    rounds: int | None = None
    seconds: float | None = None
    minutes: float = 0.0
    threads: int | None = None
    devices: int = 1
    kernels: str = "xla"
    to: Path | None = None
    as_json: bool = False

    def check(self) -> None:
        """Raise InputError for what is not allowed."""
        one_of("--mode", self.mode, (*MODES, "scaling"))
        one_of("--kernels", self.kernels, KERNELS)
        if self.network is not None:
            one_of("--network", self.network, NETWORKS)
        if self.dtype is not None:
            one_of("--dtype", self.dtype, DTYPES)
        for name in ("rounds", "seconds", "threads", "devices"):
            if getattr(self, name) is not None:
                positive(f"--{name}", getattr(self, name))
        if self.minutes < 0:
            raise InputError(f"--minutes={self.minutes} is not allowed: a number from 0")
        roles_against(self.against, gpu=False)
        every_setup(Network(), self.setups)
        if self.mode == "scaling" and len(self.setups) > 1:
            raise InputError(f"--setup={','.join(self.setups)} is not allowed with --mode scaling: one setup")
        self._check_devices()
        self.check_kernels(accelerated())

    def _check_devices(self) -> None:
        batch = NETWORKS[self.network or "cpu"].batch  # the standard networks of all devices have one batch
        for count, what in ((self.cpu_threads, "threads"), (batch, "pictures of a batch")):
            if count % self.devices:
                raise InputError(f"--devices={self.devices} is not allowed: it does not divide the {count} {what}")
        if self.devices > 1 and self.mode == "scaling":
            raise InputError(f"--devices={self.devices} is not allowed with --mode scaling: 1")
        Protocol(threads=self.cpu_threads, devices=self.devices)  # how many there may be at most

    def check_kernels(self, accelerator: bool) -> None:
        """Raise InputError for kernels that ours would not compute with, as a row must not say that they did."""
        xla = "an accelerator computes by XLA's own (JAX_PLATFORMS=cpu measures the processor)"
        why = xla if accelerator else lacks(self.kernels)
        if self.kernels != "xla" and why:
            raise InputError(f"--kernels={self.kernels} is not allowed here: {why}")

    @property
    def cpu_threads(self) -> int:
        """CPU threads of every side: all cores where nothing else is asked for."""
        return self.threads or cores()


def main(request: Request, command: Sequence[str]) -> int:
    """Measure what is asked for; `command` is recorded. Gives the exit status. Raises InputError."""
    request.check()
    began = time.monotonic()
    writable(request.to)
    with Crew(request.cpu_threads, request.devices, request.kernels) as crew:
        try:
            about = crew.ask("ours", {"do": "about"}, began + START_SECONDS)
        except RoleFailed as error:
            print(f"the benchmark cannot start: {error}", file=sys.stderr)
            return FAILED
        gpu = about["backend"] != "cpu"
        request.check_kernels(gpu)  # now that it is known, where before it was seen from without
        crew.gpu = gpu
        planned, what = plan(request, gpu)
        kind = "-".join(filter(None, [what, request.kernels.replace("xla", "")]))
        record = Record(command, about, request.cpu_threads, path_of(request.to, about, kind))
        bench = Bench(crew, gpu, gpu or request.network in GPU_TABLE, {}, _say)
        _warn_of_missing(planned, gpu)
        _measure(bench, planned, record, effort_of(request, gpu, began), not request.as_json)
    if request.as_json:
        print(record.text(), end="")
    else:
        print("\n".join(["", *summary(record)]))
    if request.mode == "scaling" and record.path:
        _draw(record.path)
    return DONE if any(row["images_per_s"] for row in record.rows) else FAILED


def plan(request: Request, gpu: bool) -> tuple[list[Planned], str]:
    """The rows to measure, and what their file is called beside date and device."""
    network = NETWORKS[request.network or ("gpu" if gpu else "cpu")]
    if request.dtype:
        network = dataclasses.replace(network, dtype=request.dtype)
    network = dataclasses.replace(network, devices=request.devices, kernels=request.kernels)
    against = roles_against(request.against, gpu)
    if request.mode == "scaling":
        eager = tuple(role for role in against if role == "torch")
        setup = request.setups[0] if request.setups else "separable"
        return [Planned(case, eager) for case in scaling(network, setup)], "scaling"
    if request.mode == "inference":
        return [Planned(case, against) for case in every_setup(network, request.setups, "inference")], "inference"
    if request.network in GPU_TABLE or (gpu and request.network is None):
        return gpu_table(network, request.against, request.setups), ""
    return [Planned(case, against) for case in every_setup(network, request.setups)], ""


def effort_of(request: Request, gpu: bool, began: float) -> Effort:
    """How much is measured: fewer and shorter turns on a GPU, whose times scatter less."""
    ends = began + 60 * request.minutes if request.minutes else float("inf")
    rounds, seconds = request.rounds or (3 if gpu else 5), request.seconds or (0.5 if gpu else 1.0)
    return Effort(rounds, seconds, box=150.0 if gpu else 900.0, ends=ends)


def _measure(bench: Bench, planned: Sequence[Planned], record: Record, effort: Effort, show: bool) -> None:
    clock = Clock(len(planned))
    if show:
        print(head(), flush=True)
    for number, item in enumerate(planned):
        if time.monotonic() >= effort.ends:
            _say(f"the time is up: {len(planned) - number} of {len(planned)} rows are left out")
            return
        _say(clock.about(number, item.case.label))
        record.rows.append({})
        for row in rows(bench, item, effort):
            record.rows[-1] = row
            record.roofs(bench.roofs)
            record.keep()
        if show:
            print(line(record.rows[-1]), flush=True)


def _warn_of_missing(planned: Sequence[Planned], gpu: bool) -> None:
    """Say once, before anything is measured, which columns stay empty."""
    roles = dict.fromkeys(role for item in planned for role in item.against)
    for reason in dict.fromkeys(filter(None, (missing(role, gpu) for role in roles))):
        _say(f"{reason}: its columns stay empty")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _draw(path: Path) -> None:
    from dsresearch.bench.figure import files

    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for kind, data in files(content).items():
        path.with_suffix(f".{kind}").write_bytes(data)
