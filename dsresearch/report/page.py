"""`report.html`: one self-contained page for a co-author, from the question to how to run it again."""

from collections.abc import Callable, Mapping, Sequence, Set
from html import escape
from importlib.resources import files as resources
from typing import Any

from dsresearch.report.cell import one_line
from dsresearch.report.evidence import Analysis
from dsresearch.report.findings import interior
from dsresearch.report.html import picture_html, table_html, words
from dsresearch.report.prospects import prospects
from dsresearch.report.style import Picture
from dsresearch.report.table_verdict import chances_line, grouped
from dsresearch.report.tables import Table, shortened
from dsresearch.report.words import QUALIFIERS, WORD_COLOURS, WORDS
from dsresearch.studies import STUDIES

_GATES: Mapping[str, str] = {
    "rerun_identical": "The baseline trained anew is the same to the bit",
    "one_execution_mode": "Both models of every pair ran in the same execution mode",
    "exactness_holds": "The exactness test holds",
    "complete": "Every cell of the protocol is there, with at least 8 trials",
    "control_outside": "A control (seed, exact) lies wholly outside the margin",
    "candidate_outside": "The hybrid lies wholly outside the margin",
    "rival_nearer": "A rival is significantly nearer to the baseline than the hybrid",
    "rival_equivalent": "A rival is equivalent to the baseline",
    "controls_equivalent": "The controls seed and exact are equivalent to the baseline",
    "candidate_equivalent": "The hybrid is equivalent to the baseline",
    "rivals_farther": "Every rival is significantly farther from the baseline than the hybrid",
}


def page(analysis: Analysis, tables: Sequence[Table], pictures: Sequence[Picture]) -> str:
    """The page as text: no script, no request to anywhere, the same bytes for the same study."""
    table = {one.name: one for one in tables}
    picture = {one.name: one for one in pictures}
    first = tables[0].name
    told = analysis.study.caption()

    def show(*names: str) -> str:
        return "".join(
            picture_html(picture[n], told) if n in picture else table_html(shortened(table[n])) for n in names
        )

    identity = ["exactness", "determinism", "f8_divergence", *(["parting"] if "parting" in table else [])]
    sections = [
        ("answer", "The answer", _answer(analysis)),
        (
            "table",
            "The table",
            table_html(shortened(table[first]), "h3", ("hybrid",)) + show("f2_forest") + _how_to_read(),
        ),
        ("factors", "The continuum, and one factor at a time", _factors(analysis, show, {*table, *picture})),
        ("errors", "Errors and training", show("f1_errors", "f5_profiles", "f4_slopes")),
        ("noise", "How much is noise", show("noise_floor", "f3_null")),
        ("tests", "Equivalence and difference", show("verdict", "f10_margin")),
        ("mechanism", "Same errors, same pictures?", show("similarity", "f7_similarity")),
        (
            "identity",
            "Same function, same bits?",
            show(*identity),
        ),
        ("costs", "What it costs", show("cost", "f6_cost")),
        ("design", "What designs can show", show("power", "f9_power")),
        ("paper", "The paper's other claims", show("claims", "fractal_dark")),
        ("again", "What was run, and how to run it again", _again(analysis)),
    ]
    sections = [one for one in sections if one[2]]
    links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in sections)
    body = "".join(
        f'<section><h2 id="{name}">{escape(title)}</h2>\n{text}</section>\n' for name, title, text in sections
    )
    title = (
        f"{one_line(analysis.study.study_id)}: {', '.join(dict.fromkeys(v.word for v in analysis.verdicts.values()))}"
    )
    return _PAGE.format(title=escape(title), css=_css(), head=_head(analysis), links=links, body=body)


