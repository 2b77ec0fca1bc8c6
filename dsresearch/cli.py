"""The command line: reads words, calls a room, turns what is wrong with the input into one line and exit status 2."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dsresearch import __version__
from dsresearch.design import SETUPS, InputError, one_of
from dsresearch.runtime import DONE, HELD, STOPPED, WRONG_INPUT
from dsresearch.settings import describe, parse_settings, read_grid

_SHOWN = 1_500  # characters of an error from its beginning, and from its end

ABOUT = """\
What is a separable convolution? Trains the formulations of it side by side, with the controls that tell a difference
from noise, and prints the comparison tables.

  dsresearch run hybrid                        the paper's Figure 4 on the embedded digits, some minutes
  dsresearch report runs/hybrid-digits-quick   its tables, figures and verdict
"""

RUN = """\
Runs what is missing of a study, or of your own grid, and nothing that is done. It may be interrupted, killed and
started twice: what was trained is kept.

  dsresearch run hybrid --profile smoke                          every arm and control, in a minute or two
  dsresearch run hybrid --setup separable --setup hybrid         two arms of the study
  dsresearch run hybrid design.width=32 recipe.epochs=40         the whole study with other settings
  dsresearch run hybrid design.groups=1,2,4 design.residual=true,false     a grid: 6 arms of `grouped`
  dsresearch run hybrid --setup resnext design.groups=2,4 --dry-run        what that would train

Keys are design.FIELD, recipe.FIELD and protocol.FIELD; `--dry-run` prints all of them with their values. One value of a
key changes the whole study. Several values, or keys together with --setup, make a grid: each point is an arm of its
own, named by its values (`grouped:groups=2`), and without --setup a grid varies `grouped`. A grid has a baseline to be
compared with once `--setup separable` was run into the same --out. --grid reads the same from a TOML file:

  setup = ["grouped"]
  [design]
  groups = [1, 2, 4]
  residual = [true, false]

