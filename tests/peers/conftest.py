"""These tests need PyTorch (`make test-peers`); elsewhere they are left out."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
