"""What makes a configuration the one that it is, and the seeds derived from it."""

import dataclasses
import hashlib
import json
from typing import Any

from dsresearch.design.module import Design
from dsresearch.design.protocol import Protocol
from dsresearch.design.recipe import Recipe


def identity(part: Any) -> dict[str, Any]:
    """What makes a design, network, recipe or protocol the one that it is: its fields that differ from their defaults.

    A field that is added later, with a default that means «as before», leaves every identity, and with it the initial
    weights and the cells on disk, as they were. A default may therefore never change (tests/test_design.py).
    """
    fields = dataclasses.fields(part)
    changed = {field.name: value for field in fields if (value := getattr(part, field.name)) != field.default}
    return changed if isinstance(part, Design | Recipe | Protocol) else {"network": type(part).__name__, **changed}


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of plain values: the identity of a configuration."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seed_of(root: int, trial: int, purpose: str) -> int:
    """A 32-bit seed derived by meaning: protocol seed, trial and purpose, never an order of discovery.

    Purposes: `split`, `init`, `order`, `augment`; the controls that draw anew append their own name.
    """
    return int.from_bytes(hashlib.sha256(f"{root}/{trial}/{purpose}".encode()).digest()[:4], "big")
