"""Processes and the machine below them: what one that trains must set before jax starts, how one ends (statuses, with
its parent, its one line of complaint), and what is recorded of machine and checkout.

No jax here. What changes bits (threads, compiler flags) is part of the protocol or fixed in this file; what changes
only speed (the heap) is set without asking.
"""

import ctypes
import os
import platform
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Exit statuses: done; a cell failed or a verdict is INVALID; the input is wrong; (between a launcher and its cells
# alone) another live process holds the cell; stopped with a checkpoint kept; interrupted where nothing is kept (128 and
# the number of SIGINT, as shells have it).
DONE, FAILED, WRONG_INPUT, HELD, STOPPED, INTERRUPTED = 0, 1, 2, 4, 75, 130
_SHOWN = 1_500  # characters of an error from its beginning, and from its end

# One set of compiler flags for tests, benchmark and study. Of XLA:CPU's YNN fusions only the reductions are kept: they
# make BatchNorm's sums ten times faster, while the others slow convolutions down. jaxlib 0.10.2 sums wrongly with them
# in one known form (jax#39103: a product of a few rows, more than 32,768 long, squared and summed along them), which
# this project does not use; tests/test_operators.py guards the forms that it does use. The expander of barriers is off,
# because it would take them out before fusion, and `operators.apart` would keep nothing apart; where no barrier is
# (off the CPU) it has nothing to do.
XLA_FLAGS = "--xla_cpu_experimental_ynn_fusion_type=reduce --xla_disable_hlo_passes=cse_barrier_expander"

# Where JAX can use an NVIDIA GPU: the compiler chooses no algorithm by its time, and none that adds in the order in
# which threads come, for `rerun` is compiled anew and must give the same bits. A user's own XLA_FLAGS decide otherwise.
GPU_FLAG = "--xla_gpu_deterministic_ops"

# Plugins of JAX, and what a machine has whose accelerator they drive.
ACCELERATORS = {
    "jax_cuda12_plugin": "nvidia[0-9]*",
    "jax_cuda13_plugin": "nvidia[0-9]*",
    "libtpu": "accel[0-9]*",
}

KERNELS_VARIABLE = "DSRESEARCH_KERNELS"  # in the environment of a process that trains: `Protocol.kernels`

# glibc's malloc options: one arena, nothing by mmap, never give memory back.
_MALLOC_OPTIONS = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1)}


def environment(threads: int, base: Mapping[str, str] = os.environ, devices: int = 1) -> dict[str, str]:
    """The environment of a process that trains: compiler flags and CPU threads.

    Ours stand behind the user's own flags. XLA takes the last word of a flag, so that the kind of fusions is ours; of
    passes to leave out it takes all words, so that the user's stay out, too. `devices` is how many a processor is to
    look like where no accelerator is; they share the threads.
    """
    flags = base.get("XLA_FLAGS", "")
    if XLA_FLAGS not in flags:
        flags = f"{flags} {XLA_FLAGS}".strip()
    if GPU_FLAG not in flags and any(find_spec(name) for name in ACCELERATORS if "cuda" in name):
        flags = f"{flags} {GPU_FLAG}=true"
    if devices > 1:
        flags = f"{flags} --xla_force_host_platform_device_count={devices}"
    chosen = {"XLA_FLAGS": flags, "NPROC": str(threads), "OMP_NUM_THREADS": str(threads)}
    return {**base, **chosen, "TF_CPP_MIN_LOG_LEVEL": base.get("TF_CPP_MIN_LOG_LEVEL", "2")}


def prepare(threads: int, devices: int = 1, kernels: str = "xla") -> None:
    """Make this process one that trains: its environment and its heap. Call before jax is imported."""
    os.environ.update({**environment(threads, devices=devices), KERNELS_VARIABLE: kernels})
    keep_heap()


def asked_platform() -> str:
    """What the user has JAX compute on (JAX_PLATFORMS, its first word), or nothing where JAX is to choose."""
    return os.environ.get("JAX_PLATFORMS", "").split(",")[0]


def accelerated(devices: Path = Path("/dev")) -> bool:
    """Whether trainings here run on an accelerator: one cell at a time, with many trials in its program."""
    asked = asked_platform()
    if asked:
        return asked != "cpu"
    return any(find_spec(name) and next(devices.glob(what), None) for name, what in ACCELERATORS.items())


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lacks(kernels: str) -> str:
    """Why this machine cannot compute with such kernels (`Protocol.kernels`), or nothing.

    An accelerator has no use for them, and computes by XLA's own.
    """
    if kernels == "xla" or accelerated():
        return ""
    try:
        from llvmlite import binding
    except ImportError:
        return "llvmlite is not installed (the extra `native`)"
    return "" if one_rounding(binding) else "this processor does not multiply and add in one rounding"


def one_rounding(binding: Any) -> bool:
    """Whether the processor's vectors multiply and add in one rounding, as llvmlite's `binding` knows it."""
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(binding.get_host_cpu_features().get("fma"))
    return platform.machine() in ("aarch64", "arm64")


def keep_heap() -> bool:
    """Keep the heap mapped; says whether it could. Call before jax makes its first array.

    XLA:CPU takes its scratch memory from malloc at every call and gives it back, and glibc unmaps it: 59,000 page
    faults a step, 40 % of the time of a small network's step here. Only glibc knows these options.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) == 1 for option, value in _MALLOC_OPTIONS.values())


PARENT = "DSRESEARCH_PARENT"  # in a worker's environment: the process that started it


def die_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send a signal to this process when its parent ends (Linux): no orphan trains on.

    A parent that ended before this was asked for is found out by its number. Elsewhere `orphaned` is asked instead.
    """
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, by)
    if orphaned():
        sys.exit(STOPPED)


def orphaned() -> bool:
    """Whether the process that started this one, as a worker, has ended."""
    return os.environ.get(PARENT, str(os.getppid())) != str(os.getppid())


def processor() -> str:
    """The processor's name; on x86 with family and model, because the name alone may hide them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", text, re.MULTILINE))
    name = found.get("model name", platform.machine()).strip()
    if "cpu family" in found:
        name += f" (family {found['cpu family']}, model {found.get('model', '?')})"
    return name


def system() -> str:
    """Operating system and machine, without what changes from host to host."""
    return f"{platform.system()}-{platform.machine()}"


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024 * 1024)


def complain(message: str) -> int:
    """Tell what is wrong in one line, however long or strange the words are that it quotes."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    shown = line if len(line) <= 2 * _SHOWN else f"{line[:_SHOWN]} ... {line[-_SHOWN:]}"
    print(f"error: {shown}", file=sys.stderr)
    return WRONG_INPUT


def duration(seconds: float) -> str:
    """How long something takes, for people: `42 s`, `3 min 20 s`, `2 h 5 min`, `1,200 h 0 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def commit() -> tuple[str, bool]:
    """Commit of the checkout that this code runs from and whether it has changes; ('', False) outside of one.

    A wheel installed inside somebody else's checkout is not that checkout's code: git must know this very file.
    """
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "", False
