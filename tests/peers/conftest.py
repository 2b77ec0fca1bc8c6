"""These tests need PyTorch (`make test-peers`); where it is not installed they are not collected."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
