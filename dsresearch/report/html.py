"""Tables and pictures as HTML; every word from a file is escaped, and nothing is loaded from anywhere."""

import re
from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from dsresearch.report.cell import one_line
from dsresearch.report.style import Picture
from dsresearch.report.tables import SHORT, Field, Table, text_of

_PARTS = {
    "paper": "the paper's setups",
    "control": "controls: the baseline against itself",
    "reading": "other readings of the hybrid",
    "exploratory": "exploratory arms",
    "params matched": "at the baseline's parameters",
    "macs matched": "at the baseline's multiply-adds",
}


def words(text: str) -> str:
    """Text of a sentence, escaped; what stands in backticks as code."""
    parts = re.split(r"`([^`]+)`", one_line(text))
    return "".join(f"<code>{escape(part)}</code>" if at % 2 else escape(part) for at, part in enumerate(parts))


def table_html(table: Table, heading: str = "h3", marked: Iterable[str] = ()) -> str:
    """A table within a region that scrolls sideways and that the keyboard reaches; `marked` names rows to stand out."""
    fields = tuple(field for field in table.shown(full=False) if field.key != "part")
    head = "".join(f'<th scope="col"{_align(field)}>{escape(field.head)}</th>' for field in fields)
    body, before = [], None
    for row in table.rows:
        cells = "".join(
            _cell(field, SHORT.get(row[field.key], row[field.key]), at == 0) for at, field in enumerate(fields)
        )
        part = row.get("part", before)
        if part != before:
            body.append(
                '<tr class="part"><th scope="colgroup" '
                f'colspan="{len(fields)}">{escape(_PARTS.get(part, part))}</th></tr>'
            )
        body.append(f"<tr{_classes(['key'] if str(row[fields[0].key]) in set(marked) else [])}>{cells}</tr>")
        before = part
    title = escape(one_line(table.title))
    notes = "".join(f'<p class="caption">{words(note)}</p>' for note in table.notes)
    return (
        f'<{heading} id="{table.name}">{title}</{heading}>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{table.name}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>\n"
        f'<p class="caption">{words(table.caption)}</p>{notes}\n'
    )


def _align(field: Field) -> str:
    return ' class="n"' if field.numeric else ""


def _classes(names: list[str]) -> str:
    return f' class="{" ".join(names)}"' if names else ""


def _cell(field: Field, value: object, is_name: bool) -> str:
    text = escape(text_of(field, value))
    text = f"<code>{text}</code>" if field.style == "name" else text
    if is_name:
        return f'<th scope="row">{text}</th>'
    names = [*(["n"] if field.numeric else []), *(["w"] if field.numeric and isinstance(value, str) else [])]
    names += ["note"] if field.key in ("note", "meaning", "caveat", "quantity") else []
    shown = words(text_of(field, value)) if field.key == "note" else text
    return f"<td{_classes(names)}>{shown}</td>"


def picture_html(picture: Picture, told: str) -> str:
    """A figure with its alternative text and caption, or the reason why it is not drawn."""
    title, caption = escape(picture.title), words(picture.caption)
    if picture.absent:
        why = f"<strong>{title}</strong>: not drawn, {words(picture.absent)}."
        return f'<div class="absent" id="{picture.name}">{why}</div>\n'
    kind = "" if picture.wide else ' class="column"'
    width, height = _size(picture.svg)
    return (
        f'<figure{kind} id="{picture.name}">'
        f'<img src="data:image/svg+xml,{_as_address(picture.svg)}" width="{width}" height="{height}" '
        f'alt="{escape(f"{picture.title}. {one_line(picture.alt)}")}">'
        f"<figcaption><strong>{title}.</strong> {caption} <span "
        f'class="told">{words(told)}</span></figcaption></figure>\n'
    )


_TAG = re.compile(r"<\w[^<>]*>")
_PLACES = re.compile(r' (?:d|x|y|transform|points)="[^"]*"')
_FINER = re.compile(r"\d+\.\d{3,}")


def _as_address(svg: str) -> str:
    """A drawing as what follows `data:image/svg+xml,`, with as little escaped as an attribute in quotes allows.

    Places are rounded to a hundredth of a point, each style stands once, as a class, and what nothing refers to has no
    identifier; it looks the same. Words between the tags stay as they are.
    """
    classes: dict[str, str] = {}
    known = set(re.findall(r"#([\w-]+)", svg))

    def brief(tag: re.Match[str]) -> str:
        text = _PLACES.sub(lambda place: _FINER.sub(lambda number: f"{float(number[0]):.2f}", place[0]), tag[0])
        text = re.sub(r' style="([^"]*)"', lambda of: f' class="{classes.setdefault(of[1], f"s{len(classes)}")}"', text)
        text = re.sub(r' id="([^"]*)"', lambda of: of[0] if of[1] in known else "", text)
        return re.sub(r"=\"([^\"']*)\"", r"='\1'", " ".join(text.split()))

    svg = _TAG.sub(brief, svg)
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    svg = re.sub(r">\s+<", "><", svg.replace("</style>", f"{rules}</style>", 1))
    return quote(svg, safe=" !$'()*+,-./:;<=>?@[\\]^_`{|}~")


def _size(svg: str) -> tuple[int, int]:
    """Width and height in pixels, so that the page does not jump while it is laid out."""
    found = re.search(r'width="([0-9.]+)pt" height="([0-9.]+)pt"', svg)
    return (round(float(found[1]) * 4 / 3), round(float(found[2]) * 4 / 3)) if found else (0, 0)
