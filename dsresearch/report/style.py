"""The look of every figure: one colour, marker and dash for an arm wherever it is drawn, print sizes, files as bytes.

Colours are seaborn's colour-blind palette, markers differ too, so that a print in grey still tells the arms apart; an
arm and the same arm with residual connections share a colour, the latter dashed. PDF, PNG and SVG hold no date and no
path: the same rows give the same bytes.
"""

import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from dsresearch.report.cell import Cell, one_line

COLUMN, PAGE = 3.5, 7.1  # inches: one column of a two-column paper, and both
MOST_ARMS = 40  # of a figure: with more nobody can tell them apart, and drawing takes minutes
SMALL_LETTER = 2.8  # points that a letter of the line under a drawing takes on average, and a little more
LONGEST = 36  # characters of a name beside a figure, else it leaves no room to draw
WIDE = ("f4_slopes", "f5_profiles", "f6_cost", "f7_similarity", "f9_power", "f11_continuum", "f12_factor")
INK, SOFT, GRID, BAND = "#222222", "#6a6a6a", "#dcdcdc", "#ececec"  # text, secondary text, grid, shaded areas

_BLUE, _ORANGE, _GREEN, _RED, _PINK, _BROWN, _, _GREY, _, _SKY = (to_hex(c) for c in sns.color_palette("colorblind"))


class Look(NamedTuple):
    """How a cell is drawn wherever it is: colour, marker of a point, dash of a curve."""

    colour: str
    marker: str
    dash: str = "-"


# Looks of the named arms; whatever else a study has takes a colour of _COLOURS and a marker of _FURTHER.
ARMS: Mapping[str, Look] = {
    "separable": Look(INK, "o"),
    "inception": Look(_ORANGE, "s"),
    "resnext": Look(_RED, "^"),
    "inception_reformulated": Look(_BROWN, "v"),
    "separable_strict": Look(_SKY, "P"),
    "hybrid": Look(_BLUE, "D"),
    "hybrid_residual": Look(_GREEN, "X", "--"),
    "hybrid_learned": Look(_PINK, "p"),
}
WORSE = _RED  # of what errs more than the baseline
CONTROL_COLOUR, CONTROL_MARKER = "#7d7d7d", "o"
_COLOURS = (_BLUE, _ORANGE, _GREEN, _PINK, _RED, _SKY, _BROWN)
_FURTHER = "<>dHs^vPXDp"
_DASHES = ("-", ":", "-.")  # where there are more arms than colours; dashed means residual

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


@dataclass(frozen=True)
class Picture:
    """One figure: its files, what it shows, or why it is not drawn.

    Attributes:
        name: file name without its ending.
        title: what it shows, a few words.
        caption: how to read it.
        alt: what a reader who cannot see it should know.
        files: PDF, PNG and CSV by file name; empty where the figure is not drawn.
        svg: the same drawing for the page, in colours that follow the reader's theme.
        absent: why it is not drawn; empty where it is.
    """

    name: str
    title: str
    caption: str
    alt: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    svg: str = ""
    absent: str = ""

    @property
    def wide(self) -> bool:
        """Whether it wants both columns of a paper."""
        return self.name in WIDE


def crowded(study: Any) -> str:
    """Why a figure of all arms is not drawn, where they are too many; else ''."""
    arms = sum(not cell.control_kind for cell in study.cells)
    return f"{arms:,} arms are more than the {MOST_ARMS} that a figure shows; the tables have all" * (arms > MOST_ARMS)


