"""What a process that trains is told of its machine before jax starts: platform, kernels, compiler flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsresearch import ranks, runtime
from dsresearch.design import Protocol


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The plugins of JAX that seem to be installed; none at first, and JAX chooses its platform."""
    found: set[str] = set()
    monkeypatch.setattr(runtime, "find_spec", lambda name: name in found or None)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    return found


def test_a_gpu_is_one_that_jax_can_use_and_its_bits_are_asked_for(tmp_path: Path, plugins: set[str]) -> None:
    (tmp_path / "nvidia0").touch()
    assert not runtime.accelerated(tmp_path)
    assert "xla_gpu" not in runtime.environment(1, {})["XLA_FLAGS"], "the flags of a processor's studies stay"
    plugins.add("jax_cuda13_plugin")
    assert runtime.accelerated(tmp_path)
    assert not runtime.accelerated(tmp_path / "nowhere")
    asked = runtime.environment(1, {})
    assert asked["XLA_FLAGS"] == f"{runtime.XLA_FLAGS} --xla_gpu_deterministic_ops=true"
    assert runtime.environment(1, asked)["XLA_FLAGS"] == asked["XLA_FLAGS"]
    users = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=false"}
    assert runtime.environment(1, users)["XLA_FLAGS"] == f"--xla_gpu_deterministic_ops=false {runtime.XLA_FLAGS}"


@pytest.mark.parametrize(
    ("asked", "accelerated"), [("cpu", False), ("cpu,cuda", False), ("cuda,cpu", True), ("tpu", True)]
)
def test_a_machine_computes_on_what_its_user_says(
    asked: str, accelerated: bool, tmp_path: Path, plugins: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with a GPU that is set to its processor needs what the processor's kernels need."""
    plugins.add("jax_cuda13_plugin")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(runtime.accelerated, "__defaults__", (tmp_path,))
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    monkeypatch.setitem(sys.modules, "llvmlite", None)  # as where the extra is not installed
    assert runtime.accelerated() == accelerated
    assert bool(runtime.lacks("native")) == (not accelerated)
    assert ranks.processes(Protocol(threads=2, devices=2)) == (1 if accelerated else 2)


COMPILED = """
import jax, jax.numpy as jnp

def text(function, shape):
    return jax.jit(function).lower(jnp.ones(shape)).compile().as_text()

print("reverse" in text(lambda x: x[::-1][::-1], (4, 4)))  # nothing, but for whoever leaves simplifying out
print("opt-barrier" in text(jax.lax.optimization_barrier, (4, 4)))
print("ynn" in text(lambda x: (x * x).sum((0, 1)), (512, 512, 64)))
"""


def test_the_passes_that_a_user_leaves_out_stay_out_beside_ours_and_the_fusions_are_ours() -> None:
    users = "--xla_disable_hlo_passes=algsimp --xla_cpu_experimental_ynn_fusion_type=dot"
    place = {**runtime.environment(1, {**os.environ, "XLA_FLAGS": users}), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", COMPILED], env=place, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True", "True"], done.stderr
