"""Every figure of every committed study is whole: nothing is cut off at its edge, and no words lie on others."""

import io
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dsresearch.report import Analysis, figures, read_study

STUDIES = sorted(path.parent for path in Path(__file__).parents[1].glob("results/*/trials.csv"))


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is wrong with each figure that a report lays out; none is written as a file."""
    found: list[list[str]] = []
    drawn: list[Text] = []
    draw = Text.draw

    def noted(text: Text, renderer: Any) -> None:
        drawn.append(text)
        draw(text, renderer)

    def looked_at(figure: Figure, sink: io.BytesIO, **_: Any) -> None:
        drawn.clear()
        figure.set_dpi(mpl.rcParams["savefig.dpi"])  # letters are wider or narrower at other sizes
        figure.draw_without_rendering()
        found.append(list(_faults(figure, drawn)))
        sink.write(b"<svg></svg>")

    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)  # their number changes no place of a word
    monkeypatch.setattr("dsresearch.report.style._METADATA", {"svg": {}})
    monkeypatch.setattr(Text, "draw", noted)
    monkeypatch.setattr(Figure, "savefig", looked_at)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_no_word_is_cut_off_and_none_lies_on_another(study: Path, faults: list[list[str]]) -> None:
    made = [picture.name for picture in figures(Analysis(read_study(study))) if not picture.absent]
    assert {name: found for name, found in zip(made, faults, strict=True) if found} == {}


def _faults(figure: Figure, drawn: list[Text]) -> Iterator[str]:
    """Of oblique words the box says nothing: they are left out."""
    upright = [text for text in drawn if text.get_text().strip() and text.get_rotation() % 90 == 0]
    words = [(text.get_text(), text.get_window_extent()) for text in upright]
    yield from (f"{text!r} is cut off" for text, box in words if not _within(box, figure.bbox))
    for legend in figure.findobj(Legend):
        if isinstance(legend, Legend) and not _within(legend.get_window_extent(), figure.bbox):
            yield "the legend is cut off"
    for (one, first), (two, second) in combinations(words, 2):
        if _overlap(first, second):
            yield f"{one!r} and {two!r} overlap"


def _within(box: Bbox, canvas: Bbox) -> bool:
    return bool(
        box.x0 >= canvas.x0 - 1 and box.y0 >= canvas.y0 - 1 and box.x1 <= canvas.x1 + 1 and box.y1 <= canvas.y1 + 1
    )


def _overlap(one: Bbox, two: Bbox) -> bool:
    """Whether two boxes share more than a pixel's seam."""
    wide = min(one.x1, two.x1) - max(one.x0, two.x0)
    tall = min(one.y1, two.y1) - max(one.y0, two.y0)
    return bool(wide > 1 and tall > 1)
