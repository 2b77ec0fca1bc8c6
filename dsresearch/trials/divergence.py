"""How twins part: the distance of a control's weights from the baseline's, step by step from where they begin.

`bit` starts one ulp beside the baseline's weights, `exact` on them, in another formulation of the same function, `seed`
elsewhere and with another order of the data. The same steps are run as in the cells of these controls, from the same
seeds, until the last or the thousandth one; the weights of another formulation are transported back before they are
compared. What rounding alone does to a trajectory is thereby seen beside what another seed does. No verdict reads it.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsresearch import data
from dsresearch.design import Design, InputError, Protocol, Recipe
from dsresearch.record.store import CellFolder, Store
from dsresearch.schema import DIVERGENCE_COLUMNS, write_csv
from dsresearch.studies import TWINS, Cell
from dsresearch.train import Pictures, Program, State, Trial
from dsresearch.transport import transport_network
from dsresearch.trials import Training

Tree = Any

TRIALS = 3  # enough to see that they agree
STEPS = 1_000  # where twins have parted for good; a long study does not wait for its own last step
MARKS = 48  # steps at which the weights are compared, evenly spaced on a logarithmic axis


def main(store: Store) -> int:
    """Write divergence.csv of a store. Raises InputError where its cells or their pictures are not what they were."""
    configs = {folder.id: folder.config() for folder in store.cells()}
    wanted = {name: of for name, of in configs.items() if of["role"] == "baseline" or of["control"] in TWINS}
    cells = {of["control"]: _cell(store.cell(name), of) for name, of in wanted.items()}
    pictures = data.load(cells[""].data)
    if pictures.fingerprint != cells[""].data_sha256:
        raise InputError(f"data={pictures.name!r} are other pictures than those that {store.root} was made of")
    trials = min(TRIALS, cells[""].protocol.trials)
    measured = store.twins()
    for trial in range(len(measured), trials):
        measured.append(list(distances(cells, pictures, trial)))
        store.keep_twins(measured)
        print(f"progress: trial {trial + 1} of {trials} is measured", file=sys.stderr, flush=True)
    study_id = store.protocol()["study_id"]
    rows = [{"study_id": study_id, **row} for of_trial in measured for row in of_trial]
    write_csv(store.divergence_file, rows, DIVERGENCE_COLUMNS, parents=False)
    store.keep_twins([])
    return 0


def distances(cells: Mapping[str, Cell], pictures: data.Pictures, trial: int) -> Iterator[dict[str, Any]]:
    """A trial's rows of divergence.csv without the study's name, from the baseline (under '') and its twins by control.

    A twin or baseline whose weights are no longer finite has no distance, and no row from there on.
    """
    base = Training(cells[""], pictures, Path())  # nothing of it is kept, so that the folder is never used
    marks = steps_to_compare(min(STEPS, base.program.steps_an_epoch * cells[""].recipe.epochs))
    reference = list(trajectory(base, trial, marks))
    for kind in TWINS:
        twin = Training(cells[kind], pictures, Path())
        for step, ours, theirs in zip(marks, trajectory(twin, trial, marks), reference, strict=True):
            own, reached = cells[kind].design, cells[""].design
            assert isinstance(own, Design)  # a published network has no `exact` control, and so no twins
            assert isinstance(reached, Design)
            back, _ = transport_network(ours.params, ours.stats, own, reached)
            norm = _norm(theirs.params)
            distance = _norm(jax.tree.map(np.subtract, _doubles(back), _doubles(theirs.params))) / norm
            if not np.isfinite(distance):
                break
            row = {"control_kind": kind, "trial": trial, "step": step}
            yield {**row, "relative_distance": distance, "param_norm": norm}


def steps_to_compare(steps: int) -> list[int]:
    """0, and up to MARKS whole numbers to `steps`, evenly spaced on a logarithmic axis."""
    return [0, *(int(step) for step in np.unique(np.round(np.geomspace(1, steps, MARKS))))]


def trajectory(training: Training, trial: int, marks: list[int]) -> Iterator[State]:
    """The states of a trial of a cell after the given numbers of steps, which rise; trained one trial a program."""
    program, (drawn, state) = training.program, training.start(trial)
    batches = _batches(program, drawn, -(-marks[-1] // program.steps_an_epoch))
    done = 0
    for mark in marks:
        bounds = jnp.asarray(done, jnp.int32), jnp.asarray(mark, jnp.int32)
        state, done = _advance(program, state, drawn, batches, training.pictures, *bounds), mark
        yield state


@partial(jax.jit, static_argnums=(0, 2))
def _batches(program: Program, trial: Trial, passes: int) -> jax.Array:
    """Indices of the pictures of every step of so many epochs, [steps, batch]."""
    epochs = jnp.arange(passes, dtype=jnp.int32)
    return jax.lax.map(lambda epoch: program.batches(epoch, trial), epochs).reshape(-1, program.recipe.batch)


@partial(jax.jit, static_argnums=0)
def _advance(
    program: Program,
    state: State,
    trial: Trial,
    batches: jax.Array,
    pictures: Pictures,
    first: jax.Array,
    end: jax.Array,
) -> State:
    """Steps `first` to `end` - 1 of a trial's training: one program, however many steps."""

    def one(step: jax.Array, state: State) -> State:
        epoch, within = step // program.steps_an_epoch, step % program.steps_an_epoch
        chosen = batches[step]
        return program.taught(state, trial, epoch, within, pictures.images[chosen], pictures.labels[chosen])[0]

    return jax.lax.fori_loop(first, end, one, state)


def _doubles(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def _norm(tree: Tree) -> float:
    return float(np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(_doubles(tree)))))


def _cell(folder: CellFolder, config: Mapping[str, Any]) -> Cell:
    """The cell that a configuration describes. Raises InputError where this code would make another one of it."""
    kinds = {"design": Design, "recipe": Recipe, "protocol": Protocol}
    parts = {name: kind(**config[name]) for name, kind in kinds.items()}
    names = ("arm", "setup", "role", "control", "match", "data", "data_sha256")
    cell = Cell(**{name: config[name] for name in names}, **parts, first=config.get("first", 0))
    if cell.id != folder.id:
        raise InputError(f"{folder.path / 'cell.json'} describes cell {cell.id}: this code has changed")
    return cell