def _css() -> str:
    return resources("dsresearch.report").joinpath("page.css").read_text(encoding="utf-8")


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<a class="skip" href="#answer">To the answer</a>
<div class="wrap">
{head}
<nav aria-label="Contents"><ol>{links}</ol></nav>
<main>
{body}</main>
<footer class="soft">Made by dsresearch from the study's files alone. Every number of this page stands in
tables/, figures/ and verdict.json beside it.</footer>
</div>
</body>
</html>
"""


def _head(analysis: Analysis) -> str:
    study = analysis.study
    about = STUDIES.get(str(study.about["study"]))
    question = about.title if about else f"Study {one_line(study.about['study'])}"
    return (
        f"<header><h1>{escape(question)}</h1>\n"
        f'<p class="lead">{study.models:,} trained models on {escape(one_line(study.dataset))}, '
        f"profile {escape(one_line(study.about['profile']))}: {study.protocol.trials} paired trials of "
        f"{study.n_train:,} training and {study.n_test:,} test pictures.</p></header>"
    )


# --- the answer -------------------------------------------------------------------------------------------------


def _factors(analysis: Analysis, show: Callable[..., str], there: Set[str]) -> str:
    """What the interior shows, its tables and figures; empty for a study that varies neither G nor single factors."""
    told = "".join(f"<li>{escape(line)}</li>" for line in interior(analysis))
    names = [name for name in ("f11_continuum", "continuum", "f12_factor", "factors") if name in there]
    return (f"<ul>{told}</ul>" if told else "") + show(*names)


def _answer(analysis: Analysis) -> str:
    parts = [_question(analysis)] if analysis.readings() else []
    for found in grouped(analysis):
        said = "".join(f"<li>{words(reason)}</li>" for reason in found.reasons)
        of = ", ".join(f"<code>{escape(one_line(name))}</code>" for name in found.readings if name)
        qualified = ", ".join(f'<a href="#q-{q}">{q}</a>' for q in found.qualifiers)
        qualified = f'<p class="soft">Not to be read without: {qualified}.</p>' if qualified else ""
        parts.append(
            f'<div class="verdict" style="--word:{WORD_COLOURS[found.word]}"><h3><span class="word">{found.word}</span>'
            f"{f' for {of}' if of else ''}</h3>\n<p>{escape(WORDS[found.word])}</p><ul>{said}</ul>{qualified}</div>\n"
        )
    parts.append(_noise_sentence(analysis))
    qualifiers = {name: why for found in analysis.verdicts.values() for name, why in found.qualifiers.items()}
    if qualifiers:
        listed = "".join(
            f'<dt id="q-{name}">{name}</dt><dd>{words(QUALIFIERS[name])} Here: {words(why)}.</dd>'
            for name, why in qualifiers.items()
        )
        parts.append(f"<h3>What the verdict may not be read without</h3>\n<dl>{listed}</dl>\n")
    if analysis.readings():
        parts.append(f"<h3>What a study of this size could have said</h3>\n<p>{words(chances_line(analysis))}</p>\n")
        parts.append(_gates(analysis))
    told = "".join(f"<li>{words(line)}</li>" for line in prospects(analysis))
    parts.append(f"<h3>What would change our mind</h3>\n<ul>{told}</ul>\n" if told else "")
    notes = [*analysis.study.missing, *analysis.notes]
    if notes:
        listed = "".join(f"<li>{words(note)}</li>" for note in notes)
        parts.append(f"<h3>What is missing, and what differed</h3>\n<ul>{listed}</ul>\n")
    return "".join(parts)


def _question(analysis: Analysis) -> str:
    margin = analysis.study.protocol.margin
    return (
        "<p>Ghosh (2017) holds that a separable convolution is best understood as a hybrid of Inception and ResNeXt: "
        "of all formulations, the hybrid should come nearest to the separable baseline in test error. Here every "
        "formulation is trained in paired trials beside controls that show how far two trainings of one and the same "
        "network lie apart. The hybrid counts as equal to the baseline where its mean difference is shown to lie "
        f"within ±{margin:g} percentage points, a margin that was fixed before the first model was trained.</p>\n"
    )


def _noise_sentence(analysis: Analysis) -> str:
    """How large the noise is, in pictures and in the margin's unit: what a small test set makes of the question."""
    study = analysis.study
    one, margin = 100 / study.n_test, study.protocol.margin
    seed = analysis.comparisons.get(cell) if (cell := analysis.control("seed")) else None
    text = f"One test picture is {one:.2f} percentage points"
    text += f", more than the margin of {margin:g}" if one > margin else f"; the margin is {margin:g}"
    if seed is not None:
        text += (
            f". The baseline trained anew with another seed differs from itself by {seed.a:.2f} percentage points in a "
            f"trial on average (mean difference {seed.mean:+.2f})"
        )
    return f"<p>{escape(text)}.</p>\n"


