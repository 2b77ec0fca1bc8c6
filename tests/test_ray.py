"""A real cluster of two nodes on this machine, as `docs/clusters.md` starts one; skipped where Ray is not installed."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsresearch.design import InputError

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
from dsresearch.launch import ray as launch_ray
from dsresearch.launch.ray import LOSSES, RemoteProcess, _Runner, parse_resources
from dsresearch.runtime import FAILED, HELD

START_SECONDS, STUDY_SECONDS = 120, 580
STUDY = ["run", "hybrid", "--profile", "smoke", "--setup", "separable", "--setup", "regular", "recipe.epochs=150"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every process of the cluster and of the study has in common: the token before all."""
    token = tmp_path_factory.mktemp("token") / "auth_token"
    token.write_text(secrets.token_hex(32))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    chosen = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return {**os.environ, **chosen, "RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}


@contextmanager
def node(environment: dict[str, str], said: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node and all of its processes, which end with it."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", *words]
    own = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    with said.open("wb") as file:
        process = subprocess.Popen(command, env=own, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while b"Ray runtime started" not in said.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(said.read_text())
            time.sleep(0.2)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def head(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    port = environment["RAY_ADDRESS"].rpartition(":")[2]
    # Ray makes sockets in its folder, whose path must be short.
    words = ["--head", "--port", port, "--include-dashboard", "false", "--resources", '{"first": 1}']
    with node(environment, tmp_path_factory.mktemp("head") / "said.txt", *words):
        yield


def dsresearch(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dsresearch", *words], env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_study_survives_the_loss_of_a_node_and_is_the_local_one_to_the_byte(
    environment: dict[str, str], head: None, tmp_path: Path
) -> None:
    alone = dsresearch(*STUDY, "--out", str(tmp_path / "local"), "--workers", "1", env=environment)
    assert alone.returncode == 0, alone.stderr
    words = ["--address", environment["RAY_ADDRESS"], "--resources", '{"second": 1}']
    with node(environment, tmp_path / "second.txt", *words) as second:
        command = [sys.executable, "-m", "dsresearch", *STUDY, "--out", str(tmp_path / "ray"), "--launcher", "ray"]
        with (tmp_path / "said.txt").open("wb") as said:
            launcher = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        deadline = time.monotonic() + STUDY_SECONDS
        while len(list(tmp_path.glob("ray/cells/*/progress.json"))) < 2:  # both nodes train
            if launcher.poll() is not None or time.monotonic() > deadline:
                pytest.fail((tmp_path / "said.txt").read_text())
            time.sleep(0.05)
        os.killpg(second.pid, signal.SIGKILL)
        assert launcher.wait(STUDY_SECONDS) == 0, (tmp_path / "said.txt").read_text()
    assert (tmp_path / "ray" / "trials.csv").read_bytes() == (tmp_path / "local" / "trials.csv").read_bytes()
    attempts = [len(list(cell.glob("attempts/[0-9]*"))) for cell in (tmp_path / "ray" / "cells").iterdir()]
    assert max(attempts) > 1  # the node's cell was begun again elsewhere


@pytest.mark.slow
def test_what_the_cluster_lacks_is_told_at_once_with_what_it_has(
    environment: dict[str, str], head: None, tmp_path: Path
) -> None:
    asked = ["--out", str(tmp_path / "out"), "--launcher", "ray"]
    done = dsresearch(*STUDY, *asked, "--resources", "GPU=1", env=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: --resources=CPU=1,GPU=1 is not allowed: no node has that, the cluster's nodes have CPU=1,first=1"
    )
    wrong = {**environment, "RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "wrong"}
    done = dsresearch(*STUDY, *asked, env=wrong)
    assert done.returncode == 2
    assert "--launcher=ray finds no cluster at RAY_ADDRESS=" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_not_there_is_told_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    done = dsresearch(*STUDY, "--out", str(tmp_path / "out"), "--launcher", "ray", env=environment)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("Connection refused")
    assert not (tmp_path / "out").exists()


def test_a_cell_whose_node_is_lost_is_tried_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost:
        """Of Ray and of its actors what is used, on a node that is gone."""

        exceptions = launch_ray.ray.exceptions

        def __getattr__(self, name: str) -> "Lost":
            return self

        def remote(self, *words: object) -> None: ...
        def kill(self, actor: object) -> None: ...
        def wait(self, what: list[object], timeout: float) -> tuple[list[object], list[object]]:
            return what, []

        def get(self, what: object) -> int:
            raise self.exceptions.ActorDiedError

    monkeypatch.setattr(launch_ray, "ray", Lost())
    losses: Counter[str] = Counter()
    found = [RemoteProcess(Lost(), (["worker", "cell", "DIR", "7c"], {}, "log"), losses).poll() for _ in range(LOSSES)]
    assert found == [HELD] * (LOSSES - 1) + [FAILED]


def test_a_stop_that_comes_before_there_is_a_process_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = _Runner()
    begun = subprocess.Popen

    def slow(command: list[str], **settings: Any) -> "subprocess.Popen[bytes]":
        runner.terminate()
        return begun(["sleep", "5"], **settings)

    monkeypatch.setattr(subprocess, "Popen", slow)
    assert runner.run(["worker"], {}, str(tmp_path / "log")) == -signal.SIGTERM


@pytest.mark.parametrize("words", ["GPU", "GPU=none", "=1", "GPU=0", "GPU=-1", "GPU=1,,", "GPU=inf"])
def test_resources_are_names_and_numbers(words: str) -> None:
    with pytest.raises(InputError, match=r"--resources=.* is not allowed: NAME=NUMBER"):
        parse_resources(words)
    assert parse_resources("GPU=1,TPU=4") == {"GPU": 1.0, "TPU": 4.0}
    assert parse_resources("") == {}
