"""Cells on a Ray cluster: the launcher's own logic, with processes that Ray places on its nodes.

The nodes share the study's folder, and the store knows what is done, so what Ray adds is only where a cell runs: an
actor holds the cell's share of a node (threads as CPUs, and what `--resources` names), starts the same process that the
local launcher starts, and waits for it. A cell whose node is lost waits for another one and goes on from its
checkpoint. The connection is Ray's own: RAY_ADDRESS, and the token that Ray asks for (docs/clusters.md).
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from dsresearch import runtime
from dsresearch.design import InputError
from dsresearch.launch import Launcher
from dsresearch.record.store import Store
from dsresearch.runtime import FAILED, HELD, STOPPED
from dsresearch.studies import Plan

# What the study's own code reads of the environment, beside what a node has anyhow.
PASSED_ON = ("DSRESEARCH_", "TFDS_", "JAX_", "XLA_FLAGS", "NPROC", "OMP_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL")
KNOCK_SECONDS = 5.0
LOSSES = 5  # nodes that a cell may lose before it counts as failed: one that brings nodes down must end


class _Runner:
    """Lives on a node while one process does."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def ready(self) -> None:
        """Answers once Ray has placed this actor."""

    def run(self, words: Sequence[str], passed_on: Mapping[str, str], log: str) -> int:
        """Run `dsresearch WORDS` to its end; gives its exit status."""
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dsresearch", *words],
                env={**os.environ, **passed_on, runtime.PARENT: str(os.getpid())},
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
            )
        if self.stopping:  # asked for while there was no process yet
            self.terminate()
        return self.process.wait()

    def terminate(self) -> None:
        """Ask the process to keep a checkpoint and end, as soon as there is one."""
        self.stopping = True
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)


class RemoteProcess:
    """A process on a node, as the launcher sees one: `poll`, `wait`, `terminate`, `returncode`."""

    def __init__(self, actor: Any, run: Sequence[Any], losses: "Counter[str]") -> None:
        self.actor, self.losses, self.name = actor, losses, run[0][-1]
        self.placed = actor.ready.remote()
        self.status = actor.run.remote(*run)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, or None while the process runs or waits for a node. A lost node reads as HELD: try again."""
        if self.returncode is None and ray.wait([self.status], timeout=0)[0]:
            self._end()
        return self.returncode

    def wait(self) -> int:
        """Wait for the end."""
        if self.returncode is None:
            self._end()
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        """Ask for a checkpoint and an end; what has not found a node yet ends at once."""
        if self.returncode is None and ray.wait([self.placed], timeout=0)[0]:
            self.actor.terminate.remote()
        elif self.returncode is None:
            ray.kill(self.actor)
            self.returncode = STOPPED

    def _end(self) -> None:
        try:
            self.returncode = ray.get(self.status)
        except ray.exceptions.RayError:  # the node, or Ray's process on it, is gone, and the cell's process with it
            self.returncode = -signal.SIGKILL
        if self.returncode < 0:  # killed: a node that ends may kill the cell's process before it is gone itself
            self.losses[self.name] += 1
            self.returncode = HELD if self.losses[self.name] < LOSSES else FAILED
        ray.kill(self.actor)


def run(plan: Plan, store: Store, workers: int | None, resources: str) -> int:
    """Train what is missing on a cluster, as many cells at once as it takes or as asked; gives the exit status.

    Raises InputError for resources that are none, where there is no cluster or no node that has them, and as the local
    launcher does.
    """
    cluster = Cluster(plan.protocol.threads, parse_resources(resources))
    shared = Store(store.root.resolve())  # a node has another working folder
    return Launcher(plan, shared, workers or cluster.workers, start=cluster.start).run()


class Cluster:
    """A connection to a Ray cluster, and what a cell asks of a node there.

    Raises InputError where there is no such cluster, or no node that has what a cell asks for.
    """

    def __init__(self, threads: int, resources: Mapping[str, float]) -> None:
        self.asked = {"CPU": float(threads), **resources}
        self.losses: Counter[str] = Counter()
        address = os.environ.get("RAY_ADDRESS", "auto")
        try:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"--launcher=ray finds no cluster at RAY_ADDRESS={address!r}: {why}") from None
        self.check()

    @property
    def workers(self) -> int:
        """Cells that the cluster takes at once."""
        return sum(min(int(node.get(name, 0) // number) for name, number in self._numbers()) for node in _nodes())

    def check(self) -> None:
        """Raise InputError unless some node has what a cell asks for: Ray itself would wait for one for ever."""
        if not self.workers:
            wanted = ",".join(f"{name}={number:g}" for name, number in self.asked.items())
            there = "; ".join(
                ",".join(f"{name}={number:g}" for name, number in sorted(node.items())) or "nothing"
                for node in _nodes()
            )
            raise InputError(f"--resources={wanted} is not allowed: no node has that, the cluster's nodes have {there}")

    def start(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> RemoteProcess:
        """Have Ray place a process as soon as a node has room for it."""
        self.check()
        others = {name: number for name, number in self.asked.items() if name not in ("CPU", "GPU")}
        runner = ray.remote(_Runner).options(
            num_cpus=self.asked["CPU"], num_gpus=self.asked.get("GPU", 0), resources=others, max_concurrency=3
        )
        passed_on = {name: value for name, value in environment.items() if name.startswith(PASSED_ON)}
        return RemoteProcess(runner.remote(), (list(words), passed_on, str(log)), self.losses)

    def _numbers(self) -> list[tuple[str, float]]:
        return [(name, number) for name, number in self.asked.items() if number]


def _knock(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


def _nodes() -> list[dict[str, float]]:
    """What each live node has, without what Ray counts for itself."""
    own = ("node:", "memory", "object_store_memory", "accelerator_type:")
    return [
        {name: number for name, number in node["Resources"].items() if not name.startswith(own)}
        for node in ray.nodes()
        if node["Alive"]
    ]


def parse_resources(text: str) -> dict[str, float]:
    """`GPU=1,TPU=4` as numbers by name. Raises InputError for what is no number above 0."""
    found = {}
    for word in text.split(",") if text else []:
        name, _, number = word.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = 0.0
        if not name or not 0 < found[name] < float("inf"):
            raise InputError(f"--resources={word} is not allowed: NAME=NUMBER, such as GPU=1")
    return found
