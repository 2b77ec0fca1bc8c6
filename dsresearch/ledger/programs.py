"""Compiled programs: kept in the store so that one cell takes what another has compiled, and counted.

Most cells that differ only in their seeds are one program: the baseline, `bit`, `seed` and `split`. `rerun` compiles
everything anew. What is taken is the same machine code, so that no bit changes (tests/test_programs.py).
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from dsresearch import runtime


def share(folder: Path) -> None:
    """Have jax keep what it compiles in a folder, and take from there what is compiled already.

    To be called before jax is imported. jax's key holds the program, the versions and the flags, but not the processor
    that machine code was made for: each model has its own folder. An entry that cannot be read, because its writer was
    killed, is compiled again.
    """
    own = folder / hashlib.sha256(runtime.processor().encode()).hexdigest()[:16]
    every = {"MIN_COMPILE_TIME_SECS": "0", "MIN_ENTRY_SIZE_BYTES": "-1", "ENABLE_XLA_CACHES": "none"}
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(own)
    os.environ.update({f"JAX_PERSISTENT_CACHE_{name}": value for name, value in every.items()})


def anew() -> None:
    """Have jax compile everything itself, whatever cache its user has set up. To be called before jax is imported."""
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


@dataclass
class Count:
    """What jax has compiled, or taken compiled, since `counted`.

    Attributes:
        seconds: of every program, compiled or taken.
        taken: how many of them were taken.
    """

    seconds: list[float] = field(default_factory=list)
    taken: int = 0

    @property
    def compiled(self) -> int:
        """How many were compiled here."""
        return len(self.seconds) - self.taken

    def _note_time(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            self.seconds.append(duration_secs)

    def _note_taken(self, event: str, **_: str | int) -> None:
        self.taken += event.endswith("compilation_cache/cache_hits")


def counted() -> Count:
    """A count that goes on from here, in this process."""
    import jax

    count = Count()
    jax.monitoring.register_event_duration_secs_listener(count._note_time)
    jax.monitoring.register_event_listener(count._note_taken)
    return count
