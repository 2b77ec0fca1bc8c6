"""A rank of a cell other than the one that records: `python -m dsresearch.ledger.share RANK COUNT ADDRESS`, by `ranks`.

It reads one line, what the cell is and where its checkpoints lie, and runs the cell's program over its share. It writes
and removes nothing.
"""

import json
import sys
from pathlib import Path

from dsresearch import data, ranks


def main(rank: int, count: int, address: str) -> None:
    """Train until the cell is done, in step with rank 0."""
    ranks.follow(rank, count, address)
    task = json.loads(sys.stdin.readline())
    from dsresearch.ledger import cell_of
    from dsresearch.trials import Training

    cell = cell_of(task["study"], task["config"])
    for _ in Training(cell, data.load(cell.data), Path(task["folder"])):
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
