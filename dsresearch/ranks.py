"""The processes of a cell that shares its batches on a CPU.

XLA:CPU gains little from a second thread within an operation, and two CPU devices of one process share its threads and
their queue; two processes of one thread each share nothing but what a step must exchange (benchmarks/README.md has the
figures). They are the ranks of one `jax.distributed` job on this machine: rank 0 is the process that records, and the
others run the same program over their shares. They end with rank 0, however that ends.

No jax here before `join`, because a rank's threads are set before jax is imported.
"""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsresearch import runtime
from dsresearch.design import Protocol

START_SECONDS = 120  # for all ranks to import their libraries and find each other

_WAITS_FOR_SOCKETS = ("232", "281") if platform.machine() == "x86_64" else ("22",)  # Linux: epoll_wait, epoll_pwait


@dataclass(frozen=True)
class Company:
    """The other ranks, as rank 0 sees them."""

    others: "Sequence[subprocess.Popen[bytes]]" = ()

    def tell(self, value: Any) -> None:
        """Send plain values to every other rank, one line each."""
        for process in self.others:
            assert process.stdin is not None
            process.stdin.write(json.dumps(value).encode() + b"\n")
            process.stdin.flush()


@contextlib.contextmanager
def company(module: str, count: int, threads: int, devices: int = 1, kernels: str = "xla") -> Iterator[Company]:
    """Make this process one that trains: alone, or rank 0 of `count`, the others `python -m MODULE RANK COUNT ADDRESS`.

    Call before jax is imported. The ranks share out the `threads`; a process that is alone looks like `devices`.
    """
    runtime.prepare(threads // count, devices if count == 1 else 1, kernels)
    if count == 1:
        yield Company()
        return
    address = f"127.0.0.1:{_free_port()}"
    before, *cores = _cores(count, threads)
    others = []
    try:
        for rank in range(1, count):
            _keep_to(cores[rank])  # a child inherits it
            others.append(_start(module, rank, count, address))
        _keep_to(cores[0])
        join(0, count, address)
        yield Company(others)
    finally:
        _end(others)
        _keep_to(before)


def follow(rank: int, count: int, address: str) -> None:
    """Make this process one of the others: it ends when rank 0 does, and not before.

    A signal that asks for a stop may reach every process of a cell (a terminal, a cluster's queue sends it so); rank 0
    answers it at the end of an epoch, and needs the others until then.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    runtime.die_with_parent(signal.SIGKILL)
    runtime.keep_heap()
    join(rank, count, address)


def join(rank: int, count: int, address: str) -> None:
    """Find the other ranks; from here on every rank sees the devices of all."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours: it asks for a checkpoint
    jax.config.update("jax_enable_recoverability", True)  # a rank may end first, and its end is not every rank's
    jax.distributed.initialize(
        address, count, rank, coordinator_bind_address=address, initialization_timeout=START_SECONDS
    )
    before = _threads()
    jax.devices()  # all ranks meet here, whatever each does first
    _let_messages_wait(_threads() - before)


def processes(protocol: Protocol) -> int:
    """Processes of a cell: as many as its devices where they share batches and there is no accelerator."""
    shared = protocol.devices > 1 and protocol.trial_batch == 1
    return protocol.devices if shared and _backend() == "cpu" else 1


def _cores(count: int, threads: int) -> list[set[int]]:
    """The cores that this process may use, then those of each rank: its own where the ranks take them all.

    Otherwise every rank may use any, because other processes will want the same.
    """
    if sys.platform != "linux":
        return [set()] * (count + 1)
    every = sorted(os.sched_getaffinity(0))
    each, rest = divmod(len(every), count)
    if threads != len(every) or rest:
        return [set(every)] * (count + 1)
    return [set(every), *(set(every[rank * each : (rank + 1) * each]) for rank in range(count))]


def _keep_to(cores: set[int]) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, cores)


def _threads() -> set[int]:
    """The threads of this process, where the system tells."""
    return {int(entry.name) for entry in Path("/proc/self/task").glob("[0-9]*")}


def _let_messages_wait(threads: set[int], seconds: float = 2.0) -> None:
    """Have the computation come before gloo's thread, which is that of `threads` that waits for sockets.

    While a message is there that its rank is not ready for, gloo asks for it again and again, and takes the core from
    the computation that everyone waits for: two ranks then train slower than one (benchmarks/README.md). In the idle
    class it has the core whenever the computation waits for a sum. On a busy machine it is not yet asleep when it is
    first looked at, so it is looked for again, for `seconds` at most.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        waiting = [thread for thread in threads if _system_call(thread) in _WAITS_FOR_SOCKETS]
        for thread in waiting:
            with contextlib.suppress(OSError):  # not allowed here: slower, and as right
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
        if waiting or not any(map(_system_call, threads)):
            return
        time.sleep(0.01)


def _system_call(thread: int) -> str:
    """The number of the call that a thread of this process sleeps in, or "running"; "" where that is not told."""
    try:
        return Path(f"/proc/self/task/{thread}/syscall").read_text().split()[0]
    except OSError:
        return ""


def _start(module: str, rank: int, count: int, address: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", module, str(rank), str(count), address],
        env={**os.environ, runtime.PARENT: str(os.getpid())},
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
    )


def _backend() -> str:
    """What jax computes on here. Asked in a process of its own: this one's jax must not have begun yet."""
    asked = runtime.asked_platform()
    if asked:
        return asked
    done = subprocess.run(
        [sys.executable, "-c", "import jax; print(jax.default_backend())"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _end(others: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Nobody waits for a rank that is no longer needed, or that hangs in a sum that rank 0 left."""
    for process in others:
        process.kill()  # it writes nothing
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
