"""A table as a value, and its three spellings: CSV for programs, Markdown for people, LaTeX (booktabs) for papers.

A cell holds a number, an interval, or words. Words stand wherever a number cannot be given and say why; no cell is
blank. Names come from the user's files and are escaped in every spelling.
"""

import csv
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsresearch.design import InputError
from dsresearch.report.cell import one_line
from dsresearch.statistics import Interval

NOTHING = "–"  # a cell with nothing to say
MOST_ROWS = 500  # of a table on a page or a terminal; its files have all


@dataclass(frozen=True)
class Field:
    """One column: its name in the CSV, its head elsewhere, how a number in it is written.

    `style`: `pp` two decimals, `signed` two decimals with sign, `count` whole, `name` a name from the user's files,
    `text` words, `small` two significant digits (p values, relative differences). An interval is written with the
    style of its bounds and takes two columns of the CSV. `csv_only` stands in the CSV alone, `full_only` in the CSV and
    the Markdown file, but not where a table has to be narrow: LaTeX, terminal, README, page.
    """

    key: str
    head: str
    style: str = "text"
    interval: bool = False
    csv_only: bool = False
    full_only: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the column is aligned to the right."""
        return self.style in ("pp", "signed", "count", "small")


@dataclass(frozen=True)
class Table:
    """Columns, rows and a caption that says where the numbers come from; notes stand below it, a line each.

    `full_caption` explains the columns that only the full spelling shows. `repeated`: places of the rows that say again
    what another says; they stand where `full_only` columns do.
    """

    name: str
    title: str
    caption: str
    fields: tuple[Field, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    full_caption: str = ""
    repeated: frozenset[int] = frozenset()

    def narrow(self) -> "Table":
        """The table without the rows that say again what another says."""
        rows = tuple(row for at, row in enumerate(self.rows) if at not in self.repeated)
        return dataclasses.replace(self, rows=rows, repeated=frozenset())

    def shown(self, full: bool) -> tuple[Field, ...]:
        """The columns of a spelling for people."""
        return tuple(field for field in self.fields if not field.csv_only and (full or not field.full_only))


def shortened(table: Table) -> Table:
    """The table as far as a page or a terminal shows it, with a note where rows are left out."""
    table = table.narrow()
    left_out = len(table.rows) - MOST_ROWS
    if left_out <= 0:
        return table
    note = f"{left_out:,} more rows stand in tables/{table.name}.csv and tables/{table.name}.md."
    return dataclasses.replace(table, rows=table.rows[:MOST_ROWS], notes=(*table.notes, note))


def to_csv(table: Table) -> bytes:
    """Numbers with six decimals, LF, an interval as two columns."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for field in table.fields for name in _csv_names(field)])
    for row in table.rows:
        writer.writerow([cell for field in table.fields for cell in _csv_cells(field, row[field.key])])
    return out.getvalue().encode()


def _csv_names(field: Field) -> list[str]:
    return [f"{field.key}_lo", f"{field.key}_hi"] if field.interval else [field.key]


def _csv_cells(field: Field, value: Any) -> list[str]:
    if isinstance(value, str):
        return [one_line(value) or NOTHING] * (2 if field.interval else 1)
    if isinstance(value, Interval):
        return [_csv_number(field, value.lo), _csv_number(field, value.hi)]
    return [_csv_number(field, value)]


def _csv_number(field: Field, value: float) -> str:
    if field.style == "count":
        return str(int(value))
    return f"{float(value):.6g}" if field.style == "small" else _fixed(value, 6)


SHORT: Mapping[Any, str] = {
    "reference": "ref.",
    "bit-identical": "same",
}  # where room is scarce; the note says the word


def to_markdown(table: Table, full: bool = True) -> str:
    """A pipe table under its title, caption below; readable as plain text. `full` shows the columns of the file."""
    table = table if full else table.narrow()
    fields = table.shown(full)
    words: Mapping[Any, str] = {} if full else SHORT
    cells = [[_markdown(field, words.get(row[field.key], row[field.key])) for field in fields] for row in table.rows]
    heads = [field.head.replace("|", "\\|") for field in fields]
    widths = [max(len(text) for text in column) for column in zip(heads, *cells, strict=True)]
    numeric = [field.numeric for field in fields]
    if fields[-1].key == "note":
        widths[-1] = len(heads[-1])  # notes have any length
    lines = [_pipes(heads, widths, numeric)]
    lines.append(
        "|" + "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True)) + "|"
    )
    lines += [_pipes(row, widths, numeric) for row in cells]
    caption = f"{table.caption} {table.full_caption}".strip() if full else table.caption
    title, *below = (escape_markdown(text) for text in (table.title, caption, *table.notes))
    return "\n".join([f"**{title}**", "", *lines, "", *(part for text in below for part in (text, ""))])


def _pipes(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numeric, strict=True)]
    return "| " + " | ".join(padded) + " |"


def _markdown(field: Field, value: Any) -> str:
    text = text_of(field, value)
    if field.style == "name" and text != NOTHING:
        return code(text)
    return escape_markdown(text).replace("|", "\\|") if isinstance(value, str) else text


def code(text: str) -> str:
    """A code span: nothing within it is markup. Its fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
    fence = "`" * (longest + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: f"\\{c}" for c in "\\*_[]#"}})


def escape_markdown(text: str) -> str:
    """Words outside code spans; a command in backticks stays one."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a lone backtick opens nothing
        parts = [text.replace("`", "'")]
    for at in range(0, len(parts), 2):
        parts[at] = parts[at].translate(_MARKDOWN)
    for at in range(1, len(parts), 2):
        parts[at] = f"`{parts[at]}`" if parts[at].strip() else "''"
    return "".join(parts)


