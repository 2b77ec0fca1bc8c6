"""`report.html`: self-contained, readable by people and by screen readers, harmless whatever a name contains."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from study_builder import GAP, good_study, undrawn, write_epochs, write_study

from dsresearch.report import Analysis, figures, page, read_study, tables
from dsresearch.report.figures import figure_files
from dsresearch.report.html import _as_address
from dsresearch.report.words import QUALIFIERS, WORD_COLOURS, WORDS
from dsresearch.statistics import Verdict

VOID = {"meta", "link", "img", "br"}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few simulated studies: their number is not what these tests are about."""
    monkeypatch.setattr("dsresearch.report.planning.STUDIES", 20)
    monkeypatch.setattr("dsresearch.report.planning.PRINTED_STUDIES", 20)


class Reader(HTMLParser):
    """Tags with their attributes, and text; every tag is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self.open = "", list[str]()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder: Path, drawn: bool = False) -> str:
    analysis = Analysis(read_study(folder))
    return page(analysis, tables(analysis), figures(analysis) if drawn else undrawn(analysis))


def test_words_of_a_drawing_are_no_style_of_it() -> None:
    said = 'a style="}*{display:none}" id="b" d="1.23456"'
    svg = f'<svg><style>text{{}}</style><g id="c"><text style="fill: #222222" x="1.23456">{said}</text></g></svg>'
    style = "<style>text{}.s0{fill: #222222}</style>"
    assert unquote(_as_address(svg)) == f"<svg>{style}<g><text class='s0' x='1.23'>{said}</text></g></svg>"


def test_the_page_stands_alone_and_every_picture_has_a_text(tmp_path: Path) -> None:
    wrong = good_study()
    write_epochs(write_study(tmp_path, wrong), wrong)
    text = written(tmp_path, drawn=True)
    seen = Reader(text)
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"] for tag in ("a", "link") for attributes in seen.all(tag)]
    assert {href for href in targets if not href.startswith("#")} == {"data:,"}
    assert {href[1:] for href in targets if href.startswith("#")} <= set(ids)
    pictures = seen.all("img")
    assert len(pictures) == 8, "no predictions, no divergence: two of ten are not drawn"
    for attributes in pictures:
        assert len(attributes["alt"]) > 30
        svg = unquote(attributes["src"].removeprefix("data:image/svg+xml,"))
        ElementTree.fromstring(svg)
        assert set(re.findall(r"font-family: ([^;\"]*)", svg)) == {"'DejaVu Sans', Verdana, sans-serif"}
        assert not re.findall(r"""(?:href|src)=["'](?!#)""", svg), "a picture loads nothing"
        assert not re.findall(r"<[^<>]*style=", svg)
        styled = set(re.findall(r"class='(\w+)'", svg))
        assert styled == set(re.findall(r"\.(s\d+)\{", svg)) != set(), "each style once, none lost"
        drawn = {place[1:] for place in re.findall(r"#[\w-]+", svg)}
        assert set(re.findall(r" id='([^']*)'", svg)) <= drawn, "nothing is named for nothing"
        for place in re.findall(r"(?:href='#|url\(#)([\w-]+)", svg):
            assert f" id='{place}'" in svg, "what is referred to is there"
        assert "prefers-color-scheme" in svg
    assert "script" not in {tag for tag, _ in seen.tags}
    assert not re.findall(r"https?://|@import|url\(", re.sub(r'"data:[^"]*"', '""', text))
    for said in (
        "Agreement picture by picture",
        "the study keeps no predictions.parquet",
        "the study has no divergence.csv",
    ):
        assert said in seen.text
    assert all(attributes.get("role") == "region" for _, attributes in seen.tags if attributes.get("tabindex") == "0")
    assert seen.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("word", WORDS)
def test_every_word_and_qualifier_is_explained_where_it_stands(tmp_path: Path, word: str) -> None:
    analysis = Analysis(read_study(write_study(tmp_path)))
    gates = analysis.verdicts["hybrid"].gates
    analysis.__dict__["verdicts"] = {
        "hybrid": Verdict(word, ("for a reason",), dict.fromkeys(QUALIFIERS, "why"), gates)
    }
    text = page(analysis, tables(analysis), undrawn(analysis))
    seen = " ".join(Reader(text).text.split())
    assert " ".join(WORDS[word].split()) in seen
    assert f"{word} for hybrid" in seen
    assert WORD_COLOURS[word] in text
    for name, meaning in QUALIFIERS.items():
        assert f'id="q-{name}"' in text
        assert meaning.replace("`", "") in seen


def test_words_and_qualifiers_are_those_of_the_rule() -> None:
    source = Path(__file__).parents[1].joinpath("dsresearch/statistics/verdict.py").read_text(encoding="utf-8")
    said = set(re.findall(r'"((?:[A-Z]+ )?[A-Z]{5,})"', source))
    assert said == set(WORDS)
    assert set(re.findall(r'out\["([a-z-]+)"\]', source)) == set(QUALIFIERS)


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title>&lt;",
    r"\write18{ls}$#%&_^~",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_does_no_harm_on_the_page_nor_under_a_figure(tmp_path: Path, name: str) -> None:
    wrong = {**good_study(), (name, "", "width"): [700] * 10}
    change = {"device_kind": name, "platform": name, "jax": name}
    write_study(
        tmp_path, wrong, dataset=name, change=lambda r: {**r, **change}, exactness={"pairs": [{"a": name, "b": name}]}
    )
    text = written(tmp_path)
    seen = Reader(text)
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"script", "iframe", "object", "svg"}
    assert not [a for _, attributes in seen.tags for a in attributes if a.startswith("on")]
    assert not seen.all("img"), "the names bring no picture"
    assert name in seen.text, "and it is shown as it stands"
    analysis = Analysis(read_study(tmp_path))
    latex = figure_files(undrawn(analysis), analysis.study.caption())["figures.tex"].decode()
    assert r"\write18" not in latex
    assert "<script" not in latex


def test_missing_cells_are_told_with_their_command(tmp_path: Path) -> None:
    wrong = good_study()
    plan = list(wrong)
    del wrong["resnext", "", "width"]
    text = " ".join(Reader(written(write_study(tmp_path, wrong, plan=plan))).text.split())
    assert "INCOMPLETE for hybrid" in text
    assert "missing resnext: run dsresearch run hybrid --data cifar10 --profile confirm --out DIR" in text
    assert all(rival in text for rival in GAP)
