#!/usr/bin/env bash
# A slice of the paper's study on a GPU: `bash benchmarks/gpu_study.sh --minutes 9`, as often as it takes.
#
# Goes on from the files in results/ and leaves the same files, with what was finished meanwhile: in results/ itself or,
# where OUT names another folder, there as slice.tar.* in parts of 15 MiB (`cat OUT/slice.tar.* | tar -x -C results`).
# Work stops at the end of an epoch when the minutes are over, or at the last checkpoint where that takes longer, and so
# it does at SIGTERM; an unfinished cell is packed with its newest checkpoint beside its study (unfinished.TIME.tar.*, in
# parts too), and a slice that finds such parts in results/ goes on from the newest.
#
# Order: Figure 4's six setups in blocks of whole pairs; readings and controls; the arms of equal parameters and of equal
# multiply-adds; twenty trials on the standard split; the continuum's spine.
#
# DATA names the pictures (default cifar10), found in DSRESEARCH_HOME; PICTURES, a folder or tar, is imported first, as
# DATA (default cifar10-jpeg) names it. BLOCK is the number of trials in one program and in one cell, DTYPE that of the
# activations: both change bits, so both stay what they were for as long as a study goes on. PYTHON names the
# interpreter; what it lacks of this project's requirements is taken from wheels in build/wheels (made on a connected
# machine for its version of Python: `pip download --dest build/wheels --python-version 3.12 --only-binary=:all: sacred
# 'setuptools<80.9' tomli_w`).
# `--tiny` takes the same way with a network for a processor of two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=9 profile=paper confirm=confirm groups=(1 2 4 8 16 32 64 128)
settings=(protocol.trial_batch="${BLOCK:-5}" protocol.trials_per_cell="${BLOCK:-5}" recipe.dtype="${DTYPE:-bfloat16}")
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=$2; shift 2 ;;
        --tiny)
            profile=smoke confirm= groups=(1 2 4 8 16)
            settings=(protocol.trial_batch=2 protocol.trials_per_cell=2 protocol.trials=4 recipe.dtype=bfloat16)
            shift ;;
        *) echo "usage: benchmarks/gpu_study.sh [--minutes M] [--tiny]" >&2; exit 2 ;;
    esac
done
python=${PYTHON:-python3}
data=${DATA:-cifar10${PICTURES:+-jpeg}}
to=results
if [ -n "${OUT:-}" ]; then to=build/slice; fi
ends=$(($(date +%s) + $(awk -v minutes="$minutes" 'BEGIN { printf "%d", 60 * minutes }')))

lacking=$("$python" - <<'END'
from importlib.util import find_spec

needed = {"pkg_resources": "setuptools<80.9", "sacred": "sacred", "tomli_w": "tomli_w", "pyarrow": "pyarrow"}
needed |= {"pandas": "pandas", "scipy": "scipy", "PIL": "pillow"}
print(*(name for module, name in needed.items() if not find_spec(module)))
END
)
if [ -n "$lacking" ]; then
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet --no-index --find-links build/wheels --target build/site --upgrade $lacking
    export PYTHONPATH="$PWD/build/site${PYTHONPATH:+:$PYTHONPATH}"
fi
if [ -n "${PICTURES:-}" ]; then "$python" -m dsresearch data import "$PICTURES" --name "$data"; fi

# Train what is missing of a study's arms until the minutes are over: `slice FOLDER STUDY PROFILE words...`.
sliced=()
running= stopped=
trap 'stopped=yes; [ -z "$running" ] || kill -TERM "$running" 2> /dev/null || true' TERM INT
slice() {
    local folder=$to/$1 study=$2 profile=$3 left newest status=0
    shift 3
    sliced+=("$folder")
    if [ ! -d "$folder" ] && [ -d "results/${folder##*/}" ]; then cp -r "results/${folder##*/}" "$folder"; fi
    if compgen -G "$folder/unfinished.*.tar.aa" > /dev/null; then
        # the finished cells are in the files
        "$python" -c "import sys, pathlib, dsresearch.record.restore as r; r.restore(r.Store(pathlib.Path(sys.argv[1])))" "$folder"
        newest=$(printf '%s\n' "$folder"/unfinished.*.tar.aa | sort | tail -1)
        cat "${newest%.aa}".* | tar -x -C "$folder"
        rm "$folder"/unfinished.*
    fi
    left=$((ends - $(date +%s)))
    [ "$left" -gt 20 ] && [ -z "$stopped" ] || return 75
    timeout --signal=TERM --kill-after=45 "$left" "$python" -m dsresearch run "$study" --profile "$profile" \
        --data "$data" --out "$folder" --workers 1 --yes "${settings[@]}" "$@" &
    running=$!
    # A signal to this script ends `wait`, not what it waits for: nothing is packed while that still writes.
    wait "$running" || status=$?
    while kill -0 "$running" 2> /dev/null; do
        status=0
        wait "$running" || status=$?
    done
    running=
    case $status in 124 | 130 | 137 | 143) status=75 ;; esac
    return "$status"
}

# Of a cell's two checkpoints the newest goes on, and the parts are small enough to copy.
only_newest_checkpoint() {
    local lists list
    lists=("$1"checkpoint/*.sha256)
    for list in "${lists[@]:0:${#lists[@]}-1}"; do rm -rf "${list%.sha256}" "$list"; done
}

# What is left behind: the study's files, and in parts the cells that are not among them: unfinished, or finished by a run
# that was killed before it wrote the files.
pack() {
    local folder cell id left unfinished
    for folder in "${sliced[@]}"; do
        [ -d "$folder/cells" ] || continue
        unfinished=()
        for cell in "$folder"/cells/*/; do
            id=$(basename "$cell")
            for left in checkpoint trials result.json; do
                if [ -e "$cell$left" ] && ! grep -qs "$id" "$folder/trials.csv"; then
                    only_newest_checkpoint "$cell"
                    unfinished+=("cells/$id")
                    break
                fi
            done
        done
        if [ ${#unfinished[@]} -gt 0 ]; then
            tar -c -C "$folder" "${unfinished[@]}" | split -b 15M - "$folder/unfinished.$(date +%s).tar."
        fi
        rm -rf "$folder"/{cells,claims,logs,programs,sources}
    done
    if [ -n "${OUT:-}" ]; then
        mkdir -p "$OUT"
        # what is finished first: where a part does not come back, the archive is whole up to it
        (cd "$to" && find . -type f ! -name 'unfinished.*' | sort && find . -type f -name 'unfinished.*' | sort) |
            tar -c -C "$to" -T - | split -b 15M - "$OUT/slice.tar."
        rm -rf "$to"
    fi
}
trap pack EXIT

six=(--setup separable --setup inception --setup resnext --setup inception_reformulated --setup separable_strict
    --setup hybrid)
mkdir -p "$to"
main=hybrid-$data-$profile
slice "$main" hybrid "$profile" "${six[@]}"
slice "$main" hybrid "$profile"
slice "$main" hybrid "$profile" --match params
slice "$main" hybrid "$profile" --match macs
if [ -n "$confirm" ]; then slice "hybrid-$data-$confirm" hybrid "$confirm"; fi
spine=(--setup separable)
for count in "${groups[@]}"; do spine+=(--setup "g$count"); done
slice "continuum-$data-$profile" continuum "$profile" "${spine[@]}"
