"""A process that shares the batches of `bench.ours`: `python -m dsresearch.bench.share RANK COUNT ADDRESS`, by `ranks`.

It does what it is told, one JSON line at a time: {"case": {...}} makes a case ready, {"run": n} runs it n times.
"""

import json
import sys

from dsresearch import ranks
from dsresearch.bench.cases import Case


def main(rank: int, count: int, address: str) -> None:
    """Follow rank 0 until it says no more."""
    ranks.follow(rank, count, address)
    from dsresearch.bench.ours import Ours

    side: Ours | None = None
    for line in sys.stdin:
        told = json.loads(line)
        if "case" in told:
            side = None  # its memory first
            side = Ours(Case(**told["case"]))
        elif side is not None:
            side.run(told["run"])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
