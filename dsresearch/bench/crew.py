"""The worker processes of a benchmark: started, asked, and ended when they take too long. No jax."""

import dataclasses
import importlib.util
import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any, Self

from dsresearch import runtime
from dsresearch.bench.cases import Case


class RoleFailed(Exception):  # noqa: N818  what happened, as a sentence would say it
    """A role could not do what it was asked; the text says why."""


class TimeIsUp(RoleFailed):
    """The deadline passed before the role had an answer."""


class Member:
    """One worker process."""

    def __init__(self, role: str, threads: int, gpu: bool, devices: int, kernels: str) -> None:
        self.role = role
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dsresearch.bench.worker", role, str(threads), str(devices), kernels],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(role, threads, gpu),
        )
        self._rest = b""

    def ask(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """The answer to a request. Raises RoleFailed where the worker fails or ends, TimeIsUp at the deadline."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise RoleFailed(self._last_words()) from None
        said: dict[str, Any] = json.loads(self._line(deadline))
        if "error" in said:
            raise RoleFailed(said["error"])
        return said

    def _line(self, deadline: float) -> bytes:
        assert self.process.stdout is not None
        channel = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([channel], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.end()
                raise TimeIsUp("took longer than its share of the time")
            piece = os.read(channel, 65536)
            if not piece:
                raise RoleFailed(self._last_words())
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _last_words(self) -> str:
        status = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        return f"ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        """End the process and what it started."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.errors.close()


class Crew:
    """Workers by role, started when they are first asked and again after one has died."""

    def __init__(self, threads: int, devices: int = 1, kernels: str = "xla") -> None:
        self.threads = threads
        self.devices = devices  # that share a batch of ours
        self.kernels = kernels  # of ours
        self.gpu = True  # whether accelerators are to be seen; ours says whether it computes on one
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.dismiss()

    def ask(self, role: str, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """A role's answer to a request. Raises RoleFailed."""
        return self.start(role).ask(request, deadline)

    def start(self, role: str) -> Member:
        """The role's worker; importing its libraries takes it some seconds, in which others can be started."""
        if role not in self.members or not self.members[role].alive:
            self.drop(role)
            self.members[role] = Member(role, self.threads, self.gpu, self.devices, self.kernels)
        return self.members[role]

    def prepare(self, role: str, case: Case, deadline: float) -> dict[str, Any]:
        """Make a case ready in a role. A peer trains one trial at a time, so its case is that of one trial."""
        if role != "ours":
            case = dataclasses.replace(case, trials=1)
        return self.ask(role, {"do": "prepare", "case": dataclasses.asdict(case)}, deadline)

    def rate(self, role: str, seconds: float, deadline: float) -> float:
        """Images/s over about so many seconds."""
        done = self.ask(role, {"do": "measure", "seconds": seconds}, deadline)
        return float(done["images"] / done["seconds"])

    def drop(self, role: str) -> None:
        """End one worker."""
        if role in self.members:
            self.members.pop(role).end()

    def dismiss(self) -> None:
        """End all workers."""
        for role in list(self.members):
            self.drop(role)


def environment(role: str, threads: int, gpu: bool = True) -> dict[str, str]:
    """Ours as a study's cell has it; a peer's as installed: no flags of ours, the same number of threads."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    base = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC", "OMP_NUM_THREADS")}
    # Workers find the package where this process did; several processes share one GPU, so none takes all of it.
    base["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    base["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if role == "ours":
        return runtime.environment(threads, {**base, "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")})
    if not gpu:
        base["CUDA_VISIBLE_DEVICES"] = ""  # a peer on a GPU beside ours on the CPU would be no comparison
    return {**base, "NPROC": str(threads), "OMP_NUM_THREADS": str(threads)}


def missing(role: str, gpu: bool) -> str:
    """Why a role cannot be had here, or nothing."""
    if role.startswith("torch") and importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed (the extra `peers`)"
    if role == "torch_kept" and (sys.platform != "linux" or platform.libc_ver()[0] != "glibc"):
        return "the heap can be kept with glibc alone"
    if role == "torch_compile" and not gpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return "torch.compile needs a C++ compiler"
    return "torch.compile with CUDA graphs needs a GPU" if role == "torch_graphs" and not gpu else ""
