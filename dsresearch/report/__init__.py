"""Tables, figures and the verdict of a study, from its files alone: jax is never imported.

Everything is computed before anything is written, and every file is a function of the study's files: two reports of one
study have the same bytes.
"""

import json
from pathlib import Path

from dsresearch.report.beside import beside as side_by_side
from dsresearch.report.evidence import Analysis, plain
from dsresearch.report.figures import forest, profiles
from dsresearch.report.study import one_line, read_study
from dsresearch.report.table4 import table4
from dsresearch.report.tables import injected, to_csv, to_latex, to_markdown
from dsresearch.schema import write_atomic

__all__ = ["main"]


def main(
    folder: Path | str, to: Path | str | None = None, beside: Path | str | None = None, into: Path | str | None = None
) -> int:
    """Write `tables/`, `figures/` and `verdict.json` of the study in `folder` to `to`; print the table and the verdict.

    `beside` is another study's folder, whose figures are printed next to these; `into` a Markdown page whose text
    between the markers `<!-- table4: ... -->` and `<!-- /table4 -->` becomes the table. Returns 1 where a verdict is
    INVALID, else 0. Raises InputError for a folder or file that is not what it should be; nothing is written then.
    """
    analysis = Analysis(read_study(Path(folder)))
    other = None if beside is None else Analysis(read_study(Path(beside)))
    table = table4(analysis)
    figures = {**forest(analysis), **profiles(analysis)}
    verdict = json.dumps(plain(analysis.record()), indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
    files = {
        f"tables/{table.name}.csv": to_csv(table),
        f"tables/{table.name}.md": to_markdown(table).encode(),
        f"tables/{table.name}.tex": to_latex(table).encode(),
        **{f"figures/{name}": data for name, data in figures.items()},
        "verdict.json": (verdict + "\n").encode(),
    }
    printed = [to_markdown(table), *([] if other is None else [side_by_side(analysis, other)]), _verdict_line(analysis)]
    if into is not None:
        write_atomic(Path(into), injected(Path(into), table.name, to_markdown(table)).encode())
    target = Path(folder) if to is None else Path(to)
    for name, data in files.items():
        write_atomic(target / name, data)
    print("\n".join(printed))
    return int(any(found.word == "INVALID" for found in analysis.verdicts.values()))


def _verdict_line(analysis: Analysis) -> str:
    """One line: the word on every reading, why, and what the design could have shown."""
    said: dict[str, list[str]] = {}
    for name, found in analysis.verdicts.items():
        qualified = f" ({', '.join(found.qualifiers)})" if found.qualifiers else ""
        said.setdefault(f"{found.word}{{of}}{qualified}: {'; '.join(found.reasons)}", []).append(name)
    words = [text.replace("{of}", f" for {', '.join(names)}" if any(names) else "", 1) for text, names in said.items()]
    chance = analysis.planned["chances_if_equal"]["SUPPORTED"]
    planned = f" [a design of this size says SUPPORTED of a true hypothesis with chance {100 * chance:.0f} %]"
    return one_line("verdict: " + " | ".join(words) + (planned if analysis.readings() else ""))
