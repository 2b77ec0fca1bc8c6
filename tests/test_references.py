"""A newcomer finds where a number of a paper stands in the code in one search: `git grep 22.855.952`."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dsresearch"
PAPERS = {
    "Chollet 2017, Table 1": ("0.790", "0.945", "0.782", "0.941", "0.715", "0.770"),
    "Chollet 2017, Table 2": ("6.36", "6.70", "6.50", "6.78"),
    "Chollet 2017, Table 3": ("22,855,952", "23,626,728"),
    "Chollet 2017, section 4.2": ("0.045", "0.94", "3,000,000"),
    "Ghosh 2017, Figures 4 to 6": ("0.83", "0.62", "0.71", "7.61", "6.15", "11.9", "6.03"),
    "Howard et al. 2017": ("569", "4.2 M"),
    "Keras": ("23,817,352", "4,231,976", "3,504,872", "5,288,548"),
}


@pytest.mark.parametrize("number", [number for numbers in PAPERS.values() for number in numbers])
def test_a_number_of_a_paper_stands_in_few_files(number: str) -> None:
    searched = re.compile(rf"(?<![\d.]){number.replace(',', '.')}(?![\d])")
    found = [path for path in PACKAGE.rglob("*.py") if searched.search(path.read_text(encoding="utf-8"))]
    assert 1 <= len(found) <= 4, found
