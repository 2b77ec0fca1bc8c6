"""Depthwise separable convolution examined: its formulations, trained side by side, with the controls they need."""

import sys

__version__ = "0.1.0"

# Said here because pip only says that a version does not fit, never why; `make` asks an interpreter by this import.
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    _reason = (
        "Sacred, which keeps the record of every run, calls pkgutil.find_loader, and Python 3.14 removed it"
        if sys.version_info[:2] > (3, 13)
        else "JAX 0.10, the oldest supported, needs 3.11"
    )
    _version = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(f"dsresearch runs on Python 3.11, 3.12 and 3.13, not on {_version}: {_reason}")
