"""The command line: reads words, calls a room, turns what is wrong with the input into one line and exit status 2."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsresearch.design import InputError, one_of
from dsresearch.parser import build
from dsresearch.runtime import DONE, HELD, INTERRUPTED, STOPPED, complain

if TYPE_CHECKING:
    from dsresearch.record.store import Store
    from dsresearch.studies import Plan
    from dsresearch.studies.plan import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status (`runtime`)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["worker"]:  # what the launcher starts; not for people, so no command of the parser
        return _guarded(_worker, argv[1:])
    parser = build()
    words, extra = parser.parse_known_args(argv)
    words.settings = [word for word in extra if "=" in word and not word.startswith("-")]
    unknown = [word for word in extra if word not in words.settings]
    if unknown or (words.settings and words.command != "run"):
        what = repr(" ".join(unknown or words.settings))
        hint = ", settings are KEY=VALUE, such as protocol.seed=3" if words.command == "run" else ""
        more = f"`dsresearch {words.command.replace('_', ' ')} --help` tells more"
        return complain(f"unrecognized argument {what}{hint}; {more}")
    return _guarded(COMMANDS[words.command], words)


def _guarded(command: Callable[[Any], int], words: Any) -> int:
    """Run a command; what is wrong with the input becomes one line."""
    trains = getattr(words, "command", "worker") in ("run", "worker")  # and keeps a checkpoint
    try:
        return command(words)
    except InputError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return STOPPED if trains else INTERRUPTED
    except BrokenPipeError:  # who read our output has gone, as `head` does; a training has not told its end, so 75
        sys.stderr.close()
        return STOPPED if trains else DONE
    except OSError as error:  # a disk that is full, a folder that has gone, a path that no system takes
        return complain(f"{error.filename or 'the system'}: {error.strerror or error}")


# --- commands ---------------------------------------------------------------------------------------------------


def _run(words: argparse.Namespace) -> int:
    from dsresearch import data
    from dsresearch.launch import default_workers
    from dsresearch.record.restore import looked_into, restore
    from dsresearch.record.store import Store
    from dsresearch.studies import rates
    from dsresearch.studies.plan import plan, refuse_large
    from dsresearch.studies.settings import describe

    request = _request(words)
    pictures = data.load(words.data)
    usual = Path("runs") / "-".join([words.study, pictures.name, words.profile])
    folder = words.out or (None if request.choices else usual)  # with settings of one's own a study has another name
    begun = Store(folder).as_begun(words.study, words.profile, pictures.name) if folder else {}
    decided = plan(request, pictures, begun)
    store = Store(words.out or Path("runs") / decided.study_id)
    store.check(decided)
    with looked_into(store) as seen:
        missing = [cell for cell in decided.once if seen.cell(cell).result() is None]
    if words.dry_run:
        workers = words.workers or default_workers(decided.protocol.threads)
        print("\n".join([*describe(decided, store.root, missing, workers), rates.estimate(decided, missing)]))
        return DONE
    if not words.yes:
        refuse_large(decided, len(missing))
    restore(store)
    return _launch(words, decided, store)


def _request(words: argparse.Namespace) -> "Request":
    """What `run` is asked for. Raises InputError where its words do not go together."""
    from dsresearch.studies.plan import Request
    from dsresearch.studies.settings import parse_settings, read_grid

    choices = parse_settings(words.settings)
    setups = list(words.setup)
    if words.grid:
        named, read = read_grid(words.grid)
        setups += named
        choices = {**read, **choices}
    if words.trials is not None and "protocol.trials" in choices:
        raise InputError(f"--trials={words.trials} is not allowed beside protocol.trials: one of the two")
    if words.trials is not None:
        choices = {**choices, "protocol.trials": [words.trials]}
    if words.workers is not None and words.workers < 1:
        raise InputError(f"--workers={words.workers} is not allowed: a whole number from 1")
    one_of("--launcher", words.launcher, ("local", "ray"))
    if words.resources and words.launcher != "ray":
        raise InputError(f"--resources={words.resources} is not allowed: with --launcher ray alone")
    return Request(words.study, words.profile, tuple(dict.fromkeys(setups)), words.match, choices)


def _launch(words: argparse.Namespace, decided: "Plan", store: "Store") -> int:
    from dsresearch.launch import Launcher, default_workers

    if words.launcher == "local":
        return Launcher(decided, store, words.workers or default_workers(decided.protocol.threads)).run()
    try:
        from dsresearch.launch import ray as launch_ray
    except ImportError:
        raise InputError("--launcher=ray is not allowed: Ray is not installed (the extra `ray`)") from None
    return launch_ray.run(decided, store, words.workers, words.resources)


def _status(words: argparse.Namespace) -> int:
    from dsresearch.record.progress import status_lines
    from dsresearch.record.restore import looked_into
    from dsresearch.record.store import Store

    with looked_into(Store(words.folder)) as seen:
        print("\n".join(status_lines(seen)))
    return DONE


def _report(words: argparse.Namespace) -> int:
    from dsresearch import report

    return report.main(words.folder, words.to, words.beside, words.into)


def _again(words: argparse.Namespace) -> int:
    from dsresearch import again

    return again.main(words.folder, words.cell, words.seed)


def _compare(words: argparse.Namespace) -> int:
    from dsresearch import compare

    return compare.main(words.folders, words.baseline, words.to)


def _paper(words: argparse.Namespace) -> int:
    from dsresearch import paper

    return paper.main(to=words.to)


def _verify(words: argparse.Namespace) -> int:
    from dsresearch import runtime

    runtime.prepare(threads=runtime.cores())
    from dsresearch import exactness

    return exactness.main(words.json)


def _cost(words: argparse.Namespace) -> int:
    from dsresearch import cost_tables

    cost_tables.main(
        words.name,
        classes=words.classes,
        image=words.image,
        channels=words.channels,
        as_json=words.json,
        listing=words.list,
        tables=words.tables,
    )
    return DONE


def _bench(words: argparse.Namespace) -> int:
    from dsresearch.bench.run import Request, main

    asked = {name: value for name, value in vars(words).items() if name not in ("command", "settings", "against")}
    against = [] if words.against == "none" else words.against.split(",")
    return main(Request(**asked, against=against), sys.argv[1:])


def _worker(words: Sequence[str]) -> int:
    """`worker cell DIR ID` trains a cell, `prove DIR` proves the arms' exactness, `part DIR` follows the twins."""
    from dsresearch import runtime

    runtime.die_with_parent()
    from dsresearch import ledger
    from dsresearch.record.claim import HeldError
    from dsresearch.record.store import Store

    if len(words) != {"cell": 3, "prove": 2, "part": 2}.get("".join(words[:1])):
        raise InputError(f"worker {' '.join(words)!r} is not allowed: the launcher starts workers")
    kind, store, rest = words[0], Store(Path(words[1])), words[2:]
    if kind == "cell":
        return ledger.run_cell(store, rest[0])
    threads = int(os.environ["NPROC"])  # as the launcher set it
    runtime.prepare(threads, kernels=store.protocol()["protocol"].get("kernels", "xla"))
    try:
        with store.claim(kind):
            if kind == "prove":
                from dsresearch.exactness import prove

                return prove.main(store)
            from dsresearch.trials import divergence

            return divergence.main(store)
    except HeldError:
        return HELD


