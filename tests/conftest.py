"""What every test stands on: strict JAX, a home of its own, and the development pictures where there are some."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dsresearch.runtime import environment

# Through the environment: processes that a test starts inherit it, and a test that keeps jax out stays without it.
os.environ.update(environment(threads=1))  # the compiler flags of a study; one thread, as `make test` has two workers
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "Agg"

# A first example may compile for seconds, and a suite that fails must fail again.
settings.register_profile("dsresearch", deadline=None, derandomize=True)
settings.load_profile("dsresearch")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of imported and prepared pictures for this session; the user's own is neither read nor written."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSRESEARCH_HOME", str(folder))
        patch.setenv("TFDS_DATA_DIR", str(folder / "tensorflow_datasets"))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _sacred_leaves_file_descriptors_alone() -> None:
    """Sacred's default capture moves the descriptors under pytest's own, and loses the tail of what was printed."""
    from sacred import SETTINGS

    SETTINGS.CAPTURE_MODE = "sys"


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The archive of real CIFAR-10 pictures, `split/class/NNNN.jpg`; skips where it is missing."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    archive = Path(os.environ.get("DSRESEARCH_PICTURES") or beside) / "cifar10-jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no development pictures at {archive} (DSRESEARCH_PICTURES names their folder)")
    return archive


@pytest.fixture(autouse=True, scope="module")
def own_chances() -> Iterator[None]:
    """Simulated chances are kept within a process; a file that simulates fewer studies keeps them to itself."""
    yield
    if "dsresearch.report.planning" in sys.modules:
        sys.modules["dsresearch.report.planning"].chances_table.cache_clear()
