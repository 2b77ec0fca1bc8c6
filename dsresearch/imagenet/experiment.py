"""The Sacred experiment of ImageNet-sized work, with three commands beside the training: `enlarge`, `draw`, `feed`."""

import dataclasses
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred import Experiment
from sacred.run import Run as SacredRun

from dsresearch import runtime
from dsresearch.data.enlarge import enlarge as enlarge_pictures
from dsresearch.data.enlarge import label_of
from dsresearch.data.listing import Listing, listed
from dsresearch.data.stream import AHEAD, Stream, Workers
from dsresearch.design import InputError, nearest, whole
from dsresearch.imagenet.settings import Settings
from dsresearch.ledger.attempt import Stopped, stop_requests
from dsresearch.record.store import write_json

if TYPE_CHECKING:
    from dsresearch.imagenet.run import Run

BESIDE: dict[str, Any] = {
    "folder": "",  # of the pictures, train|test/<class>/<name>.jpg|jpeg|png
    "out": "runs/imagenet",  # where the run is kept
    "workers": 2,  # threads that decode
    "processes": 0,  # processes, each of so many threads; 0 decodes in this one
    "source": "",  # of `enlarge`: a folder or tar of small pictures
    "train": 500,  # of `enlarge`: training pictures a class
    "test": 50,  # of `enlarge`: test pictures a class
}


def experiment() -> Experiment:
    """Training as the main command; what it does stands in `settings` and in BESIDE."""
    ex = Experiment("imagenet", save_git_info=False)
    ex.add_config({**dataclasses.asdict(Settings()), **BESIDE})

    @ex.config_hook
    def check(config: dict[str, Any], command_name: str, logger: Any) -> dict[str, Any]:
        settings_of(config)
        return {}

    @ex.main
    def train(_run: SacredRun, _config: dict[str, Any]) -> str:
        return _train(_config, _run)

    @ex.command(unobserved=True)
    def enlarge(_config: dict[str, Any]) -> str:
        """Make large pictures of small ones: source, folder, image (their side), train, test (of every class)."""
        _needs(_config, "source", "folder")
        return enlarge_pictures(
            Path(_config["source"]),
            Path(_config["folder"]),
            side=_config["image"],
            train=_config["train"],
            test=_config["test"],
        )

    @ex.command(unobserved=True)
    def draw(_config: dict[str, Any]) -> str:
        """Draw the figure and the page of a finished run, `out`, from its files alone."""
        from dsresearch.imagenet.figure import draw as draw_run

        if not (Path(_config["out"]) / "result.json").exists():
            raise InputError(f"out={_config['out']!r} is not allowed: it holds no finished run")
        return draw_run(Path(_config["out"]))

    @ex.command(unobserved=True)
    def feed(_config: dict[str, Any]) -> dict[str, Any]:
        """Measure how many pictures a second the stream gives where nobody takes them: `steps` batches, to `out`."""
        return _feed(_config)

    return ex


