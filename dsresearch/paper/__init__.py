"""The replication article from the committed results: its numbers, tables, figures and claims (`dsresearch paper`).

    results/NAME/           rows of a study                   -> paper/generated/NAME/, by `report`
    results/measurements/   counts and proofs                 -> claims
    paper/claims.toml       what the papers say               -> paper/claims.csv, paper/generated/claims.tex
    paper/main.tex          the text; every number a macro    <- paper/generated/numbers.tex, studies.tex, interior.tex

Everything written is a function of these files, so that CI regenerates it and compares. jax is never imported.
"""

import contextlib
import io
from pathlib import Path

from dsresearch import report
from dsresearch.design import InputError
from dsresearch.paper.claims import claims_csv, claims_tex, decided, read_claims
from dsresearch.paper.facts import Results, read_results
from dsresearch.paper.latex import interior_tex, numbers_tex, studies_tex
from dsresearch.paper.numbers import numbers
from dsresearch.schema import write_atomic

__all__ = ["main"]


def main(root: Path = Path(), to: Path | None = None) -> int:
    """Write claims.csv and generated/ of the paper in the checkout `root` to `to`, by default its folder `paper`.

    Raises InputError where `root` is not a checkout with results, or where one of its files is not what it should be.
    """
    for name in ("paper/claims.toml", "results"):
        if not (root / name).exists():
            raise InputError(f"{root / name} is missing, allowed: run `dsresearch paper` in a checkout of the project")
    to = root / "paper" if to is None else to
    results = _drawn(root / "results", to / "generated")
    claims = decided(read_claims(root / "paper" / "claims.toml"), results)
    files = {
        "claims.csv": claims_csv(claims),
        "generated/claims.tex": claims_tex(claims),
        "generated/numbers.tex": numbers_tex(numbers(results, claims)),
        "generated/studies.tex": studies_tex(to / "generated", results),
        "generated/interior.tex": interior_tex({name: _interior(root / "results" / name) for name in results.studies}),
    }
    for name, text in files.items():
        write_atomic(to / name, text.encode())
    counted = ", ".join(f"{n} {status}" for status, n in claims.counts().items())
    print(f"{len(results.studies)} studies, {len(claims.rows)} claims: {counted}; written to {to}")
    return 0


def _interior(study: Path) -> tuple[str, ...]:
    """What a study says of the interior of the continuum."""
    return report.interior(report.Analysis(report.read_study(study)))


def _drawn(folder: Path, to: Path) -> Results:
    """Every study's tables, figures and verdict drawn anew, and what the paper reads of them."""
    names = sorted(path.parent.name for path in folder.glob("*/trials.csv"))
    for name in names:
        with contextlib.redirect_stdout(io.StringIO()):  # its table is in the file
            report.main(folder / name, to=to / name)
    return read_results(folder, {name: to / name for name in names})