def _gates(analysis: Analysis) -> str:
    names = [name for name in analysis.verdicts if name]
    head = "".join(f'<th scope="col"><code>{escape(one_line(name))}</code></th>' for name in names)
    shown = {True: "yes", False: "no", None: "not asked"}
    rows = "".join(
        f'<tr><th scope="row">{text}</th>'
        + "".join(f"<td>{shown[analysis.verdicts[name].gates[gate]]}</td>" for name in names)
        + "</tr>"
        for gate, text in _GATES.items()
    )
    return (
        '<h3 id="gates">What the rule asked</h3>\n<div class="scroll" tabindex="0" role="region" '
        'aria-labelledby="gates"><table><thead><tr><th scope="col">question of the '
        f"rule</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n"
    )


def _how_to_read() -> str:
    return (
        '<h3 id="reading">How to read it</h3>\n<dl>'
        "<dt>d</dt><dd>A model's test error less that of the baseline of the same trial (same split, data order and "
        "augmentation), in percentage points. Negative: better than the baseline.</dd>"
        "<dt>A and B</dt><dd>The paper prints the absolute difference averaged over trials. That may mean A, the "
        "mean of |d|, or B, |the mean of d|. A is never near 0, even for identical formulations, because noise has "
        "no sign left to cancel; B is.</dd>"
        "<dt>Controls</dt><dd>The baseline against itself: trained anew without a change (rerun), with one weight "
        "moved by the smallest possible amount (bit), in another formulation on the same weights (exact), from other "
        "weights in another order (seed), on another split (split). What they show is noise.</dd>"
        "<dt>Equivalent</dt><dd>Shown to be within the margin (TOST): not merely no difference found. Where neither a "
        "difference nor equivalence can be shown, the data are too few.</dd></dl>\n"
    )


# --- how to run it again ----------------------------------------------------------------------------------------


def _again(analysis: Analysis) -> str:
    study = analysis.study
    rows = study.rows_read
    about = study.about
    baseline = next((cell for cell in study.cells if cell.role == "baseline"), study.cells[0])
    told = {
        "protocol": _settings(about.get("protocol")),
        "recipe": _settings(about.get("recipe")) or "not told",
        "data": f"{study.dataset}, sha256 {one_line(rows['data_sha256'].iloc[0]) or 'not told'}",
        "device": _distinct(rows, "device_kind"),
        "execution": f"{_distinct(rows, 'exec_mode')}, {_distinct(rows, 'trial_batch')} trials in a program, "
        f"{_distinct(rows, 'threads')} threads",
        "versions": ", ".join(f"{name} {_distinct(rows, name)}" for name in ("python", "jax", "jaxlib", "flax")),
        "platform": _distinct(rows, "platform"),
        "commit of the runs": ", ".join(study.commits) or "not recorded",
        **{f"sha256 of {name}": sha or "not part of this study" for name, sha in study.inputs().items()},
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(one_line(value))}</dd>" for name, value in told.items())
    cells = ", ".join(f"<code>{escape(one_line(cell.name))}</code>" for cell in study.cells)
    commands = dict.fromkeys(study.command(cell).strip("`") for cell in (baseline, *study.planned))
    lines = "\n".join([*commands, "dsresearch report DIR"])
    return (
        f"<p>{len(study.cells)} cells of {study.protocol.trials} trials: {cells}.</p>\n"
        f'<pre tabindex="0" role="region" aria-label="Commands"><code>{escape(lines)}</code></pre>\n'
        '<p class="soft">DIR is the folder of the study. What is done is skipped; one model of processor, one set of '
        "versions "
        f"and the same flags give the same bits.</p>\n<dl>{listed}</dl>\n"
    )


def _settings(part: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in part.items()) if isinstance(part, Mapping) else ""


def _distinct(rows: Any, name: str) -> str:
    return ", ".join(sorted({one_line(value) for value in rows[name].unique()})) or "not told"
