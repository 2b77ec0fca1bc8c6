"""Our side: the study's own program (`train.Program.run_epoch`), a whole epoch in one call."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from dsresearch.bench.cases import Case
from dsresearch.bench.pictures import pictures_of
from dsresearch.networks.stack import Stack
from dsresearch.ranks import Company
from dsresearch.train import Pictures, Program, State, Trial, stacked


def program_of(case: Case) -> Program:
    """The study's program of a case."""
    network = Stack(case.design, case.classes)
    return Program(network, case.recipe, case.n_train, "crop_flip", case.trials, case.devices)


class Ours:
    """A case made ready: compiled, warmed up. `run` trains whole epochs, or scores pictures in an inference case.

    The processes that share its batches are told to do the same.
    """

    def __init__(self, case: Case, company: Company | None = None) -> None:
        self.case, self.company = case, company or Company()
        self.company.tell({"case": dataclasses.asdict(case)})
        program = program_of(case)
        images, labels = pictures_of(case)
        self.pictures = program.everywhere(Pictures(images, labels))
        starts = [self._start(program, trial) for trial in range(case.trials)]
        self.trial: Trial
        self.state: State
        self.trial, self.state = program.placed(stacked(starts) if case.trials > 1 else starts[0])
        began = time.perf_counter()
        if case.mode == "inference":
            program_text = program.run_score.lower(self.state, self.trial.test, self.pictures)  # type: ignore[attr-defined]
        else:
            arguments = (self.state, jnp.zeros((), jnp.int32), self.trial, self.pictures)
            program_text = program.run_epoch.lower(*arguments)  # type: ignore[attr-defined]
        self.compiled = program_text.compile()
        self.compile_s = time.perf_counter() - began
        self.epoch = 0
        self._run(1)

    @property
    def processes(self) -> int:
        """Processes that share the batches, this one included."""
        return 1 + len(self.company.others)

    def _start(self, program: Program, trial: int) -> tuple[Trial, State]:
        """A trial over all pictures; one test picture, so that the epoch's evaluation is there and weighs nothing."""
        key = jax.random.fold_in(jax.random.key(0), trial)
        params, stats = program.run_draw(key, (self.case.image, self.case.image, self.case.channels))
        everything = jnp.arange(len(self.pictures.labels), dtype=jnp.int32)
        test = everything if self.case.mode == "inference" else everything[:1]
        return Trial(everything, test, key, key), program.initial(params, stats)

    def run(self, times: int) -> int:
        """Train so many epochs, or score all pictures so often, and wait for the end; gives the images done."""
        self.company.tell({"run": times})
        return self._run(times)

    def _run(self, times: int) -> int:
        for _ in range(times):
            if self.case.mode == "inference":
                last = self.compiled(self.state, self.trial.test, self.pictures)
            else:
                number = jnp.asarray(self.epoch, jnp.int32)
                self.state, last = self.compiled(self.state, number, self.trial, self.pictures)
                self.epoch += 1
        jax.block_until_ready((self.state, last))
        return times * self.case.trials * len(self.pictures.labels)

    def program_mib(self) -> float:
        """What the compiled program holds on the device: arguments, results, scratch memory."""
        used = self.compiled.memory_analysis()
        total = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
        return float(total - used.alias_size_in_bytes) / 2**20


def roof(dtype: str) -> dict[str, float]:
    """What the device reaches: bytes/s of a large copy (read and written), FLOP/s of a large matrix product."""
    gpu = jax.default_backend() != "cpu"
    size = 2**29 if gpu else 2**26
    x = jnp.ones((size,), jnp.float32)
    side = 8192 if gpu else 2048
    a = jnp.ones((side, side), jnp.dtype(dtype))
    return {
        "bytes_per_s": 2 * x.nbytes / _least_time(jax.jit(lambda x: x + 1), x),
        "flops_per_s": 2 * side**3 / _least_time(jax.jit(lambda a: a @ a), a),
    }


def _least_time(function: Any, argument: jax.Array, times: int = 10) -> float:
    """Seconds of the fastest of some calls."""
    jax.block_until_ready(function(argument))
    least = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(function(argument))
        least = min(least, time.perf_counter() - began)
    return least


def about() -> dict[str, str]:
    """The backend and the device's name."""
    return {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind}
