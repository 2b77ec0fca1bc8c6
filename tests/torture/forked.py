"""Processes of the product that are forked from one which has imported everything, instead of started anew.

To import jax and the rest takes most of the time of a small study. A forked launcher forks its workers: real processes
with the same parents, signals and files as ever, `python -m dsresearch` left out. Nothing of jax may have run before.
"""

import importlib
import os
import signal
import subprocess
import sys
import traceback
from types import SimpleNamespace
from typing import Any

from torture.phases import HOOKS


class Forked:
    """What the launcher and the torment use of `subprocess.Popen`, for a forked process."""

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        stdout: Any,
        stderr: Any,
        start_new_session: bool = False,
        **_: Any,
    ) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            try:
                code = _become(command[3:], env, stdout, stderr, start_new_session)
            except BaseException:
                traceback.print_exc()
                code = 1
            os._exit(code)

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        return self._wait(0) or 0

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, how)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def import_everything() -> None:
    """Import what the commands `run`, `worker` and `report` do."""
    for name in (*HOOKS, "dsresearch.cli", "sklearn.datasets", "orbax.checkpoint"):
        importlib.import_module(name)


def _become(words: list[str], env: dict[str, str], stdout: Any, stderr: Any, session: bool) -> int:
    """Be `python -m dsresearch` with these words; gives its exit status."""
    if session:
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, stdout), (2, stderr)):
        os.dup2(os.open(os.devnull, os.O_WRONLY) if file == subprocess.DEVNULL else file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, buffering=1) for number in (1, 2))
    os.environ.clear()
    os.environ.update(env)
    _hook()
    jax = sys.modules["jax"]
    jax.config.update("jax_compilation_cache_dir", env.get("JAX_COMPILATION_CACHE_DIR"))
    from dsresearch.cli import main

    try:
        return main(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1


def _hook() -> None:
    """Once: a worker has the hooks of its launcher."""
    launch = sys.modules["dsresearch.launch"]
    if launch.subprocess is subprocess:
        for name, hook in HOOKS.items():
            hook(sys.modules[name])
        launch.subprocess = SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL)