Setups: {setups}.
"""

REPORT = """\
Reads a study's folder and writes what there is to say of it, without jax and without training:

  report.html                the page to read first, and to send: verdict in words, tables, figures, how to run it again
  tables/*.csv, *.md, *.tex  ten tables: table4 (the paper's), verdict, noise_floor, similarity, exactness, cost, ...
  figures/*.pdf, *.png, *.csv  ten figures with the data that is drawn; captions.csv, figures.tex
  verdict.json               the word, every gate of the rule, every comparison, the inputs' sha256

The same folder gives the same bytes. What is missing is named, with the command that trains it.

  dsresearch report runs/hybrid-digits-quick
  dsresearch report runs/mine --beside results/hybrid-digits-quick     both tables, row by row
"""


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line, and no abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        sys.exit(_complain(f"{message}; `{self.prog} --help` tells more"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status (`runtime`)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["worker"]:  # what the launcher starts; not for people, so no command of the parser
        return _guarded(_worker, argv[1:])
    parser = _build()
    words, extra = parser.parse_known_args(argv)
    words.settings = [word for word in extra if "=" in word and not word.startswith("-")]
    unknown = [word for word in extra if word not in words.settings]
    if unknown or (words.settings and words.command is not _run):
        parser.error(f"unrecognized argument {' '.join(unknown or words.settings)!r}")
    return _guarded(words.command, words)


def _guarded(command: Callable[[Any], int], words: Any) -> int:
    """Run a command; what is wrong with the input becomes one line."""
    try:
        return command(words)
    except InputError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stderr.close()
        return DONE
    except OSError as error:  # a disk that is full, a folder that has gone, a path that no system takes
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}")


def _complain(message: str) -> int:
    """Tell what is wrong in one line, however long or strange the words are that it quotes."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    shown = line if len(line) <= 2 * _SHOWN else f"{line[:_SHOWN]} ... {line[-_SHOWN:]}"
    print(f"error: {shown}", file=sys.stderr)
    return WRONG_INPUT


def _path(word: str) -> Path:
    """A path that a system could have."""
    if "\0" in word:
        raise argparse.ArgumentTypeError("a path has no NUL")
    return Path(word)


def _build() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="dsresearch", description=ABOUT, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"dsresearch {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    run = commands.add_parser(
        "run",
        help="train what is missing of a study",
        description=RUN.format(setups=", ".join(SETUPS)),
        formatter_class=formatter,
    )
    run.set_defaults(command=_run)
    run.add_argument("study", metavar="STUDY", help="hybrid, continuum, residual, activation, twins, ...")
    run.add_argument("--profile", default="quick", help="smoke, quick (default), full, cpu, paper, confirm: how large")
    run.add_argument("--data", default="digits", help="digits (default), cifar10, or a name given to `data import`")
    run.add_argument("--out", type=_path, metavar="DIR", help="the study's folder (default: runs/STUDY-DATA-PROFILE)")
    run.add_argument("--trials", type=int, metavar="T", help="models of each arm (default: the profile's)")
    run.add_argument("--setup", action="append", default=[], metavar="S", help="only this arm; repeat it for several")
    run.add_argument(
        "--match", default="width", help="width (default), params or macs: what arms have equal to the baseline"
    )
    run.add_argument("--grid", type=_path, metavar="FILE", help="a grid of your own, as TOML")
    run.add_argument("--workers", type=int, metavar="N", help="cells at once (default: processors / threads a cell)")
    run.add_argument("--launcher", default="local", help="local (default), or ray: the cluster at RAY_ADDRESS")
    run.add_argument("--resources", default="", metavar="NAME=N,...", help="of a cell on Ray, such as GPU=1")
    run.add_argument("--yes", action="store_true", help="train a grid however large it is")
    run.add_argument("--dry-run", action="store_true", help="print the plan and what of it is done; train nothing")

    status = commands.add_parser("status", help="one line a cell: done, running, failed, missing")
    status.set_defaults(command=_status)
    status.add_argument("folder", type=_path, metavar="DIR", help="a study's folder")

    report = commands.add_parser(
        "report",
        help="tables, figures, verdict and page of a study, from its files alone",
        description=REPORT,
        formatter_class=formatter,
    )
    report.set_defaults(command=_report)
    report.add_argument("folder", type=_path, metavar="DIR", help="a study's folder")
    report.add_argument("--to", type=_path, metavar="DIR", help="where to write (default: the study's folder)")
    report.add_argument("--beside", type=_path, metavar="DIR", help="another study's folder, to print its table beside")
    report.add_argument(
        "--into", type=_path, metavar="FILE", help="a Markdown page to put the table in, at its markers"
    )

    again = commands.add_parser("again", help="train one cell of a study anew, and compare it with the study's rows")
    again.set_defaults(command=_again)
    again.add_argument("folder", type=_path, metavar="DIR", help="a study's folder; nothing in it is changed")
    again.add_argument("--cell", default="", metavar="ID", help="which cell (default: one drawn at random)")
    again.add_argument("--seed", type=int, help="of that draw")

    compare = commands.add_parser("compare", help="any two arms of any studies by the same statistics")
    compare.set_defaults(command=_compare)
    compare.add_argument("folders", type=_path, nargs="+", metavar="DIR", help="a study's folder")
    compare.add_argument("--baseline", required=True, metavar="KEY", help="the arm that all others are compared with")
    compare.add_argument("--to", type=_path, metavar="DIR", help="where to write the table as CSV, Markdown and LaTeX")

    verify = commands.add_parser("verify", help="prove which formulations are the same function, by weight transport")
    verify.set_defaults(command=_verify)
    verify.add_argument("--json", action="store_true", help="print the pairs as JSON")

    _add_cost(commands)
    paper = commands.add_parser("paper", help="every table, figure and number of paper/ from results/, in a checkout")
    paper.set_defaults(command=_paper)
    paper.add_argument("--to", type=_path, metavar="DIR", help="where to write (default: the folder paper)")

    _add_data(commands)
    _add_bench(commands)
    return parser


def _add_cost(commands: Any) -> None:
    about = "parameters and multiply-adds of a network or a module, from closed forms"
    cost = commands.add_parser("cost", help=about)
    cost.set_defaults(command=_cost)
    cost.add_argument("name", nargs="?", metavar="NAME", help="a network (`--list`) or a setup's module")
    cost.add_argument("--classes", type=int, metavar="N", help="outputs of a network (default: as published)")
    cost.add_argument("--image", type=int, metavar="PX", help="side of the picture, or of a module's map")
    cost.add_argument("--channels", metavar="M[,N]", help="inputs and outputs of a module (default: 512)")
    cost.add_argument("--json", action="store_true", help="print it as JSON")
    cost.add_argument("--list", action="store_true", help="print all names with their costs")
    cost.add_argument("--tables", type=_path, metavar="DIR", help="write the pages of networks and references there")


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="the pictures: prepare CIFAR-10, import your own, see what is there")
    actions = data.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)
    prepare = actions.add_parser("prepare", help="CIFAR-10 through tensorflow-datasets, without TensorFlow")
    prepare.set_defaults(command=_data_prepare)
    prepare.add_argument("name", metavar="cifar10", help="the only set with a preparation")
    prepare.add_argument(
        "--archive", type=_path, metavar="FILE", help="the official cifar-10-binary.tar.gz: no network"
    )
    bring = actions.add_parser("import", help="pictures in split/class/*.jpg|png, from a folder or a tar")
    bring.set_defaults(command=_data_import)
    bring.add_argument("source", type=_path, metavar="DIR_OR_TAR")
    bring.add_argument("--name", required=True, metavar="N", help="what --data calls the set from now on")
    info = actions.add_parser("info", help="what is there")
    info.set_defaults(command=_data_info)


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="images/s of every formulation beside plain Flax and PyTorch")
    bench.set_defaults(command=_bench)
    bench.add_argument("--json", action="store_true", dest="as_json", help="print JSON in place of the table")
    bench.add_argument("--against", default="flax,torch", metavar="P,P", help="peers: flax,torch (default), or none")
    bench.add_argument("--setup", action="append", default=[], dest="setups", metavar="S", help="only this; repeat it")
    bench.add_argument("--mode", default="training", help="training (default), inference or scaling")
    bench.add_argument("--network", metavar="N", help="cpu, gpu or tiny (default: the device's)")
    bench.add_argument("--dtype", help="float32 or bfloat16 (default: the network's)")
    bench.add_argument("--rounds", type=int, metavar="N", help="turns of every side (default: 5, on a GPU 3)")
    bench.add_argument("--seconds", type=float, help="of one measurement (default: 1, on a GPU 0.5)")
    bench.add_argument("--minutes", type=float, default=0.0, help="end after so many, with what is done")
    bench.add_argument("--threads", type=int, metavar="N", help="CPU threads of each side (default: all cores)")
    bench.add_argument("--devices", type=int, default=1, metavar="N", help="that share each batch of ours (default: 1)")
    bench.add_argument("--to", type=_path, metavar="PATH", help="keep the JSON in this file, or dated in this folder")


# --- commands ---------------------------------------------------------------------------------------------------


def _run(words: argparse.Namespace) -> int:
    from dsresearch import data, rates
    from dsresearch.launch import Launcher, default_workers
    from dsresearch.plan import Request, plan, refuse_large
    from dsresearch.restore import restore
    from dsresearch.store import Store

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
    request = Request(words.study, words.profile, tuple(dict.fromkeys(setups)), words.match, choices)
    decided = plan(request, data.load(words.data))
    store = Store(words.out or Path("runs") / decided.study_id)
    store.check(decided)
    restore(store)
    workers = words.workers or default_workers(decided.protocol.threads)
    missing = [cell for cell in decided.once if store.cell(cell).result() is None]
    if words.dry_run:
        print("\n".join([*describe(decided, store, workers), rates.estimate(decided, missing)]))
        return DONE
    if not words.yes:
        refuse_large(decided, len(missing))
    if words.launcher == "local":
        return Launcher(decided, store, workers).run()
    try:
        from dsresearch import launch_ray
    except ImportError:
        raise InputError("--launcher=ray is not allowed: Ray is not installed (the extra `ray`)") from None
    return launch_ray.run(decided, store, words.workers, words.resources)


def _status(words: argparse.Namespace) -> int:
    from dsresearch.progress import status_lines
    from dsresearch.restore import restore
    from dsresearch.store import Store

    store = Store(words.folder)
    restore(store)
    print("\n".join(status_lines(store)))
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

    runtime.prepare(threads=os.cpu_count() or 1)
    from dsresearch import exactness

    return exactness.main(words.json)


def _cost(words: argparse.Namespace) -> int:
    from dsresearch import cost_tables

    if words.tables:
        print("\n".join(map(str, cost_tables.write(words.tables))))
        return DONE
    cost_tables.main(
        words.name,
        classes=words.classes,
        image=words.image,
        channels=words.channels,
        as_json=words.json,
        listing=words.list,
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
    from dsresearch.claim import HeldError
    from dsresearch.store import Store

    if len(words) != {"cell": 3, "prove": 2, "part": 2}.get("".join(words[:1])):
        raise InputError(f"worker {' '.join(words)!r} is not allowed: the launcher starts workers")
    kind, store, rest = words[0], Store(Path(words[1])), words[2:]
    if kind == "cell":
        return ledger.run_cell(store, rest[0])
    runtime.prepare(int(os.environ["NPROC"]))  # as the launcher set it
    try:
        with store.claim(kind):
            if kind == "prove":
                from dsresearch import prove

                return prove.main(store)
            from dsresearch import divergence

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


# --- words to values --------------------------------------------------------------------------------------------