_COLUMN_CHARACTERS = 62  # what one column of a two-column paper holds at 9 points


def to_latex(table: Table) -> str:
    """A booktabs table environment, to be read with \\input under `\\usepackage{booktabs,graphicx}`.

    No wider than the line: wider ones are scaled down, narrow ones left as they are. Notes on rows stand below.
    """
    table = table.narrow()
    fields = [field for field in table.shown(full=False) if field.key != "note"]
    columns = "".join("r" if field.numeric else "l" for field in fields)
    kind = "table*" if _characters(table, fields) > _COLUMN_CHARACTERS else "table"
    lines = [
        rf"\begin{{{kind}}}",
        r"\centering\small",
        rf"\caption{{{escape_latex(table.title)}. {escape_latex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(escape_latex(field.head) for field in fields) + r" \\",
        r"\midrule",
    ]
    for at, row in enumerate(table.rows):
        if at and "part" in row and row["part"] != table.rows[at - 1]["part"]:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(_latex(field, row[field.key]) for field in fields) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}%"]
    lines.append(r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi")
    below = [*_row_notes(table), *(escape_latex(note) for note in table.notes)]
    lines += [rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {text}\end{{minipage}}" for text in below]
    return "\n".join([*lines, rf"\end{{{kind}}}", ""])


def _characters(table: Table, fields: Sequence[Field]) -> int:
    """How wide a table is at its widest cells."""
    return sum(max(len(text_of(f, row[f.key])) for row in (*table.rows, {f.key: f.head})) + 2 for f in fields)


def _row_notes(table: Table) -> list[str]:
    """What the column `note` says, as one line below the table."""
    if not any(field.key == "note" for field in table.fields):
        return []
    name = next(field for field in table.fields if field.key != "part")
    said: dict[str, list[str]] = {}
    for row in table.rows:
        if one_line(row["note"]):
            said.setdefault(one_line(row["note"]), []).append(_latex(name, row[name.key]))
    return (
        ["; ".join(f"{', '.join(names)}: {escape_latex(note)}" for note, names in said.items()) + "."] if said else []
    )


def _latex(field: Field, value: Any) -> str:
    text = escape_latex(text_of(field, value))
    if field.style == "name" and text != escape_latex(NOTHING):
        return rf"\texttt{{{text}}}"
    return text if isinstance(value, str) else f"${text}$"


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"{\char34}",
        "`": r"{`}",  # no ligature may join it to what stands before
        "±": r"\ensuremath{\pm}",
        "×": r"\ensuremath{\times}",
        NOTHING: r"\textendash{}",
    }
)


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands; a character that pdfLaTeX cannot print is named by its code point."""
    plain = one_line(text).translate(_LATEX)
    if not plain.isascii():
        plain = "".join(c if c.isascii() else f"[U+{ord(c):04X}]" for c in plain)
    return plain.replace("--", "-{}-").replace("--", "-{}-")  # the hyphens of an option are no dash


def text_of(field: Field, value: Any) -> str:
    """A cell as words and numbers, for Markdown and LaTeX."""
    if isinstance(value, str):
        return one_line(value) or NOTHING
    if isinstance(value, Interval):
        return f"[{_number(field, value.lo)}, {_number(field, value.hi)}]"
    return _number(field, value)


def _number(field: Field, value: float) -> str:
    if field.style == "count":
        return f"{int(value):,}"
    if field.style == "small":
        return f"{float(value):.2g}" if value == 0 or abs(value) >= 1e-3 else f"{float(value):.1e}"
    return _fixed(value, 2, sign=field.style == "signed")


def _fixed(value: float, decimals: int, sign: bool = False) -> str:
    """Fixed decimals; a value that rounds to zero has no minus."""
    rounded = round(float(value), decimals) + 0.0
    return f"{rounded:{'+' if sign else ''}.{decimals}f}"


def injected(page: Path, texts: Mapping[str, str], study: str = "") -> str:
    """A Markdown page with each text between the markers of its name; a name without markers is left out.

    Where a marker's command reports a folder, only the `study` of that folder's name writes there, so that a page may
    show several studies. Raises InputError where the page has none of the markers, or two pairs of one.
    """
    try:
        content = page.read_bytes().decode()  # with the line ends that the page has
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--into={page} cannot be read: {one_line(error)}, allowed: a Markdown page") from None
    pairs, end = 0, "\r\n" if "\r\n" in content else "\n"
    for name, text in texts.items():
        found = re.finditer(rf"(<!-- {name}:([^\n]*)-->\r?\n).*?(<!-- /{name} -->)", content, re.DOTALL)
        own = [pair for pair in found if _asks_for(pair[2].split(), study)]
        if len(own) > 1:
            raise InputError(f"--into={page} has {len(own)} pairs of markers of {name!r}, allowed: one")
        for pair in own:
            told = f"{text.strip()}\n".replace("\n", end)
            content = f"{content[: pair.start()]}{pair[1]}{told}{pair[3]}{content[pair.end() :]}"
        pairs += len(own)
    if not pairs:
        example = f"<!-- {next(iter(texts))}: dsresearch report {study or 'DIR'} --> and <!-- /{next(iter(texts))} -->"
        raise InputError(f"--into={page} has no pair of markers, allowed: {', '.join(texts)}, such as {example}")
    return content


def _asks_for(command: Sequence[str], study: str) -> bool:
    """Whether the words in a marker report the folder of this study, or none."""
    folder = command[command.index("report") + 1] if "report" in command[:-1] else ""
    return not (study and folder) or Path(folder).name == study
