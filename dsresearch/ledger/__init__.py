"""The record: one cell is one Sacred run, with a file observer that a kill cannot corrupt.

Sacred 0.8.7 is used for what it is good at (configuration, one folder a run, captured output) and hardened where it is
not: its files are replaced whole, metrics are appended instead of written anew at every beat, and an observer that
failed fails the cell. Configuration comes from dictionaries, never from scopes, and its values are validated before a
run starts.
"""

import dataclasses
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from sacred import SETTINGS, Experiment
from sacred.run import Run

from dsresearch import data, ranks, runtime
from dsresearch.design import MATCHES, InputError, Protocol, Recipe, nearest, one_of
from dsresearch.ledger import programs
from dsresearch.ledger.attempt import CellProgress, Keeper, Stopped, stop_requests
from dsresearch.ledger.observer import HardenedObserver
from dsresearch.record.claim import Claim, HeldError
from dsresearch.record.store import CellFolder, Store, write_json
from dsresearch.runtime import DONE, HELD, STOPPED
from dsresearch.schema import ENVIRONMENT, EPOCH_COLUMNS, PREDICTION_COLUMNS, ROLES, SCHEMA_VERSION, write_parquet
from dsresearch.studies import CONTROL_SETUPS, PROFILES, STUDIES, Cell, fields_of
from dsresearch.studies.plan import Request, plan

SETTINGS.CAPTURE_MODE = "sys"  # the default, by file descriptors, loses the tail of what was printed
SETTINGS.CONFIG.READ_ONLY_CONFIG = False  # its read-only containers are one leaf to jax.tree

for _chatty in ("absl", "jax"):  # Sacred sets the root logger to INFO, and Orbax tells of every file
    logging.getLogger(_chatty).setLevel(logging.WARNING)


# --- the experiment ---------------------------------------------------------------------------------------------


def experiment(study: str, folder: Path | None = None, between_epochs: Callable[[], None] = lambda: None) -> Experiment:
    """The Sacred experiment of a study: a run trains one cell, all trials of one arm.

    Its configuration has the cell's arm and settings; fields of `design`, `recipe` and `protocol` that are None take
    the setup's and the profile's values. `folder` is where an unfinished cell keeps its checkpoints; without one, in
    the run's own temporary folder. What `between_epochs` raises ends the run.
    """
    ex = Experiment(study, save_git_info=False)  # git: runtime.commit; Sacred's would claim any outer checkout
    ex.add_config(_defaults(study))
    for profile in PROFILES:
        ex.add_named_config(profile, {"profile": profile})
    for arm in STUDIES[study].named:
        ex.add_named_config(arm, {"setup": arm})

    def settle(config: dict[str, Any], command_name: str, logger: Any) -> dict[str, Any]:
        cell = cell_of(study, config)
        parts = {name: dataclasses.asdict(getattr(cell, name)) for name in ("design", "recipe", "protocol")}
        del parts["protocol"]["seed"], parts["protocol"]["trials"]
        return {**parts, "trials": cell.protocol.trials}

    ex.config_hook(settle)

    @ex.main
    def train(_run: Run, _config: dict[str, Any]) -> str:
        cell = cell_of(study, _config)
        with tempfile.TemporaryDirectory() as temporary:
            where = folder or Path(temporary)
            protocol = cell.protocol
            count = ranks.processes(protocol)
            shared = (protocol.threads, protocol.devices, protocol.kernels)
            with ranks.company("dsresearch.ledger.share", count, *shared) as company:
                constants = _constants(cell)
                # before the other ranks look at what it may remove
                CellFolder(where).begin({name: constants[name] for name in ENVIRONMENT})
                company.tell({"study": study, "config": _config, "folder": str(where)})
                results, info = _train(cell, where, _run, between_epochs)
            _record(cell, _config, results, _run, Path(temporary))
        _run.info.update(info)
        wrong, tested = (sum(result.row[key] for result in results) for key in ("test_wrong", "n_test"))
        return f"{100 * wrong / tested:.2f} % test error over {len(results)} trial{'s' * (len(results) > 1)}"

    return ex


def _defaults(study: str) -> dict[str, Any]:
    """The configuration before any choice. The parts have every field, so that a misspelt one is refused."""

    def fields(cls: type, *without: str) -> dict[str, None]:
        return {field.name: None for field in dataclasses.fields(cls) if field.name not in without}

    return {
        "study": study,
        "profile": "quick",
        "data": "digits",
        "setup": STUDIES[study].baseline,
        "arm": None,
        "role": None,
        "control": "",
        "match": "width",
        "seed": 0,
        "trials": None,
        "first": 0,
        "design": dict.fromkeys(fields_of(arm.point for arm in STUDIES[study].arms)),
        "recipe": fields(Recipe),
        "protocol": fields(Protocol, "seed", "trials"),
    }


