"""Nothing of this program unpickles: reading a file never runs what is in it."""

import ast
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import command, watched
from picture_files import pets, tar_of
from study_builder import good_study, undrawn, write_epochs, write_study

from dsresearch.checkpoint import Checkpoints
from dsresearch.trials import Result

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("dsresearch", "experiments", "benchmarks") for path in (ROOT / room).rglob("*.py"))
PACKAGES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "copyreg",
}
CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load"}
METHODS = (".read_pickle", ".to_pickle", ".unsafe_load", ".full_load")


def unsafe(tree: ast.AST) -> list[str]:
    """What of a source could run what a file says."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in PACKAGES]
        if isinstance(node, ast.Call):
            of = ast.unparse(node.func)
            found += [of] if of in CALLS or of.endswith(METHODS) else []
            found += [of for word in node.keywords if word.arg == "allow_pickle" and ast.unparse(word.value) != "False"]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_unpickle(path: Path) -> None:
    assert unsafe(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "np.load(x, allow_pickle=True)", "torch.load(x)", "pd.read_pickle(x)",
     "eval(x)", "np.load(x, allow_pickle=y)"],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert unsafe(ast.parse(source))


class _Payload:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def poison(canary: Path) -> bytes:
    """A pickle that works."""
    content = pickle.dumps(_Payload(canary))
    pickle.loads(content)
    assert canary.is_dir()
    canary.rmdir()
    return content


def test_pictures_that_are_pickles(
    tmp_path: Path, canary: Path, poison: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    poisoned = {**pets(), "train/dog/a.png": poison}
    assert command("data", "import", str(tar_of(tmp_path / "a.tar", poisoned)), "--name", "pets").status == 2
    words = ("data", "import", str(tar_of(tmp_path / "b.tar", pets())), "--name", "pets")
    assert command(*words, writable=[tmp_path / "home"]).status == 0
    stored = tmp_path / "home" / "pictures" / "pets"
    for name in ("images.npy", "labels.npy"):
        whole = (stored / name).read_bytes()
        np.save(stored / name, np.array([_Payload(canary)], dtype=object), allow_pickle=True)
        assert "is damaged" in command("run", "hybrid", "--data", "pets", "--dry-run").err
        (stored / name).write_bytes(poison)
        assert "is damaged" in command("run", "hybrid", "--data", "pets", "--dry-run").err
        (stored / name).write_bytes(whole)
    assert not canary.exists()


def test_a_study_whose_files_are_pickles(
    tmp_path: Path, canary: Path, poison: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsresearch.report.figures", undrawn)
    wrong = good_study(2)
    write_study(tmp_path / "study", wrong, exactness={"pairs": []})
    write_epochs(tmp_path / "study", wrong, epochs=2)
    for path in sorted((tmp_path / "study").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(poison)
        command("report", str(tmp_path / "study"), "--to", str(tmp_path / "to"), writable=[tmp_path / "to"])
        command("compare", str(tmp_path / "study"), "--baseline", "separable")
        path.write_bytes(whole)
    assert not canary.exists()


def test_a_trial_and_a_checkpoint_that_are_pickles(tmp_path: Path, canary: Path, poison: bytes) -> None:
    np.savez(tmp_path / "0.npz", row=np.array([_Payload(canary)], dtype=object), allow_pickle=True)
    with watched(), pytest.raises(ValueError, match="allow_pickle"):
        Result.load(tmp_path / "0.npz")
    like = {"a": np.arange(6.0)}
    Checkpoints(tmp_path / "whole").save(0, 1, like)
    for path in sorted(path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        shutil.copytree(tmp_path / "whole", tmp_path / "broken")
        (tmp_path / "broken" / path.relative_to(tmp_path / "whole")).write_bytes(poison)
        Checkpoints(tmp_path / "broken").newest(0, like)
        shutil.rmtree(tmp_path / "broken")
    assert not canary.exists()
