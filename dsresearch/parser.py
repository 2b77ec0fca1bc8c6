"""What the command line may say, and what `--help` teaches of it."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from dsresearch import __version__
from dsresearch.design import DTYPES, KERNELS, MATCHES, SETUPS
from dsresearch.runtime import complain

_AS_WRITTEN = argparse.RawDescriptionHelpFormatter

# Typed again, because every command would wait for the import of `studies`; tests/test_plan.py compares.
_STUDIES = "hybrid, continuum, residual, activation, twins, fractalnet, darknet, xception"
_PROFILES = ("smoke", "quick", "full", "cpu", "paper", "confirm")

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
key changes the whole study. Several values, or design keys together with --setup, make a grid: each point is an arm of
its own, named by its values (`grouped:groups=2`). Without --setup a grid varies every arm of the study where all read
its keys, else `grouped`. A grid has a baseline to be compared with once `--setup separable` was run into the same
--out; where its arms have another width, depth, kernel or recipe, `dsresearch compare DIR --baseline ARM` compares them
with one of their own. --grid reads the same from a TOML file:

  setup = ["grouped"]
  [design]
  groups = [1, 2, 4]
  residual = [true, false]

Setups: {setups}.
"""

REPORT = """\
Reads a study's folder and writes what there is to say of it, without jax and without training:

  report.html                the page to read first, and to send: verdict in words, tables, figures, how to run it again
  tables/*.csv, *.md, *.tex  ten tables and more: table4 (the paper's), verdict, noise_floor, similarity, cost, ...
  figures/*.pdf, *.png, *.csv  ten figures and more with the data that is drawn; captions.csv, figures.tex
  verdict.json               the word, every gate of the rule, every comparison, the inputs' sha256

The same folder gives the same bytes. What is missing is named, with the command that trains it.

  dsresearch report runs/hybrid-digits-quick
  dsresearch report runs/mine --beside results/hybrid-digits-quick     both tables, row by row
  dsresearch report runs/mine --into page.md                           the table in a page of yours, between markers

A marker says which study may replace what stands between it and its end:

  <!-- table4: dsresearch report runs/mine --into page.md -->
  <!-- /table4 -->

Names of markers: verdict, table4, f2_forest (the figure) and prospects (what would change our mind) of a study of the
hybrid; comparisons of another, and interior where it varies the group count.
"""

STATUS = """\
One line a cell of a study: done, running, failed (and why) or missing, and the time left. It reads files alone and
may be asked while the study runs.

  dsresearch status runs/hybrid-digits-quick
"""

AGAIN = """\
Trains one cell of a study anew, elsewhere, and compares its results, weights and predictions with the study's rows to
the bit. What differs is said, with what of the environment is another: processor, versions, flags. Exit status 1
where the bits differ in the same environment.

  dsresearch again results/hybrid-digits-quick                            one cell, drawn at random
  dsresearch again results/hybrid-digits-quick --cell a03dcd2d57a4f936    this one (`status` has the names)
"""

COMPARE = """\
Every arm of one or several studies against one of them, over the trials that both have: mean difference, intervals,
exact sign-flip tests with Holm's correction, equivalence at the margin. What is no pair (another split, execution
mode, protocol or environment) is refused in a line that says why.

  dsresearch compare runs/hybrid-digits-quick --baseline separable
  dsresearch compare runs/hybrid-digits-quick --baseline seed             a control, by its kind
  dsresearch compare runs/hybrid-digits-quick --baseline resnext@params   an arm of equal parameters (or @macs)
  dsresearch compare runs/A runs/B --baseline A/separable                 of several studies, by folder
"""

VERIFY = """\
Proves of every pair of formulations which of three it is, by moving the weights of one into the other and comparing
outputs, gradients and training steps in double precision: exact (one function, the same parameters), reparam (one
class of functions under a linear map), distinct (with a function that the other cannot be). Takes some minutes; exit
status 1 where a proof fails.

  dsresearch verify
  dsresearch verify --json > exactness.json
"""

COST = """\
Parameters, multiply-adds and activations of a network of the zoo or of one module, in closed form: no jax is loaded.

  dsresearch cost xception                              as published, on its own pictures
  dsresearch cost mobilenet_v2 --classes 10 --image 32
  dsresearch cost separable --channels 512,512 --image 14    a setup's module
  dsresearch cost --list                                all names
"""

PAPER = """\
Writes every table, figure and number of the folder paper/ from results/, and claims.csv: each claim of both papers
with our value and a status. In a checkout; `make paper` makes the PDF of it.
"""