def cell_of(study: str, config: Mapping[str, Any]) -> Cell:
    """The cell that a configuration means. Raises InputError for every wrong key, value or combination."""
    allowed = _defaults(study)
    for key in config:
        if key not in allowed:
            raise InputError(f"{key} is not a key, allowed: {', '.join(allowed)}{nearest(key, allowed)}")
    one_of("study", config.get("study", study), (study,))
    one_of("control", config["control"], ("", *STUDIES[study].controls, "rerun_baseline"))
    one_of("match", config["match"], MATCHES)
    if config["role"] is not None:
        one_of("role", config["role"], ROLES)
    if config["control"]:
        base = STUDIES[study].reference
        one_of("setup", config["setup"], {base.name, base.point, CONTROL_SETUPS.get(config["control"], base.name)})
    pictures = data.load(config["data"])
    chosen = {**_chosen(config), "protocol.seed": (config["seed"],)}
    if config["trials"] is not None:
        chosen |= {"protocol.trials": (config["trials"],)}
    setup = CONTROL_SETUPS.get(config["control"], config["setup"])
    # a cell of a store says its width; a user who says none means the one that matches
    match = config["match"] if config["design"].get("width") is None else "width"
    request = Request(study=study, profile=config["profile"], setups=(setup,), match=match, choices=chosen)
    cell = plan(request, pictures).asked[0]
    known = STUDIES[study].named.get(setup)
    role = config["role"] or ("control" if config["control"] else known.role if known else "exploratory")
    return dataclasses.replace(
        cell,
        arm=config["arm"] or setup,
        role=role,
        control=config["control"],
        match=config["match"],
        first=_first_trial(config.get("first", 0), cell.protocol),
    )


