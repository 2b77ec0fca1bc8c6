"""Xception at 299 pixels, batch 32: images/s of one forward pass and of one training step, beside Keras's.

    python benchmarks/xception_299.py ours train         # measures a side, prints its row
    python benchmarks/xception_299.py keras-jax train --to results/measurements/xception-299-cpu.json

Sides: ours; Keras's on its JAX and PyTorch backends, as `predict_on_batch` and `train_on_batch` run it, float32. A
training step is forward in training mode, cross entropy, backward, and SGD with momentum; neither side drops anything
or augments. The first call compiles and is timed by itself; `images_per_s` is that of the median of the others. The
file keeps what was measured before, so that sides and modes can be measured one after another. Training at batch 32
took 11 GB of memory here, 17 with Keras on PyTorch: give a smaller --batch where there is less.
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE, CLASSES = 299, 1000
RATE, MOMENTUM = 0.045, 0.9  # the paper's, section 4.3


def ours(train: bool, batch: int) -> Callable[[Any, Any], object]:
    """A call on pictures and labels."""
    import jax
    import optax

    from dsresearch.modules import draw
    from dsresearch.networks.build import Network
    from dsresearch.networks.catalogue import named

    network = Network(dataclasses.replace(named("xception"), dropout=0.0))
    params, stats = jax.jit(lambda: draw(network, jax.random.key(0), (SIDE, SIDE, 3)))()
    if not train:
        score = jax.jit(lambda params, stats, x: network.apply({"params": params, "stats": stats}, x, False))
        return lambda x, labels: jax.block_until_ready(score(params, stats, x))
    optimiser = optax.sgd(RATE, momentum=MOMENTUM)
    state = [(params, stats, optimiser.init(params))]

    def step(state: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        params, stats, opt = state

        def loss(params: Any) -> tuple[Any, Any]:
            logits, new = network.apply({"params": params, "stats": stats}, x, True, mutable=["stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), new["stats"]

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt = optimiser.update(gradient, opt, params)
        return (optax.apply_updates(params, updates), stats, opt), value

    compiled = jax.jit(step, donate_argnums=0)

    def call(x: Any, labels: Any) -> object:
        state[0], value = compiled(state[0], x, labels)
        return jax.block_until_ready(value)

    return call


def keras(train: bool, batch: int) -> Callable[[Any, Any], object]:
    """Keras's, on the backend that KERAS_BACKEND names."""
    import keras

    activation = None if train else "softmax"
    network = keras.applications.Xception(weights=None, classes=CLASSES, classifier_activation=activation)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(RATE, momentum=MOMENTUM), loss)
    return network.train_on_batch if train else (lambda x, labels: network.predict_on_batch(x))


def main() -> None:
    """Measure one side in one mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("ours", "keras-jax", "keras-torch"))
    parser.add_argument("mode", choices=("forward", "train"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--calls", type=int, default=3, help="timed, after the first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=Path)
    given = parser.parse_args()
    if given.side == "ours":
        from dsresearch import runtime

        runtime.prepare(given.threads)  # what a study's process sets for itself
    os.environ |= {"KERAS_BACKEND": given.side.partition("-")[2], "NPROC": str(given.threads)}  # XLA's threads
    import numpy as np

    if given.side == "keras-torch":
        import torch

        torch.set_num_threads(given.threads)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(given.batch, SIDE, SIDE, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, given.batch).astype(np.int32)
    call = (ours if given.side == "ours" else keras)(given.mode == "train", given.batch)
    seconds = []
    for _ in range(given.calls + 1):
        began = time.perf_counter()
        call(x, labels)
        seconds.append(time.perf_counter() - began)
    row = {
        "side": given.side,
        "mode": given.mode,
        "batch": given.batch,
        "threads": given.threads,
        "images_per_s": round(given.batch / statistics.median(seconds[1:]), 3),
        "seconds": [round(value, 3) for value in seconds[1:]],
        "first_call_s": round(seconds[0], 3),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(row))
    if given.to:
        _keep(given.to, row)


def _keep(file: Path, row: dict[str, Any]) -> None:
    """The row among those of the file, in the place of an earlier one of its side, mode and batch."""
    import importlib.metadata

    from dsresearch import runtime
    from dsresearch.bench.table import versions

    document = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"rows": []}
    rows = [old for old in document["rows"] if any(old[key] != row[key] for key in ("side", "mode", "batch"))]
    found = {
        "machine": {"processor": runtime.processor(), "cores": runtime.cores()},
        "versions": {**versions(), "keras": importlib.metadata.version("keras")},
        "command": "python benchmarks/xception_299.py SIDE MODE --batch BATCH --threads THREADS --to FILE",
        "network": f"xception, {SIDE} x {SIDE}, float32",
        "rows": sorted([*rows, row], key=lambda row: (row["mode"], row["batch"], row["side"])),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
