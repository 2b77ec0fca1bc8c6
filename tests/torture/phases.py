"""Tells `torment.py` which phase each process of a study is in; sitecustomize.py beside this file has it loaded.

The product's functions are wrapped, once their module is imported, in words to the socket that TORTURE_SOCKET names.
Else it is changed in two places: a checkpoint is written after every epoch, so that there are enough of them, and the
report draws no figures and no page, which would take most of the time.
"""

import contextlib
import importlib.machinery
import os
import socket
import sys

line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
line.setblocking(False)  # nobody waits for a listener


def say(word, phase):
    with contextlib.suppress(OSError):
        line.sendto(f"{word} {phase} {os.getpid()}".encode(), os.environ["TORTURE_SOCKET"])


def marked(function, phase):
    """The function between the `begin` and the `end` of a phase."""

    def wrapped(*words, **named):
        say("begin", phase)
        try:
            return function(*words, **named)
        finally:
            say("end", phase)

    return wrapped


def in_train(module):
    fold = module.Program.fold
    compiled = []

    def told(self, *words):
        rows = fold(self, *words)
        while True:
            phase = "epoch" if compiled else "compile"
            say("begin", phase)
            row = next(rows, None)
            say("end", phase)
            if row is None:
                return
            compiled.append(True)
            yield row

    module.Program.fold = told


def in_attempt(module):
    module.Keeper.if_due = module.Keeper.now


def in_checkpoint(module):
    module.Checkpoints.save = marked(module.Checkpoints.save, "checkpoint")


def in_ledger(module):
    """From the first artifact to the end of the cell's folder: Sacred's files, result.json, what is cleared away."""
    record, clear = module._record, module.CellFolder.clear

    def begun(*words):
        say("begin", "ledger")
        record(*words)

    def ended(self):
        clear(self)
        say("end", "ledger")

    module._record, module.CellFolder.clear = begun, ended


def in_trials(module):
    module.Result.save = marked(module.Result.save, "ledger")


def in_launch(module):
    module.export = marked(module.export, "export")


def in_report(module):
    """The tables of `dsresearch report`, from the first file written."""
    files = module.files

    def begun(analysis):
        made = files(analysis)
        say("begin", "report")
        return made

    module.files, module.figures, module.page = begun, lambda analysis: [], lambda *parts: ""


HOOKS = {
    "dsresearch.train": in_train,
    "dsresearch.trials": in_trials,
    "dsresearch.ledger.attempt": in_attempt,
    "dsresearch.checkpoint": in_checkpoint,
    "dsresearch.ledger": in_ledger,
    "dsresearch.launch": in_launch,
    "dsresearch.report": in_report,
}


class Hooked(importlib.machinery.PathFinder):
    """Finds the modules of HOOKS as always, and calls the hook once they are executed."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in HOOKS:
            return None
        spec = super().find_spec(name, path, target)
        execute = spec.loader.exec_module

        def then(module):
            execute(module)
            HOOKS[name](module)

        spec.loader.exec_module = then
        return spec


def install():
    """Hook what is not imported yet."""
    sys.meta_path.insert(0, Hooked)
