"""Tables, figures, verdict and page of a study, from its files alone: jax is never imported.

Everything is computed before anything is written, and every file is a function of the study's files: two reports of one
study have the same bytes. For other programs: `read_study` gives the rows, `Analysis` pairs, comparisons and verdicts,
`tables` and `figures` what stands on the page, `files` all of it as bytes.
"""

import hashlib
import json
import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from dsresearch.design import InputError
from dsresearch.report import draw_trials, table_factors, table_facts, table_noise, table_plan, table_twins
from dsresearch.report.beside import beside as side_by_side
from dsresearch.report.cell import one_line
from dsresearch.report.evidence import Analysis, plain
from dsresearch.report.figures import figure_files, figures
from dsresearch.report.findings import interior
from dsresearch.report.page import page
from dsresearch.report.prospects import prospects
from dsresearch.report.study import read_study
from dsresearch.report.style import Picture
from dsresearch.report.table4 import table4
from dsresearch.report.table_verdict import chances_line, grouped, verdict_table
from dsresearch.report.tables import Table, code, escape_markdown, injected, shortened, to_csv, to_latex, to_markdown
from dsresearch.report.words import WORDS
from dsresearch.schema import STUDY_FILES, write_atomic

__all__ = ["Analysis", "Picture", "Table", "figures", "files", "interior", "main", "read_study", "tables"]

_LINE = 100  # characters of a line on the terminal


def tables(analysis: Analysis) -> list[Table]:
    """T1 to T10 of a study, in the order of their numbers; what a study cannot give stands as words in its cells.

    T11 and T12 belong to studies that vary the group count or single factors, T13 to `twins`.
    """
    further = (table_factors.continuum(analysis), table_factors.factors(analysis), table_twins.parting(analysis))
    return [
        table4(analysis),
        verdict_table(analysis),
        table_noise.noise_floor(analysis),
        table_noise.similarity(analysis),
        table_facts.exactness(analysis),
        table_facts.cost(analysis),
        table_plan.fractal_dark(analysis),
        table_plan.claims(analysis),
        table_plan.power(analysis),
        table_facts.determinism(analysis),
        *(table for table in further if table is not None),
    ]


