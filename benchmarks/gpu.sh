#!/usr/bin/env bash
# The GPU table in under ten minutes: `bash benchmarks/gpu.sh`. Needs Python 3.11+ with JAX, Flax, Optax and PyTorch, and
# nothing else of this project's requirements. Every row is written as soon as it is measured, the most telling first, to
# <date>-<device>.json in $OUT or results/benchmarks. `--tiny` takes the same path with a small network, on a CPU too.
# PYTHON names the interpreter, MINUTES the time after which it ends with what is done.
set -euo pipefail
cd "$(dirname "$0")/.."
network=gpu
extra=()
for word in "$@"; do
    case $word in
        --tiny) network=gpu_tiny extra=(--seconds 0.02 --rounds 1) ;;
        *) echo "usage: benchmarks/gpu.sh [--tiny]" >&2; exit 2 ;;
    esac
done
exec "${PYTHON:-python3}" -m dsresearch bench --network "$network" --minutes "${MINUTES:-9.5}" \
    --to "${OUT:-results/benchmarks}" "${extra[@]}"
