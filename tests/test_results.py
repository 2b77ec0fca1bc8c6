"""What is committed in results/ is whole and of the committed rows, and the tables of the pages are theirs.

That tables, figures and verdicts are what `report` draws of the rows, tests/test_paper.py shows, which draws them all.
"""

import hashlib
import json
import re
import tempfile
from itertools import combinations
from pathlib import Path

import pytest

from dsresearch.exactness import formulations
from dsresearch.report import Analysis, page_texts, read_study
from dsresearch.report.tables import injected

ROOT = Path(__file__).parents[1]
WORKING = ("cells", "claims", "logs", "programs", "sources")  # where a study goes on, and not committed
STUDIES = sorted(path.parent for path in ROOT.glob("results/*/trials.csv"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_the_manifest_is_of_the_committed_files(study: Path) -> None:
    manifest = json.loads((study / "manifest.json").read_text(encoding="utf-8"))
    found = {path.relative_to(study).as_posix(): path.read_bytes() for path in study.rglob("*") if path.is_file()}
    kept = {name: data for name, data in found.items() if name.split("/")[0] not in WORKING}
    assert set(manifest) == set(kept) - {"manifest.json"}
    assert all(hashlib.sha256(kept[name]).hexdigest() == entry["sha256"] for name, entry in manifest.items())


def test_the_committed_proofs_are_of_every_pair_of_formulations_and_hold() -> None:
    pairs = json.loads((ROOT / "results/measurements/exactness.json").read_text(encoding="utf-8"))["pairs"]
    proven = {frozenset((pair["a"], pair["b"])) for pair in pairs if pair["passed"] and pair["class"] != "undecided"}
    assert proven == set(map(frozenset, combinations(formulations(), 2)))


PAGES = [ROOT / "README.md", ROOT / "docs" / "findings.md"]
SHOWN = [
    (page, folder)
    for page in PAGES
    for folder in sorted(set(re.findall(r"<!-- \w+: dsresearch report (\S+) --into", page.read_text(encoding="utf-8"))))
]


@pytest.mark.parametrize(("page", "folder"), SHOWN, ids=lambda value: getattr(value, "name", value))
def test_the_pages_show_what_the_committed_studies_say(page: Path, folder: str) -> None:
    study = ROOT / folder
    texts = page_texts(Analysis(read_study(study)), study, page)
    content = page.read_text(encoding="utf-8")
    assert injected(page, texts, study.name) == content


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_markers_of_a_page_name_the_page(page: Path) -> None:
    """`make rebuild` runs the commands in the markers."""
    commands = re.findall(r"<!-- \w+: dsresearch (.*) -->", page.read_text(encoding="utf-8"))
    assert commands
    assert all(command.endswith(f"--into {page.relative_to(ROOT)}") for command in commands)


def test_no_path_of_a_machine_is_committed_with_the_results() -> None:
    for path in ROOT.glob("results/**/*"):
        if path.suffix in (".csv", ".toml", ".json", ".md", ".tex"):
            text = path.read_text(encoding="utf-8")
            assert str(ROOT) not in text, path
            assert tempfile.gettempdir() not in text, path
