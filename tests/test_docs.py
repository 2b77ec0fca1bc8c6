"""docs/: the notebook shows what the code says, and every link of a page leads to something."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from notebook import executed

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("docs/*.ipynb"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/*.md"), *ROOT.glob("paper/*.md")])


def shown(notebook: dict[str, Any]) -> list[str]:
    """What its cells printed, in order; of a picture, that there is one: its bytes are the drawing library's."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return ["".join(output.get("text") or output["data"].get("text/plain", "a picture")) for output in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_shows_what_its_cells_say(path: Path) -> None:
    committed = json.loads(path.read_text(encoding="utf-8"))
    assert shown(executed(path)) == shown(committed), f"python tests/notebook.py {path.relative_to(ROOT)}"
    assert len(shown(committed)) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