def settings_of(config: dict[str, Any]) -> Settings:
    """The settings among a configuration. Raises InputError for a wrong key or value."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for key in config.keys() - fields.keys() - BESIDE.keys() - {"seed"}:
        raise InputError(f"{key} is not a key, allowed: {', '.join([*fields, *BESIDE])}{nearest(key, fields)}")
    for key in ("workers", "processes", "train", "test"):
        whole(key, config[key], 0, 10**7)
    given = {key: config[key] for key in fields if key in config}
    if isinstance(given["networks"], (list, tuple)):
        given["networks"] = ",".join(map(str, given["networks"]))
    return Settings(**given)


def _needs(config: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not config[key]:
            raise InputError(f"{key}='' is not allowed: a folder{' or a tar' if key == 'source' else ''}")


def _train(config: dict[str, Any], sacred: SacredRun) -> str:
    _needs(config, "folder")
    settings = settings_of(config)
    runtime.prepare(settings.threads)
    from dsresearch.imagenet.run import Run  # here and not above: jax reads what has just been set

    run = Run(settings, Path(config["folder"]), Path(config["out"]), Workers(config["workers"], config["processes"]))
    kept = time.monotonic()
    with stop_requests() as asked_to_stop:
        for row in run:
            for name in ("loss", "wrong"):
                if row[name] == row[name] and abs(row[name]) != float("inf"):
                    sacred.log_scalar(f"{name}/{row['network']}", row[name], row["step"])
            print(f"{row['network']} step {row['step']}: loss {row['loss']:.3f}, {row['seconds']:.2f} s", flush=True)
            together = len({int(state.step) for state in run.states}) == 1
            if together and asked_to_stop():
                run.keep()
                raise Stopped(f"stopped after step {run.done}; the same command goes on from there")
            if together and time.monotonic() - kept > settings.checkpoint_seconds:
                run.keep()
                kept = time.monotonic()
        run.keep()
        paces = [_pace(run.rows, name, settings.batch) for name in settings.names]
        _conclude(run, paces, config)  # before the evaluation, which may be stopped
        scores = run.evaluate(lambda text: print(text, flush=True))
        _conclude(run, [pace | score for pace, score in zip(paces, scores, strict=True)], config)
    for name in ("curve.csv", "result.json"):
        sacred.add_artifact(str(run.out / name), name)
    return "; ".join(f"{pace['network']}: loss {pace['loss_last']}" for pace in paces)


def _conclude(run: "Run", networks: list[dict[str, Any]], config: dict[str, Any]) -> None:
    document = {
        "pictures": label_of(Path(config["folder"])),
        "train_pictures": len(run.listing.files["train"]),
        "classes": len(run.listing.classes),
        "settings": dataclasses.asdict(run.settings),
        "networks": networks,
        "machine": machine(),
    }
    write_json(run.out / "result.json", document)


def _pace(rows: list[dict[str, Any]], network: str, batch: int) -> dict[str, Any]:
    """Of a network's curve: the mean loss of its first and last tenth, and the median step (the first compiles)."""
    own = sorted((row for row in rows if row["network"] == network), key=lambda row: row["step"])
    tenth = max(len(own) // 10, 1)
    seconds = statistics.median([row["seconds"] for row in own[1:]] or [own[0]["seconds"]])
    return {
        "network": network,
        "steps": len(own),
        "loss_first": round(statistics.fmean(row["loss"] for row in own[:tenth]), 4),
        "loss_last": round(statistics.fmean(row["loss"] for row in own[-tenth:]), 4),
        "step_s": seconds,
        "steps_per_s": round(1 / seconds, 4),
        "images_per_s": round(batch / seconds, 2),
        "waited_s": statistics.median(row["waited"] for row in own),
    }


def _feed(config: dict[str, Any]) -> dict[str, Any]:
    _needs(config, "folder")
    settings, listing = settings_of(config), listed(Path(config["folder"]))
    crews = [Workers(threads) for threads in sorted({1, config["workers"]})]
    crews += [Workers(1, config["processes"])] if config["processes"] else []
    document = {
        "what": "pictures a second that the stream gives where nobody takes them",
        "pictures": label_of(Path(config["folder"])),
        "image": settings.image,
        "batch": settings.batch,
        "batches": settings.steps,
        "rows": [_fed(settings, listing, workers) for workers in crews],
        "machine": machine(),
    }
    Path(config["out"]).mkdir(parents=True, exist_ok=True)
    write_json(Path(config["out"]) / f"feed-{settings.image}px.json", document)
    return document


def _fed(settings: Settings, listing: Listing, workers: Workers) -> dict[str, Any]:
    """One row: by the clock, and by the processor's time, which other work on the machine does not lengthen."""
    stream = Stream(listing, side=settings.image, batch=settings.batch, seed=settings.seed, workers=workers)
    try:
        for _ in range(AHEAD * (workers.threads + 1)):  # what was made ahead before the clock began
            next(stream)
        began, used = time.perf_counter(), time.process_time()
        for _ in range(settings.steps):
            next(stream)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
    finally:
        stream.close()
    pictures = settings.steps * settings.batch
    return {
        "threads": workers.threads,
        "processes": workers.processes,
        "images_per_s": round(pictures / seconds, 1),
        "images_per_cpu_s": None if workers.processes else round(pictures / cpu, 1),
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    import platform

    commit, dirty = runtime.commit()
    packages = ("jax", "jaxlib", "flax", "optax", "grain", "pillow", "numpy")
    return {
        "processor": runtime.processor(),
        "cores": runtime.cores(),
        "system": runtime.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := _version(name))},
        "commit": commit,
        "dirty": dirty,
    }


def _version(package: str) -> str:
    """The installed version, or nothing: Grain is an extra."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
