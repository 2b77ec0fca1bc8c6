"""The claims of the papers: read from claims.toml, held against the results, written as CSV and as a LaTeX table."""

import csv
import io
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsresearch.design import InputError, one_of
from dsresearch.paper.checks import CHECKS, NOT_RUN, STATUSES, Finding
from dsresearch.paper.facts import Results
from dsresearch.report.tables import escape_latex

SOURCES = {"hybrid": "Ghosh 2017", "xception": "Chollet 2017", "encyclopedia": "encyclopedia page"}
WRITTEN = ("id", "source", "location", "quote", "quantity", "paper_value", "criterion")
OPTIONAL = ("command", "check", "caveat")
COLUMNS = (
    "id", "source", "location", "quote", "quantity", "paper_value", "ours", "ours_lo", "ours_hi", "ours_from",
    "criterion", "status", "command", "caveat",
)  # fmt: skip


@dataclass(frozen=True)
class Claims:
    """All claims with our values and statuses: rows with the COLUMNS."""

    rows: Sequence[Mapping[str, str]]

    def counts(self) -> dict[str, int]:
        """Claims of each status, all statuses named."""
        found = Counter(row["status"] for row in self.rows)
        return {status: found[status] for status in STATUSES}


def read_claims(path: Path) -> list[dict[str, Any]]:
    """The claims of a claims.toml. Raises InputError naming the file, the claim and the key."""
    try:
        claims = tomllib.loads(path.read_text("utf-8")).get("claim", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}, allowed: TOML") from None
    seen: set[str] = set()
    for claim in claims:
        name = f"{path}: claim {claim.get('id')!r}"
        for key in WRITTEN:
            if not isinstance(claim.get(key), str) or not claim[key]:
                raise InputError(f"{name}: {key}={claim.get(key)!r} is not allowed: words")
        for key in claim:
            one_of(f"{name}: key", key, (*WRITTEN, *OPTIONAL))
        one_of(f"{name}: source", claim["source"], SOURCES)
        if "check" in claim:
            one_of(f"{name}: check.kind", claim["check"].get("kind"), CHECKS)
        if claim["id"] in seen:
            raise InputError(f"{name} stands there twice, allowed: once")
        seen.add(claim["id"])
    return list(claims)


def decided(claims: Sequence[Mapping[str, Any]], results: Results) -> Claims:
    """Every claim with our value and its status; one without a check has not been run."""
    rows = []
    for claim in claims:
        check = dict(claim.get("check", {}))
        found = CHECKS[check.pop("kind")](results, **check) if check else NOT_RUN
        rows.append(_row(claim, found))
    return Claims(rows)


def _row(claim: Mapping[str, Any], found: Finding) -> dict[str, str]:
    ours = {"ours": found.value, "ours_lo": found.lo, "ours_hi": found.hi, "ours_from": found.source}
    values = {**{name: claim.get(name, "") for name in COLUMNS}, **ours, "status": found.status}
    return {name: str(values[name]) or "none" for name in COLUMNS}


def claims_csv(claims: Claims) -> str:
    """The claims as CSV: LF, a row each, no empty cell."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(claims.rows)
    return out.getvalue()


def claims_tex(claims: Claims) -> str:
    """The claims as one longtable a source: identifier, words, the paper's value, ours, status."""
    lines = ["% written by `dsresearch paper`"]
    for source, name in SOURCES.items():
        rows = [row for row in claims.rows if row["source"] == source]
        lines += [
            r"\begin{longtable}{@{}>{\raggedright}p{0.16\linewidth}>{\raggedright}p{0.30\linewidth}"
            r">{\raggedright}p{0.13\linewidth}>{\raggedright}p{0.23\linewidth}l@{}}",
            rf"\caption{{Claims: {escape_latex(name)}. Criteria, commands and caveats: \texttt{{claims.csv}}."
            rf"}}\label{{tab:claims-{source}}}\\",
            r"\toprule place & quantity & paper & ours & status \\ \midrule \endfirsthead",
            r"\toprule place & quantity & paper & ours & status \\ \midrule \endhead",
            r"\bottomrule \endfoot",
            *(_latex_row(row) for row in rows),
            r"\end{longtable}",
            "",
        ]
    return "\n".join(lines)


def _latex_row(row: Mapping[str, str]) -> str:
    interval = f" [{row['ours_lo']}, {row['ours_hi']}]" if row["ours_lo"] != "none" else ""
    ours = "" if row["ours"] == "none" else f"{row['ours']}{interval} ({row['ours_from']})"
    cells = (row["location"], row["quantity"], row["paper_value"], ours, row["status"])
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