DATA = """\
The pictures that --data names: prepare CIFAR-10, import your own, see what is there. They are kept under
DSRESEARCH_HOME.

  dsresearch data prepare cifar10                                         from the network
  dsresearch data prepare cifar10 --archive cifar-10-binary.tar.gz        without one
  dsresearch data import pictures.tar --name pets                         train/cat/1.png, test/dog/2.jpg, ...
"""

BENCH = """\
Training images/s of every setup and group count, beside plain Flax and (where it is installed) PyTorch on the same
network, turn by turn in processes of their own, so that the machine's noise meets all of them. Ratios are of one
turn.

  dsresearch bench                                          the standard network of this device
  dsresearch bench --setup separable --against torch
  dsresearch bench --kernels winograd --devices 2 --threads 2     our own kernels, a process a core
  dsresearch bench --mode scaling --to results/measurements         against width, depth, batch and trials
"""


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line, and no abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        sys.exit(complain(f"{message}; `{self.prog} --help` tells more"))


def _path(word: str) -> Path:
    """A path that a system could have."""
    if "\0" in word:
        raise argparse.ArgumentTypeError("a path has no NUL")
    return Path(word)


def _choice(names: Iterable[str], default: str) -> str:
    """`smoke, quick (default), full`: what an option may be."""
    return ", ".join(f"{name} (default)" if name == default else name for name in names)


def build() -> argparse.ArgumentParser:
    """The parser of all commands; `command` of what it reads is the command's name."""
    parser = _Parser(prog="dsresearch", description=ABOUT, formatter_class=_AS_WRITTEN)
    parser.add_argument("--version", action="version", version=f"dsresearch {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for add in (
        _add_run, _add_status, _add_report, _add_again, _add_compare, _add_verify, _add_cost, _add_paper, _add_data,
        _add_bench,
    ):  # fmt: skip
        add(commands)
    return parser