def _data_prepare(words: argparse.Namespace) -> int:
    from dsresearch import data
    from dsresearch.design import one_of

    one_of("name", words.name, ("cifar10",))
    print(_about(data.prepare_cifar10(words.archive)))
    return DONE


def _data_import(words: argparse.Namespace) -> int:
    from dsresearch import data

    print(_about(data.import_pictures(words.source, words.name)))
    return DONE


def _about(pictures: Any) -> str:
    n, size = len(pictures.labels), "x".join(map(str, pictures.images.shape[1:]))
    return (
        f"{pictures.name}: {pictures.label}, {pictures.n_train:,} + {n - pictures.n_train:,} pictures of {size} "
        f"in {len(pictures.classes)} classes, sha256 {pictures.fingerprint[:12]}; use it with --data {pictures.name}"
    )


def _data_info(words: argparse.Namespace) -> int:
    from dsresearch import data

    for row in data.available():
        size = "x".join(map(str, row.shape))
        counts = f"{row.n_train:,} + {row.n_test:,} of {size} in {row.classes} classes" if row.shape else row.note
        where = f", {row.where}, sha256 {row.fingerprint[:12]}" if row.shape else ""
        print(f"{row.name:<16} {row.label}: {counts}{where}")
    return DONE


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "status": _status,
    "report": _report,
    "again": _again,
    "compare": _compare,
    "verify": _verify,
    "cost": _cost,
    "paper": _paper,
    "data_prepare": _data_prepare,
    "data_import": _data_import,
    "data_info": _data_info,
    "bench": _bench,
}
