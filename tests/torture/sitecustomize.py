"""Loaded by every Python that `torment.py` starts, before anything else."""

import os

if "TORTURE_SOCKET" in os.environ:
    import phases

    phases.install()