def _command(commands: Any, name: str, about: str, taught: str) -> argparse.ArgumentParser:
    """A command with its line in the list of commands, and what its own `--help` teaches."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=taught, formatter_class=_AS_WRITTEN
    )
    command.set_defaults(command=name)
    return command


def _add_run(commands: Any) -> None:
    run = _command(commands, "run", "train what is missing of a study", RUN.format(setups=", ".join(SETUPS)))
    run.add_argument("study", metavar="STUDY", help=_STUDIES)
    run.add_argument("--profile", default="quick", help=f"{_choice(_PROFILES, 'quick')}: how large")
    run.add_argument("--data", default="digits", help="digits (default), cifar10, or a name given to `data import`")
    run.add_argument("--out", type=_path, metavar="DIR", help="the study's folder (default: runs/STUDY-DATA-PROFILE)")
    run.add_argument("--trials", type=int, metavar="T", help="models of each arm (default: the profile's)")
    run.add_argument("--setup", action="append", default=[], metavar="S", help="only this arm; repeat it for several")
    run.add_argument(
        "--match", default="width", help=f"{_choice(MATCHES, 'width')}: what arms have equal to the baseline"
    )
    run.add_argument("--grid", type=_path, metavar="FILE", help="a grid of your own, as TOML")
    run.add_argument("--workers", type=int, metavar="N", help="cells at once (default: processors / threads a cell)")
    run.add_argument("--launcher", default="local", help="local (default), or ray: the cluster at RAY_ADDRESS")
    run.add_argument("--resources", default="", metavar="NAME=N,...", help="of a cell on Ray, such as GPU=1")
    run.add_argument("--yes", action="store_true", help="train a grid however large it is")
    run.add_argument("--dry-run", action="store_true", help="print the plan and what of it is done; train nothing")


def _add_status(commands: Any) -> None:
    status = _command(commands, "status", "one line a cell: done, running, failed, missing", STATUS)
    status.add_argument("folder", type=_path, metavar="DIR", help="a study's folder")


def _add_report(commands: Any) -> None:
    report = _command(commands, "report", "tables, figures, verdict and page of a study, from its files alone", REPORT)
    report.add_argument("folder", type=_path, metavar="DIR", help="a study's folder")
    report.add_argument("--to", type=_path, metavar="DIR", help="where to write (default: the study's folder)")
    report.add_argument("--beside", type=_path, metavar="DIR", help="another study's folder, to print its table beside")
    report.add_argument(
        "--into",
        type=_path,
        metavar="FILE",
        help="a Markdown page to put table and findings in, at its markers",
    )


def _add_again(commands: Any) -> None:
    again = _command(commands, "again", "train one cell of a study anew, and compare it with the study's rows", AGAIN)
    again.add_argument("folder", type=_path, metavar="DIR", help="a study's folder; nothing in it is changed")
    again.add_argument("--cell", default="", metavar="ID", help="which cell (default: one drawn at random)")
    again.add_argument("--seed", type=int, help="of that draw")


def _add_compare(commands: Any) -> None:
    compare = _command(commands, "compare", "any two arms of any studies by the same statistics", COMPARE)
    compare.add_argument("folders", type=_path, nargs="+", metavar="DIR", help="a study's folder")
    compare.add_argument(
        "--baseline",
        required=True,
        metavar="KEY",
        help="ARM, a control's kind, or ARM@params, ARM@macs; of several DIR, FOLDER/ARM",
    )
    compare.add_argument("--to", type=_path, metavar="DIR", help="where to write the table as CSV, Markdown and LaTeX")


def _add_verify(commands: Any) -> None:
    about = "prove which formulations are the same function, by weight transport"
    verify = _command(commands, "verify", about, VERIFY)
    verify.add_argument("--json", action="store_true", help="print the pairs as JSON")


def _add_cost(commands: Any) -> None:
    about = "parameters and multiply-adds of a network or a module, from closed forms"
    cost = _command(commands, "cost", about, COST)
    cost.add_argument("name", nargs="?", metavar="NAME", help="a network (`--list`) or a setup's module")
    cost.add_argument("--classes", type=int, metavar="N", help="outputs of a network (default: as published)")
    cost.add_argument("--image", type=int, metavar="PX", help="side of the picture, or of a module's map")
    cost.add_argument("--channels", metavar="M[,N]", help="inputs and outputs of a module (default: 512)")
    cost.add_argument("--json", action="store_true", help="print it as JSON")
    cost.add_argument("--list", action="store_true", help="print all names with their costs")
    cost.add_argument("--tables", type=_path, metavar="DIR", help="write the pages of networks and references there")


def _add_paper(commands: Any) -> None:
    about = "every table, figure and number of paper/ from results/, in a checkout"
    paper = _command(commands, "paper", about, PAPER)
    paper.add_argument("--to", type=_path, metavar="DIR", help="where to write (default: the folder paper)")


def _add_data(commands: Any) -> None:
    data = _command(commands, "data", "the pictures: prepare CIFAR-10, import your own, see what is there", DATA)
    actions = data.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)
    about = "CIFAR-10 through tensorflow-datasets, without TensorFlow"
    prepare = actions.add_parser("prepare", help=about, description=about)
    prepare.set_defaults(command="data_prepare")
    prepare.add_argument("name", metavar="cifar10", help="the only set with a preparation")
    prepare.add_argument(
        "--archive", type=_path, metavar="FILE", help="the official cifar-10-binary.tar.gz: no network"
    )
    about = "pictures in train|test/class/*.jpg|png, from a folder or a tar"
    bring = actions.add_parser("import", help=about, description=about)
    bring.set_defaults(command="data_import")
    bring.add_argument("source", type=_path, metavar="DIR_OR_TAR")
    bring.add_argument("--name", required=True, metavar="N", help="what --data calls the set from now on")
    info = actions.add_parser("info", help="what is there")
    info.set_defaults(command="data_info")


def _add_bench(commands: Any) -> None:
    bench = _command(commands, "bench", "images/s of every formulation beside plain Flax and PyTorch", BENCH)
    bench.add_argument("--json", action="store_true", dest="as_json", help="print JSON in place of the table")
    bench.add_argument("--against", default="flax,torch", metavar="P,P", help="peers: flax,torch (default), or none")
    bench.add_argument("--setup", action="append", default=[], dest="setups", metavar="S", help="only this; repeat it")
    bench.add_argument("--mode", default="training", help="training (default), inference or scaling")
    bench.add_argument("--network", metavar="N", help="cpu, gpu or tiny (default: the device's)")
    bench.add_argument("--dtype", help=f"{', '.join(DTYPES)} (default: the network's)")
    bench.add_argument("--rounds", type=int, metavar="N", help="turns of every side (default: 5, on a GPU 3)")
    bench.add_argument("--seconds", type=float, help="of one measurement (default: 1, on a GPU 0.5)")
    bench.add_argument("--minutes", type=float, default=0.0, help="end after so many, with what is done")
    bench.add_argument("--threads", type=int, metavar="N", help="CPU threads of each side (default: all cores)")
    bench.add_argument("--devices", type=int, default=1, metavar="N", help="that share each batch of ours (default: 1)")
    bench.add_argument("--kernels", default="xla", help=f"whose convolutions on a CPU: {_choice(KERNELS, 'xla')}")
    bench.add_argument("--to", type=_path, metavar="PATH", help="keep the JSON in this file, or dated in this folder")
