"""Programs that one process has compiled are taken by the next one, to the bit, and a damaged one does no harm."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

SCRIPT = """
import json, sys
from pathlib import Path
from dsresearch import runtime
from dsresearch.ledger import programs
runtime.prepare(1)
programs.share(Path(sys.argv[1])) if sys.argv[2] == "share" else programs.anew()
import jax, jax.numpy as jnp
count = programs.counted()
step = jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0) / 3)
out = step(jnp.linspace(0, 1, 12, dtype=jnp.float32).reshape(4, 3))
print(json.dumps({"compiled": count.compiled, "taken": count.taken, "bits": out.tobytes().hex()}))
"""


def ran(folder: Path, mode: str = "share", **environment: str) -> dict[str, int | str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), mode],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_what_is_compiled_once_is_taken_the_next_time_and_has_the_same_bits(tmp_path: Path) -> None:
    first, second = ran(tmp_path), ran(tmp_path)
    assert first["compiled"] == second["taken"] != 0
    assert first["taken"] == second["compiled"] == 0
    assert first["bits"] == second["bits"]


def test_a_rerun_compiles_anew_even_where_the_user_has_a_cache_of_their_own(tmp_path: Path) -> None:
    kept = ran(tmp_path)
    anew = ran(tmp_path, "anew", JAX_COMPILATION_CACHE_DIR=str(next(tmp_path.iterdir())))
    assert anew["taken"] == 0
    assert anew["compiled"] == kept["compiled"]
    assert anew["bits"] == kept["bits"]


def test_half_a_program_is_compiled_again(tmp_path: Path) -> None:
    """A worker was killed while it wrote, or another one reads at that moment."""
    first = ran(tmp_path)
    for entry in tmp_path.rglob("*-cache"):
        entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
    second = ran(tmp_path)
    assert second["taken"] == 0
    assert second["bits"] == first["bits"]