def files(analysis: Analysis, made: Sequence[Table], drawn: Sequence[Picture]) -> dict[str, bytes]:
    """Every file of a report by its path in the target folder: its tables and figures, verdict.json, report.html."""
    verdict = json.dumps(plain(analysis.record()), indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
    spelled = {
        f"tables/{table.name}.{kind}": data
        for table in made
        for kind, data in (
            ("csv", to_csv(table)),
            ("md", to_markdown(table).encode()),
            ("tex", to_latex(table).encode()),
        )
    }
    return {
        **spelled,
        **{f"figures/{name}": data for name, data in figure_files(drawn, analysis.study.caption()).items()},
        "verdict.json": (verdict + "\n").encode(),
        "report.html": page(analysis, made, drawn).encode(),
    }


def main(
    folder: Path | str, to: Path | str | None = None, beside: Path | str | None = None, into: Path | str | None = None
) -> int:
    """Write `tables/`, `figures/`, `verdict.json` and `report.html` of the study in `folder` to `to`; print the result.

    `beside` is another study's folder, whose figures are printed next to these; `into` a Markdown page whose text
    between the markers `<!-- table4: ... -->` and `<!-- /table4 -->` becomes the table, between those of `verdict` the
    word, between those of `f2_forest` the figure, between those of `interior` what the continuum's interior shows,
    between those of `prospects` what would change our mind. A report in the study's own folder ends with its
    manifest.json. Returns 1 where a verdict is INVALID, else 0. Raises InputError for a folder or file that is not what
    it should be; nothing is written then.
    """
    if into is not None and not Path(into).is_file():
        raise InputError(f"--into={one_line(into)} is no file, allowed: a Markdown page with markers")
    analysis = Analysis(read_study(Path(folder)))
    other = None if beside is None else Analysis(read_study(Path(beside)))
    listed, drawn = tables(analysis), figures(analysis)
    made = files(analysis, listed, drawn)
    brief = to_markdown(shortened(listed[0]), full=False)
    printed = [brief, *([] if other is None else [side_by_side(analysis, other)]), verdict_text(analysis)]
    target = Path(folder) if to is None else Path(to)
    if into is not None:
        texts = page_texts(analysis, target, Path(into), listed[0])
        write_atomic(Path(into), injected(Path(into), texts, Path(folder).resolve().name).encode())
    for name, data in made.items():
        write_atomic(target / name, data)
    for name in (one.name for one in drawn if one.absent):
        for kind in ("pdf", "png", "csv"):  # those of an earlier report would say what is no longer so
            (target / "figures" / f"{name}.{kind}").unlink(missing_ok=True)
    if target.resolve() == Path(folder).resolve():
        write_manifest(target, made)
    print("\n".join(printed))
    print(f"written to {one_line(target)}: report.html (the page to read), tables/, figures/, verdict.json")
    return int(any(found.word == "INVALID" for found in analysis.verdicts.values()))


def write_manifest(folder: Path, made: Iterable[str]) -> None:
    """manifest.json: size and sha256 of the study's own files and of those that a report made of them."""
    of_study = (*STUDY_FILES, "exactness.json", "divergence.csv")
    names = sorted(name for name in (*of_study, *made) if (folder / name).is_file())
    entries = {name: _entry((folder / name).read_bytes()) for name in names}
    write_atomic(folder / "manifest.json", (json.dumps(entries, indent=1) + "\n").encode())


def _entry(data: bytes) -> dict[str, int | str]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def page_texts(analysis: Analysis, target: Path, into: Path, first: Table | None = None) -> dict[str, str]:
    """What `into` may have between markers, by their name: what is the study's own.

    The verdict, the table of Figure 4 and the forest plot, as a link to its PNG; or the table of another study's arms
    and, where it varies the group count, what the interior of the continuum shows.
    """
    table = first or tables(analysis)[0]
    shown_table = to_markdown(shortened(table), full=False)
    if not analysis.readings():
        told = interior(analysis)
        return {table.name: shown_table, **({"interior": "\n".join(told)} if told else {})}
    forest = draw_trials.forest(analysis)
    link = Path(os.path.relpath(target / "figures" / f"{forest.name}.png", into.parent)).as_posix()
    alt = re.sub(r"([\[\]<\\])", r"\\\1", one_line(f"{forest.title}. {forest.alt}"))  # names are the user's
    shown = f"![{alt}](<{link}>)" if " " in link else f"![{alt}]({link})"
    drawn = f"{forest.title}: not drawn, {forest.absent}." if forest.absent else f"{shown}\n\n{forest.caption}"
    changing = "\n".join(f"- {line}" for line in prospects(analysis))
    texts = {"verdict": verdict_markdown(analysis), table.name: shown_table, forest.name: drawn}
    return {**texts, **({"prospects": changing} if changing else {})}


def verdict_markdown(analysis: Analysis) -> str:
    """The verdict for a page: a line a word, with the readings that it is on, the first reason and the qualifiers."""
    study = analysis.study
    about = f"{study.dataset}, profile {study.about['profile']}, {study.protocol.trials} trials"
    return "\n".join(
        f"- **{found.word}** for {', '.join(map(code, found.readings))} on {escape_markdown(one_line(about))} "
        f"({escape_markdown(one_line(found.reasons[0]))}; {', '.join(found.qualifiers) or 'no qualifier'})."
        for found in grouped(analysis)
    )


def verdict_text(analysis: Analysis) -> str:
    """The verdict for a terminal: each word with its meaning, why, and what it may not be read without; the chances."""
    lines: list[str] = []
    for found in grouped(analysis):
        of = f" for {', '.join(found.readings)}" if any(found.readings) else ""
        lines += ["", *_wrapped(f"verdict: {found.word}{of}", ""), *_wrapped(WORDS[found.word], "  ")]
        lines += [line for reason in found.reasons for line in _wrapped(f"- {reason}", "  ", "    ")]
        lines += [line for name, why in found.qualifiers.items() for line in _wrapped(f"! {name}: {why}", "  ", "    ")]
    chances = _wrapped(chances_line(analysis), "") if analysis.readings() else []
    return "\n".join([*lines[1:], "", *chances]).rstrip() + "\n"


def _wrapped(text: str, first: str, rest: str | None = None) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        _LINE,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