def looks(cells: Sequence[Cell]) -> dict[Cell, Look]:
    """Colour, marker and dash of every cell, given all cells of a study: an arm has the same in every figure of it.

    The named arms have theirs in every study. A residual arm has the colour of the arm without.
    """
    arms = list(dict.fromkeys(cell.arm for cell in cells if not cell.control_kind))
    further = [arm for arm in arms if arm not in ARMS]
    taken = {ARMS[arm].colour for arm in arms if arm in ARMS}
    colours = [colour for colour in _COLOURS if colour not in taken] or _COLOURS
    plain = list(dict.fromkeys(base for arm in further if (base := _plain(arm)) not in ARMS))
    found = dict(ARMS)
    for at, arm in enumerate(further):
        base = _plain(arm)
        place = plain.index(base) if base in plain else 0
        colour = ARMS[base].colour if base in ARMS else colours[place % len(colours)]
        dash = "--" if base != arm else _DASHES[place // len(colours) % len(_DASHES)]
        found[arm] = Look(colour, _FURTHER[at % len(_FURTHER)], dash)
    control = Look(CONTROL_COLOUR, CONTROL_MARKER, "--")
    return {cell: control if cell.control_kind else found[cell.arm] for cell in cells}


def _plain(arm: str) -> str:
    """The arm without its residual connections."""
    return arm.replace("_residual", "")


@contextmanager
def style() -> Iterator[None]:
    """The project's look, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font="DejaVu Sans")
        mpl.rcParams.update(
            {
                "font.size": 7.5,
                "axes.titlesize": 8.5,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.labelsize": 7.5,
                "xtick.labelsize": 7,
                "ytick.labelsize": 7,
                "legend.fontsize": 6.5,
                "legend.frameon": False,
                "grid.linewidth": 0.5,
                "grid.color": GRID,
                "axes.edgecolor": GRID,
                "axes.linewidth": 0.6,
                "axes.labelcolor": INK,
                "text.color": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "lines.linewidth": 1.2,
                "pdf.compression": 6,
                "pdf.fonttype": 42,  # publishers refuse Type 3 fonts
                "svg.fonttype": "none",  # text as text: half the size of a page
                "svg.hashsalt": "dsresearch",  # else its identifiers differ from run to run
                "figure.dpi": 160,  # that of the PNG, in which letters are wider: laid out for it, nothing is cut off
                "savefig.dpi": 160,
            }
        )
        yield


def legend_above(figure: Figure | SubFigure, handles: Iterable[Artist], names: Iterable[str], **how: Any) -> None:
    """A legend above the panels in as many columns, up to five, as the figure has room for."""
    entries = dict(zip(names, handles, strict=True))
    for columns in range(min(5, len(entries)), 0, -1):
        legend = figure.legend(
            list(entries.values()), list(entries), loc="outside upper center", ncols=columns, columnspacing=1.2, **how
        )
        fits = legend.get_window_extent().width < 0.98 * figure.bbox.width  # room, as other formats measure otherwise
        if fits or columns == 1:
            return
        legend.remove()


def picture(
    name: str, figure: Figure, drawn: pd.DataFrame, *, title: str, caption: str, alt: str, source: str
) -> Picture:
    """A drawn figure as files; `source` (study and commit) stands small under the drawing itself."""
    line = int(72 * figure.get_figwidth() / SMALL_LETTER)
    figure.supxlabel("\n".join(textwrap.wrap(label(source), line)), x=0.995, ha="right", fontsize=5, color=SOFT)
    files = {f"{name}.csv": drawn.to_csv(index=False, lineterminator="\n", float_format="%.6f").encode()}
    svg = ""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, for all three
    for kind, metadata in _METADATA.items():
        sink = io.BytesIO()
        figure.savefig(sink, format=kind, metadata=dict(metadata), transparent=kind == "svg")
        if kind == "svg":
            svg = _themed(sink.getvalue().decode())
        else:
            files[f"{name}.{kind}"] = _of_few_colours(sink) if kind == "png" else sink.getvalue()
    return Picture(name, title, caption, alt, files, svg)


def _of_few_colours(png: io.BytesIO) -> bytes:
    """The PNG with a palette: a third of the size, and a drawing of lines and text looks the same."""
    sink = io.BytesIO()
    Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(sink, "png", optimize=True)
    return sink.getvalue()


_DARK = {INK: "#e9ecef", SOFT: "#a5adb5", GRID: "#3b4249", BAND: "#2a3036", "#ffffff": "#171b1f", _BLUE: "#4aa3df"}
_DARK |= {CONTROL_COLOUR: "#a3a9af"}


def _themed(svg: str) -> str:
    """An SVG whose ink, grid and ground follow the reader's theme; its colours of arms stay what they are."""
    svg = svg[svg.index("<svg") :]
    svg = svg.replace("font-family: 'DejaVu Sans'; ", "")  # said once, below
    names = {colour: f"--c{at}" for at, colour in enumerate(_DARK)}
    for colour, name in names.items():
        svg = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var({name})", svg)
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{names[colour]}:{value};" for colour, value in _DARK.items())
    font = "text{font-family: 'DejaVu Sans', Verdana, sans-serif;}"
    rules = f"<style>{font}:root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg[^>]*>)", rf"\1{rules}", svg, count=1)


def label(text: str) -> str:
    """A user's name as a label: no mathematics, no character that the font lacks, `(params)` for `(params matched)`."""
    shown = "".join(c if ord(c) < 0x250 else "?" for c in one_line(text)).replace(" matched)", ")")
    if len(shown) > LONGEST and "," not in shown:  # a name, not the line of the source
        shown = _shortened(shown)
    return shown.replace("\\", "/").replace("$", r"\$")


def _shortened(name: str) -> str:
    """A name of LONGEST characters: of a grid's arm the setup and the keys give way, since the values tell it apart."""
    head, *settings = name.split(":")
    tail = "".join(f":{key[:3]}={value}" for key, _, value in (part.partition("=") for part in settings))
    if not settings or not all("=" in part for part in settings) or len(tail) > LONGEST - 5:
        head, tail = name, name[-11:]
    room = LONGEST - len(tail)
    return f"{head if len(head) <= room else f'{head[: room - 3]}...'}{tail}"


def narrow_label(text: str, most: int) -> str:
    """A label in lines of `most` characters where its underscores and blanks allow it: a title of a narrow panel."""
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", label(text)):
        if lines[-1] and len(lines[-1] + part) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def matched_words(cells: Iterable[Cell]) -> str:
    """What `(params)` and `(macs)` behind a name mean, where a figure has such arms."""
    matched = any(cell.match != "width" for cell in cells)
    return (
        " (params) and (macs): at the width whose parameters or multiply-adds are the baseline's or nearest." * matched
    )


def source_of(study: Any) -> str:
    """The line under a drawing: what was trained, on what, from which commit."""
    commits, trials = ", ".join(study.commits) or "not recorded", study.protocol.trials
    return (
        f"{one_line(study.about['study'])}, {one_line(study.dataset)}, profile {one_line(study.about['profile'])}, "
        f"{trials} trial{'s' * (trials > 1)}, {study.n_test} test pictures, runs {commits}"
    )
