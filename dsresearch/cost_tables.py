"""The command `cost`, and the pages that closed forms and references make.

`write(folder)` writes the pages: networks by name, the cost of a separable layer, training results of others; a test
regenerates and compares. Where `parity.json` lies in the folder, it says of which networks the outputs were compared
with another implementation's, by their largest relative differences: {name: {"against", "logits", "gradients"}}.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dsresearch import cost
from dsresearch.design import SETUPS, InputError, nearest, setup
from dsresearch.networks import catalogue
from dsresearch.references import counts, encyclopedia, training

COMMAND = "dsresearch cost --tables docs"
CONVENTION = """\
Parameters are what is trained: kernels, biases, BatchNorm's scale and offset. Statistics are BatchNorm's running
mean and variance. Multiply-adds are those of convolution and dense kernels for one picture, the sum of
H' W' k k (C/G) N, without biases, BatchNorm, activations and pooling; the 1x1 of squeeze and excitation count, an
auxiliary classifier does not. FLOPs are twice as many."""

# --- the command --------------------------------------------------------------------------------------------------

CHANNELS, SIDE = (512, 512), 14  # of a module: the encyclopedia's example


def named_cost(name: str, classes: int | None, image: int | None, channels: str | None) -> tuple[cost.Cost, str]:
    """What a name costs, and in words what was counted: a network's picture, or one module of a setup.

    Raises:
        InputError: no such name, or an argument that is not allowed with it.
    """
    if name not in SETUPS:
        if channels is not None:
            raise InputError(f"--channels={channels} is not allowed: {name!r} is not a module")
        network = catalogue.named(name, classes=classes, image=image)
        return cost.network(network), f"a picture of {network.image} x {network.image}, {network.classes} classes"
    if classes is not None:
        raise InputError(f"--classes={classes} is not allowed: {name!r} is a module")
    side = SIDE if image is None else image
    inputs, outputs = CHANNELS if channels is None else _channels(channels)
    if side < 1:
        raise InputError(f"--image={side} is not allowed: a whole number from 1")
    design = setup(name)
    if (design.groups or name == "inception") and (inputs % 8 or outputs % 8):
        raise InputError(f"--channels={channels} is not allowed: {name!r} divides its channels, multiples of 8")
    found = cost.module(design, inputs, outputs, (side, side))
    return found, f"one module, {inputs} to {outputs} channels, a map of {side} x {side}"


def _channels(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--channels={text} is not allowed: a whole number from 1, or two: inputs,outputs")
    return int(parts[0]), int(parts[-1])


def as_row(name: str, found: cost.Cost) -> dict[str, Any]:
    """The row of `cost --json`."""
    return {"name": name, "trainable": found.params, "stats": found.stats, "macs": found.macs}


def main(
    name: str | None,
    *,
    classes: int | None,
    image: int | None,
    channels: str | None,
    as_json: bool,
    listing: bool,
    tables: Path | None,
) -> None:
    """Print what a name costs, or all names as published, or write the pages into the folder `tables`.

    Raises:
        InputError: no such name, an argument that is not allowed with it, or one that would not be read.
    """
    of_one = {"NAME": name, "--classes": classes, "--channels": channels, "--image": image}
    if tables is not None:
        _refuse_beside("--tables, which writes all pages", {**of_one, "--json": as_json, "--list": listing})
        print("\n".join(map(str, write(tables))))
    elif listing:
        _refuse_beside("--list, which prints all as published", of_one)
        _print_all(as_json)
    else:
        _print_one(name, classes, image, channels, as_json)


def _refuse_beside(option: str, given: Mapping[str, Any]) -> None:
    """Raise InputError for the first argument that was given beside an option that reads none of them."""
    for name, value in given.items():
        if value is not None and value is not False:  # 0 was given too
            word = name if value is True else f"{name}={value!r}"
            raise InputError(f"{word} is not allowed with {option}: one of the two")


def _print_all(as_json: bool) -> None:
    found = {each: cost.network(architecture) for each, architecture in catalogue.POINTS.items()}
    if as_json:
        print(json.dumps([as_row(each, of) for each, of in found.items()], indent=1))
        return
    width = max(map(len, found))
    print(f"{'name':<{width}} {'trainable':>13} {'statistics':>11} {'multiply-adds':>16}")
    for each, of in found.items():
        print(f"{each:<{width}} {of.params:>13,} {of.stats:>11,} {of.macs:>16,}")
    print(f"modules: {', '.join(SETUPS)}")


def _print_one(name: str | None, classes: int | None, image: int | None, channels: str | None, as_json: bool) -> None:
    if name is None:
        raise InputError("NAME is missing: a network or a module; `dsresearch cost --list` prints all")
    if name not in SETUPS and not catalogue.known(name):
        near = nearest(name, [*catalogue.POINTS, *SETUPS])
        raise InputError(f"name={name!r} is not known{near}; `dsresearch cost --list` prints all")
    of, what = named_cost(name, classes, image, channels)
    if as_json:
        print(json.dumps(as_row(name, of)))
        return
    print(f"{name}: {of.params:,} trainable parameters, {of.stats:,} statistics, {of.macs:,} multiply-adds ({what})")


# --- the pages ----------------------------------------------------------------------------------------------------


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A Markdown table; columns but those in `left` are aligned to the right."""
    lines = [head, ["---" if i in left else "---:" for i in range(len(head))], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# --- networks -----------------------------------------------------------------------------------------------------


def printed(text: str) -> tuple[float, float]:
    """A printed count and half a unit of its last digit: "4.2 M" is (4.2e6, 0.05e6), "23,626,728" exact."""
    if not text:
        return math.nan, math.nan
    number, _, unit = text.replace(",", "").partition(" ")
    scale = {"": 1.0, "M": 1e6, "G": 1e9}[unit]
    decimals = len(number.partition(".")[2])
    return float(number) * scale, (0.5 * 10**-decimals * scale if unit else 0.0)


def difference(found: int, text: str) -> str:
    """What a count differs by from a printed one, in percent; 0 within its rounding."""
    value, half = printed(text)
    if math.isnan(value):
        return ""
    return "0" if abs(found - value) <= half else f"{100 * (found / value - 1):+.2f} %"


def implementation(name: str) -> tuple[str, counts.Built | None]:
    """The implementation whose counts are known, and the counts."""
    for label, networks in counts.BUILT.items():
        if name in networks:
            return label, networks[name]
    return "", None


def agreement(found: cost.Cost, built: counts.Built | None) -> str:
    """How a network's counts compare with those of an implementation."""
    if built is None:
        return ""
    pairs = (found.params, built.params), (found.stats, built.stats), (found.macs, built.macs)
    return "equal" if all(theirs in (None, ours) for ours, theirs in pairs) else "differs"


def network_rows(parity: Mapping[str, Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    """A line for every published network."""
    for family in catalogue.FAMILIES:
        for name, architecture in family.POINTS.items():
            found, paper = cost.network(architecture), counts.PRINTED.get(name, counts.Printed(""))
            label, built = implementation(name)
            yield [
                f"`{name}`",
                family.SOURCE,
                f"{architecture.image}",
                f"{architecture.classes}",
                f"{found.params:,}",
                f"{found.stats:,}",
                f"{found.macs:,}",
                f"{agreement(found, built)}: {label}" if built else "",
                paper.params,
                difference(found.params, paper.params),
                paper.macs,
                difference(found.macs, paper.macs),
                _parity(parity.get(name)),
            ]


def _parity(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not compared"
    return f"{found['against']}: logits {found['logits']:.0e}, gradients {found['gradients']:.0e}"


def networks_page(parity: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/networks.md."""
    head = ["name", "source", "picture", "classes", "parameters", "statistics", "multiply-adds", "counts of"]
    head += ["printed parameters", "difference", "printed multiply-adds", "difference", "outputs and gradients"]
    notes = [f"- `{name}` ({paper.source}): {paper.note}." for name, paper in counts.PRINTED.items() if paper.note]
    return "\n".join(
        [
            "# Networks",
            "",
            f"Written by `{COMMAND}`.",
            "",
            CONVENTION,
            "",
            "«Counts of» names an implementation whose parameters, statistics and multiply-adds were counted and",
            "compared. «Printed» is what a paper says, in its rounding; a difference of 0 lies within it. The last",
            "column gives the relative difference to another implementation with the same random weights and",
            "statistics: of logits in float32, and the largest of any leaf's gradient, both sides in float64",
            "(`tests/parity`, `parity.json`).",
            "",
            markdown(head, network_rows(parity), left=(0, 1, 7, 12)),
            "Where a paper's own figure differs from ours:",
            "",
            *notes,
            "",
        ]
    )


# --- a separable layer --------------------------------------------------------------------------------------------


def layer_row(kernel: int, inputs: int, outputs: int, side: int) -> Sequence[str]:
    """Regular against separable: parameters, multiply-adds, their ratio and 1/N + 1/k^2."""
    size = (side, side)
    regular = cost.module(setup("regular", kernel=kernel), inputs, outputs, size)
    separable = cost.module(setup("separable", kernel=kernel), inputs, outputs, size)
    ratio = 1 / outputs + 1 / kernel**2
    return [
        f"{kernel}x{kernel}, {inputs} to {outputs}, {side}x{side}",
        f"{regular.params:,}",
        f"{separable.params:,}",
        f"{regular.macs:,}",
        f"{separable.macs:,}",
        f"{separable.macs / regular.macs:.4f}",
        f"{ratio:.4f}",
        f"{1 / ratio:.4f}",
    ]


# The page's example, then what its ratio does for other widths and kernels.
LAYERS = (
    (3, 512, 512, 14),
    (3, 256, 256, 14),
    *((3, width, width, 14) for width in (16, 64, 1024, 4096)),
    (5, 512, 512, 14),
    (7, 512, 512, 14),
    (1, 512, 512, 14),
)


def figures() -> dict[str, str]:
    """What the text of `encyclopedia` may name."""
    found = {name: cost.network(architecture) for name, architecture in catalogue.POINTS.items()}
    separable = cost.module(setup("separable"), 512, 512, (14, 14)).params
    params = {name: f"{each.params:,}" for name, each in found.items()}
    macs = {f"{name}.macs": f"{each.macs:,}" for name, each in found.items()}
    return {**params, **macs, "separable_with_biases": f"{separable + 512 + 512:,}"}


def fill(text: str, values: Mapping[str, str]) -> str:
    """`{name}` to its value."""
    for name in {part.partition("}")[0] for part in text.split("{")[1:]}:
        text = text.replace(f"{{{name}}}", values[name])
    return text


def separable_page() -> str:
    """docs/separable.md."""
    values = figures()
    head = ["layer", "regular", "separable", "regular multiply-adds", "separable multiply-adds", "ratio"]
    rows = [(e.section, e.claim, fill(e.right, values), e.source) for e in encyclopedia.ERRORS]
    return "\n".join(
        [
            "# The cost of a separable layer",
            "",
            f"Written by `{COMMAND}`.",
            "",
            "The first row is the numerical example of the encyclopedia's page, which is right. The ratio of the costs",
            "is 1/N + 1/k², for N outputs and a kernel of side k, whatever the inputs and the map: it falls towards",
            "1/k² as N grows, so that a separable layer is never k² times cheaper, and at k = 1 it is dearer.",
            "",
            markdown([*head, "1/N + 1/k²", "times fewer"], [layer_row(*layer) for layer in LAYERS]),
            "## Errors of the page",
            "",
            "https://aiwiki.ai/wiki/depthwise_separable_cnn, as of 2026-04-26. Where it and its sources disagree, this",
            "project follows the sources.",
            "",
            markdown(["section", "the page", "right", "source"], rows, left=(0, 1, 2, 3)),
        ]
    )


# --- training -----------------------------------------------------------------------------------------------------


def training_page() -> str:
    """docs/training-references.md."""
    parts = [
        "# Training results of others",
        "",
        f"Written by `{COMMAND}`. Nothing here was trained by this project; a result holds under its protocol alone.",
        "",
    ]
    for key, protocol in training.PROTOCOLS.items():
        rows = [
            (result.model, result.data, result.metric, f"{result.value:g}")
            for result in training.RESULTS
            if result.protocol == key
        ]
        remembered = "" if protocol.read else " **Not checked against the source.**"
        parts += [f"## {protocol.source}", "", f"{protocol.training}.{remembered}", ""]
        parts += [markdown(["model", "data", "metric", "value"], rows, left=(0, 1, 2))]
    return "\n".join(parts)


def pages(folder: Path) -> dict[str, str]:
    """The pages by file name, with the comparisons that `parity.json` in the folder holds. Raises InputError for a file
    that is none."""
    file = folder / "parity.json"
    try:
        parity = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}, allowed: JSON") from None
    return {
        "networks.md": networks_page(parity),
        "separable.md": separable_page(),
        "training-references.md": training_page(),
    }


def write(folder: Path) -> list[Path]:
    """Write the pages; gives their paths."""
    written = {folder / name: text for name, text in pages(folder).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    return list(written)
