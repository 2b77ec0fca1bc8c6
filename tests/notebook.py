"""Runs a notebook's code cells and gives what they print, so that a notebook in docs/ shows what the code really says.

Fifty lines instead of nbclient: that brings some forty packages (IPython, a kernel, ZeroMQ) into the lock to run six
cells. A notebook is JSON; its cells are plain Python without magics. `python tests/notebook.py docs/NAME.ipynb` writes
the outputs into the file; tests/test_docs.py holds the file to them.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

Outputs = list[dict[str, Any]]


def executed(path: Path) -> dict[str, Any]:
    """The notebook with the outputs of its code cells, run in order in the notebook's own folder."""
    import pandas as pd

    notebook = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    options = ("display.width", 110, "display.max_columns", 20, "display.max_rows", 40)
    with contextlib.chdir(path.parent), pd.option_context(*options):
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(cells, 1):
            cell["execution_count"] = number
            cell["outputs"] = _run("".join(cell["source"]), names, number)
    return notebook


def _run(source: str, names: dict[str, Any], number: int) -> Outputs:
    """Run one cell: its last expression's value is shown, as notebooks do."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), f"<cell {number}>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), names)
    out: Outputs = []
    if printed.getvalue():
        out.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)})
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(keepends=True)}
        out.append({"data": shown, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return out + _figures()


def _figures() -> Outputs:
    """The figures that a cell drew."""
    import matplotlib.pyplot as plt

    out = []
    for figure in map(plt.figure, plt.get_fignums()):
        sink = io.BytesIO()
        figure.savefig(sink, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        image = base64.b64encode(sink.getvalue()).decode()
        out.append({"data": {"image/png": image}, "metadata": {}, "output_type": "display_data"})
    plt.close("all")
    return out


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    file = Path(sys.argv[1])
    file.write_text(json.dumps(executed(file), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
