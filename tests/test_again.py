"""What a cell that was trained anew says of the committed one, and when that is a failure."""

from typing import Any

import pytest

from dsresearch.again import _compare
from dsresearch.runtime import DONE, FAILED
from dsresearch.schema import ENVIRONMENT


def row(trial: int, bits: str = "a", device: str = "one processor") -> dict[str, Any]:
    result = {"params_sha256": bits * 64, "predictions_sha256": bits * 64, "test_wrong": 7}
    return {**dict.fromkeys(ENVIRONMENT, "x"), "device_kind": device, "trial": trial, **result}


@pytest.mark.parametrize(
    ("bits", "device", "code", "said"),
    [
        ("a", "one processor", DONE, "the same to the bit"),
        ("b", "one processor", FAILED, "differs"),
        ("a", "another", DONE, "the same to the bit"),
        ("b", "another", DONE, "so the bits may differ; the floor"),
    ],
)
def test_other_bits_are_a_failure_in_the_same_environment_alone(
    bits: str, device: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = [row(1), row(0)]
    assert _compare(stored, [row(0, device=device), row(1, bits, device)], "the floor") == code
    printed = capsys.readouterr().out
    assert said in printed
    assert printed.startswith("trial 0: the same to the bit; wrong 7 then, 7 now"), "in the order of the trials"
    assert ("device_kind (one processor then, another now)" in printed) == (code == DONE and bits == "b")