def _chosen(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The fields of design, recipe and protocol that a configuration sets; a recipe may go by its name."""
    chosen: dict[str, tuple[Any, ...]] = {}
    for part in ("design", "recipe", "protocol"):
        values = config[part]
        if part == "recipe" and isinstance(values, str):
            chosen["recipe"] = (values,)
        elif isinstance(values, Mapping):
            given = {name: value for name, value in values.items() if value is not None and name != "formulation"}
            chosen |= {f"{part}.{name}": (value,) for name, value in given.items()}
        else:
            raise InputError(f"{part}={values!r} is not allowed: its fields, such as {part}.{_EXAMPLES[part]}")
    return chosen


_EXAMPLES = {"design": "width=16", "recipe": "epochs=20", "protocol": "trials=10"}


def _first_trial(first: Any, protocol: Protocol) -> int:
    allowed = range(0, protocol.trials, protocol.cell_trials)
    if isinstance(first, bool) or first not in allowed:
        raise InputError(f"first={first!r} is not allowed: the first trial of a cell, {', '.join(map(str, allowed))}")
    return int(first)


def run_commandline(ex: Experiment) -> None:
    """Sacred's own command line, with input errors as one line and exit status 2.

    A run's own ValueError is no input's: it is raised, with its traceback. Of what comes before the run, Sacred's
    options and the configuration, it is.
    """
    try:
        ex.run_commandline([*sys.argv, "--debug"] if "--debug" not in sys.argv else sys.argv)
    except InputError as error:
        sys.exit(runtime.complain(str(error)))
    except OSError as error:  # an observer's folder that cannot be made, say
        sys.exit(runtime.complain(f"{error.filename or 'the system'}: {error.strerror or error}"))
    except Stopped as stopped:
        print(str(stopped) or "stopped; `dsresearch run` keeps checkpoints, a single run does not", file=sys.stderr)
        sys.exit(STOPPED)
    except Exception as error:
        from sacred.utils import SacredError

        before = ex.current_run is None
        if not (isinstance(error, SacredError) or (before and isinstance(error, ValueError))):
            raise
        sys.exit(runtime.complain(str(error)))


# --- a cell of a store ------------------------------------------------------------------------------------------


def run_cell(store: Store, cell_id: str) -> int:
    """Train a cell of a store unless it is done or held by another live process; gives the exit status.

    Raises InputError where the store does not describe the cell, or describes it for other pictures or other code.
    """
    folder = store.cell(cell_id)
    config = folder.config()
    try:
        with folder.claim() as claim:
            return DONE if folder.result() is not None else _attempt(store, folder, config, claim)
    except HeldError:
        return HELD


def _attempt(store: Store, folder: CellFolder, config: Mapping[str, Any], claim: Claim) -> int:
    updates = {key: config[key] for key in _defaults(config["study"]) if key in config}
    decided = config["protocol"]
    updates["protocol"] = {k: v for k, v in decided.items() if k not in ("seed", "trials")}
    updates |= {"seed": decided.get("seed"), "trials": decided.get("trials")}
    cell = cell_of(config["study"], {**_defaults(config["study"]), **updates})
    if cell.id != folder.id:
        raise InputError(
            f"{folder.path / 'cell.json'} describes cell {cell.id}: its pictures or this code have changed"
        )
    if cell.compiles_anew:
        programs.anew()
    else:
        programs.share(store.programs)
    observer = HardenedObserver(folder.attempts, source_dir=store.root / "sources")

    def between_epochs() -> None:
        claim.check()
        if observer.failed:
            raise observer.failed

    ex = experiment(config["study"], folder.path, between_epochs)
    ex.observers.append(observer)
    try:
        run = ex.run(config_updates=updates, options={"--id": str(claim.number)})
    except Stopped:
        return STOPPED
    between_epochs()
    if run._failed_observers:
        raise RuntimeError("an observer of the run failed, so its record is not whole")
    rows = json.loads((folder.attempts / str(claim.number) / "rows.json").read_text(encoding="utf-8"))
    write_json(folder.path / "result.json", {"attempt": claim.number, "rows": rows})
    folder.clear()
    return DONE


# --- training, recorded -----------------------------------------------------------------------------------------


def _train(cell: Cell, folder: Path, run: Run, between_epochs: Callable[[], None]) -> tuple[list[Any], dict[str, Any]]:
    """Train a cell's trials, log every epoch, keep checkpoints; gives the results and what differs from run to run."""
    from dsresearch.trials import Training  # here and not above: what jax reads of the environment has been set

    count = programs.counted()
    training = Training(cell, data.load(cell.data), folder)
    progress = CellProgress(CellFolder(folder), training.total, training.program.n_train)
    keeper = Keeper(training.keep)
    began = time.monotonic()
    with stop_requests() as asked_to_stop:
        for epoch in training:
            between_epochs()
            _log(run, epoch)
            progress.tell(epoch, training)
            if asked_to_stop():
                keeper.now()
                raise Stopped()
            keeper.if_due()
    seconds = time.monotonic() - began
    commit, dirty = runtime.commit()
    trained = (training.total - training.resumed_from) * training.program.n_train
    return training.results, {
        "compile_s": round(sum(count.seconds), 3),
        "programs_compiled": count.compiled,
        "programs_taken": count.taken,
        "train_s": round(max(seconds - sum(count.seconds), 0.0), 3),
        "images_per_s": round(trained / max(seconds - sum(count.seconds), 1e-9), 1) if trained else None,
        "peak_mem_mib": round(runtime.peak_memory_mib(), 1),
        "cpu": runtime.processor(),
        "git_sha": commit,
        "git_dirty": dirty,
        "resumed_from_epoch": training.resumed_from,
        "checkpoint_s": round(keeper.seconds, 3),
    }


def _log(run: Run, epoch: Any) -> None:
    """Error and loss of every trial after an epoch, as Sacred metrics. Only finite floats: the rest is no JSON."""
    for place, trial in enumerate(epoch.trials):
        for name in ("test_wrong", "train_loss"):
            value = float(getattr(epoch.row, name)[place])
            if value == value and abs(value) != float("inf"):
                run.log_scalar(f"{name}/trial{trial}", value, epoch.done)


def _record(cell: Cell, config: Mapping[str, Any], results: list[Any], run: Run, folder: Path) -> None:
    """Write the rows, curves and predictions of a cell's trials as artifacts of its run."""
    study_id = f"{config['study']}-{cell.data}-{config['profile']}"
    key = {"study_id": study_id, "arm": cell.arm, "control_kind": cell.control, "match": cell.match}
    rows = [{**_constants(cell), **result.row} for result in results]
    write_json(folder / "rows.json", rows)
    curves, predictions = [], []
    for result in results:
        trial = {**key, "trial": result.row["trial"]}
        curve = pd.DataFrame({"epoch": range(1, cell.recipe.epochs + 1), **result.curve}).rename(columns={"rate": "lr"})
        curves.append(curve.assign(**trial))
        predictions.append(pd.DataFrame(result.predictions).assign(**trial))
    for name, frames, columns in (
        ("epochs.parquet", curves, EPOCH_COLUMNS),
        ("predictions.parquet", predictions, PREDICTION_COLUMNS),
    ):
        write_parquet(folder / name, pd.concat(frames)[list(columns)], columns)
    for name in ("rows.json", "epochs.parquet", "predictions.parquet"):
        run.add_artifact(str(folder / name), name)


def _constants(cell: Cell) -> dict[str, Any]:
    """What all trials of a cell have in common, environment included."""
    import platform
    from importlib.metadata import version

    import jax

    device = jax.devices()[0]
    return {
        "schema_version": SCHEMA_VERSION,
        **cell.columns,
        "kernels": cell.columns["kernels"] if device.platform == "cpu" else "",  # off the CPU the setting has no effect
        "error_msg": "",
        "device_kind": runtime.processor() if device.platform == "cpu" else device.device_kind,
        "device_count": cell.protocol.devices,
        "matmul_precision": os.environ.get("JAX_DEFAULT_MATMUL_PRECISION", ""),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "flax": version("flax"),
        "python": platform.python_version(),
        "platform": runtime.system(),
    }
