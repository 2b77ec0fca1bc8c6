"""A process that measures in one role: `python -m dsresearch.bench.worker ROLE THREADS DEVICES KERNELS`, JSON lines in
and out.

Requests: {"do": "about"}; {"do": "prepare", "case": {...}} makes a case ready; {"do": "measure", "seconds": s} runs it
for about so long; {"do": "roof", "dtype": d}. An answer is the result, or {"error": one line}.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from dsresearch import ranks, runtime
from dsresearch.bench.cases import ROLES, Case
from dsresearch.design import Protocol

Answer = dict[str, Any]


class Worker:
    """One role and the case that it has ready, which is not compiled again when the next row asks for it."""

    def __init__(self, role: str, make: Callable[[Case], Any]) -> None:
        self.role, self.make = role, make
        self.case: Case | None = None
        self.side: Any = None
        self.unit_s = 0.0

    def prepare(self, case: Case) -> Answer:
        """Compile, warm up, and time one unit of work (an epoch or a step)."""
        if case != self.case:
            self.case = self.side = None  # its memory first
            self.side, self.case = self.make(case), case
        self.side.run(1)
        began = time.perf_counter()
        self.side.run(1)
        self.unit_s = time.perf_counter() - began
        if self.role != "ours":
            return {}
        return {
            "compile_s": self.side.compile_s,
            "rss_mib": runtime.peak_memory_mib() * self.side.processes,  # they are alike
            "program_mib": self.side.program_mib(),
        }

    def measure(self, seconds: float) -> Answer:
        """Images of a whole number of units that take about so many seconds, and the seconds that they took."""
        units = max(1, round(seconds / self.unit_s))
        began = time.perf_counter()
        images = self.side.run(units)
        return {"images": images, "seconds": time.perf_counter() - began}


def answer(worker: Worker, request: dict[str, Any]) -> Answer:
    """What a request gives. Raises ValueError for one that is none."""
    match request["do"]:
        case "prepare":
            return worker.prepare(Case(**request["case"]))
        case "measure":
            return worker.measure(request["seconds"])
        case "roof":
            from dsresearch.bench.ours import roof

            return dict(roof(request["dtype"]))
        case "about":
            from dsresearch.bench.ours import about

            return dict(about())
    raise ValueError(f"{request['do']!r} is no request")


def maker(role: str, threads: int, company: ranks.Company) -> Callable[[Case], Any]:
    """What makes a case ready in a role. Sets this process up for it before torch is imported."""
    if role == "ours":
        from dsresearch.bench.ours import Ours

        return lambda case: Ours(case, company)
    if role == "flax":
        from dsresearch.bench.flax_peer import FlaxPeer

        return FlaxPeer
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role of {', '.join(ROLES)}")
    if role == "torch_kept":
        runtime.keep_heap()
    from dsresearch.bench import torch_peer

    torch_peer.prepare(threads)
    return lambda case: torch_peer.TorchPeer(case, role)


def serve(role: str, threads: int, company: ranks.Company, requests: TextIO, answers: TextIO) -> None:
    """Answer until there are no more requests."""
    worker = Worker(role, maker(role, threads, company))
    for line in requests:
        try:
            said = answer(worker, json.loads(line))
        except Exception as error:  # a role that cannot do a case must not end the table
            text = (str(error).strip() or "no message").splitlines()[0]
            said = {"error": f"{type(error).__name__}: {text}"}
        print(json.dumps(said), file=answers, flush=True)


def main(role: str, threads: int, devices: int, kernels: str) -> None:
    """Keep the answers' channel to ourselves: what libraries print goes to standard error."""
    runtime.die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if role != "ours":
        serve(role, threads, ranks.Company(), sys.stdin, answers)
        return
    count = ranks.processes(Protocol(threads=threads, devices=devices))
    with ranks.company("dsresearch.bench.share", count, threads, devices, kernels) as company:  # as a study's cell does
        serve(role, threads, company, sys.stdin, answers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
