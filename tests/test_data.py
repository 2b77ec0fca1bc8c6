"""The embedded digits, fingerprints, the splits of a trial, and where things lie."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsresearch import data
from dsresearch.data import store
from dsresearch.design import InputError, Protocol, digest

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "home"


# --- digits -----------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    found = data.load("digits")
    assert found.images.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(found.images.reshape(1797, 64) / 15, pixels)
    np.testing.assert_array_equal(found.labels, digits)
    assert (found.label, found.n_train, found.classes) == ("digits", 1797, tuple("0123456789"))
    assert found.augmentation == "none"
    assert not found.images.flags.writeable


def test_digits_where_scikit_learn_keeps_its_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = data.load("digits").fingerprint
    elsewhere = importlib.machinery.ModuleSpec("sklearn", None, is_package=True)
    elsewhere.submodule_search_locations = [str(tmp_path)]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: elsewhere if name == "sklearn" else find(name))
    assert data.load("digits").fingerprint == expected


def test_the_fingerprint_of_the_digits_never_changes() -> None:
    # Cells of earlier stores carry it: another value here means that their data no longer count as the same.
    expected = "b36c95095ce97eb342b4cf9eba46c247aa87585020ddfcb42ae46d0e19ade853"
    assert data.load("digits").fingerprint == expected


def _toy(**changes: object) -> store.Pictures:
    parts = {
        "images": np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3),
        "labels": np.array([0, 1, 0, 1]),
        "n_train": 2,
        "classes": ("a", "b"),
    }
    return store.pictures("toy", "toy", **{**parts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.arange(48, dtype=np.uint8)[::-1].reshape(4, 2, 2, 3)},
        {"images": np.arange(48, dtype=np.uint8).reshape(4, 4, 1, 3)},
        {"labels": np.array([1, 1, 0, 1])},
        {"n_train": 3},
        {"classes": ("a", "c")},
    ],
)
def test_the_fingerprint_covers(changes: dict[str, object]) -> None:
    assert _toy(**changes).fingerprint != _toy().fingerprint == _toy().fingerprint


def test_only_colour_pictures_of_32_pixels_are_augmented() -> None:
    assert _toy(images=np.zeros((4, 32, 32, 3), np.uint8)).augmentation == "crop_flip"
    assert _toy(images=np.zeros((4, 32, 31, 3), np.uint8)).augmentation == "none"


def test_the_room_needs_numpy_alone() -> None:
    """Importing it and reading digits must work, fast, where nothing else is installed."""
    code = """
import sys
for name in ("jax", "PIL", "tensorflow_datasets", "array_record", "importlib_resources", "sklearn.datasets"):
    sys.modules[name] = None
from dsresearch import data
assert data.load("digits").images.shape == (1797, 8, 8, 1)
assert [row.name for row in data.available()] == ["digits", "cifar10"]
print(*{"sklearn", "scipy", "requests", "flax"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


# --- splits -----------------------------------------------------------------------------------------------------


def _set_of(counts: list[int], n_test: int = 0) -> store.Pictures:
    """Pictures of 1 x 1 pixels, `counts` of each class, the last n_test of them (mixed) the set's own test part."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    return store.pictures("toy", "toy", images, labels, len(labels) - n_test, tuple(map(str, range(len(counts)))))


def _largest_remainder(counts: np.ndarray, size: int) -> list[int]:
    """Hamilton's apportionment in exact fractions."""
    shares = [Fraction(size * int(count), int(counts.sum())) for count in counts]
    seats = [share.numerator // share.denominator for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda k: (seats[k] - shares[k], k))
    for k in by_remainder[: size - sum(seats)]:
        seats[k] += 1
    return seats


def test_digits_split_into_1437_and_360() -> None:
    digits = data.load("digits")
    protocol = Protocol(split="stratified", test_pictures=360)
    train, test = data.split(digits, protocol, 7)
    assert (len(train), len(test)) == (1437, 360)
    assert train.dtype == np.int32
    assert test.dtype == np.int32
    assert np.bincount(digits.labels[test]).tolist() == _largest_remainder(np.bincount(digits.labels), 360)
    again, other = data.split(digits, protocol, 7)[1], data.split(digits, protocol, 8)[1]
    np.testing.assert_array_equal(test, again)
    assert len(np.intersect1d(test, other)) < 150  # 72 of 360 by chance


def test_a_split_never_changes() -> None:
    # Another value means that numpy draws otherwise, or that the draw was changed: earlier results cannot be continued.
    train, test = data.split(data.load("digits"), Protocol(split="stratified", test_pictures=360), 0)
    assert digest([train.tolist(), test.tolist()])[:16] == "08f548ad446ab6a7"
    capped = Protocol(split="pool60k_hold6k", train_pictures=50, test_pictures=40)
    train, test = data.split(_set_of([2_500, 4_000]), capped, 0)
    assert digest([train.tolist(), test.tolist()])[:16] == "5c0c92498a72b5b0"


@st.composite
def _cases(draw: st.DrawFn) -> tuple[store.Pictures, Protocol, int]:
    counts = draw(st.lists(st.integers(300, 4000), min_size=2, max_size=6))
    total = sum(counts)
    kind = draw(st.sampled_from(("stratified", "standard", "pool60k_hold6k", "test10k_sub6k")))
    n_test = draw(st.integers(max(1, total // 10), total - total // 10))
    pictures = _set_of(counts, n_test)
    test = draw(st.integers(6, 100)) if kind == "stratified" else draw(st.sampled_from((0, 50, 150)))
    train = draw(st.sampled_from((0, 20, 29)))
    return pictures, Protocol(split=kind, train_pictures=train, test_pictures=test), draw(st.integers(0, 2**32 - 1))


@given(_cases())
@settings(max_examples=60, deadline=None)
def test_parts_are_disjoint_balanced_and_as_large_as_asked(case: tuple[store.Pictures, Protocol, int]) -> None:
    pictures, protocol, seed = case
    n, n_train = len(pictures.labels), pictures.n_train
    own_test = protocol.split in ("standard", "test10k_sub6k")
    test_pool = np.arange(n_train, n) if own_test else np.arange(n)
    drawn = {"stratified": protocol.test_pictures, "standard": len(test_pool)}.get(protocol.split, 6000)
    if len(test_pool) < drawn or (protocol.split == "pool60k_hold6k" and n - 6000 < 30):
        with pytest.raises(InputError):
            data.split(pictures, protocol, seed)
        return
    train, test = data.split(pictures, protocol, seed)
    assert not set(train) & set(test)
    assert set(test) <= set(test_pool)
    if own_test:
        assert set(train) <= set(range(n_train))
    assert len(test) == (protocol.test_pictures or drawn)
    assert len(train) == (protocol.train_pictures or (n_train if own_test else n - drawn))
    for part in (train, test):
        assert (np.diff(part) > 0).all()
    if protocol.test_pictures or protocol.split != "standard":
        share = np.bincount(pictures.labels[test_pool]) * len(test) / len(test_pool)
        slack = 1 if protocol.split == "stratified" or not protocol.test_pictures else 2  # a draw from a draw
        assert (np.abs(np.bincount(pictures.labels[test], minlength=len(share)) - share) < slack).all()


def test_the_standard_split_is_the_sets_own() -> None:
    train, test = data.split(_set_of([60, 40], n_test=30), Protocol(split="standard"), 5)
    assert train.tolist() == list(range(70))
    assert test.tolist() == list(range(70, 100))


def test_a_cap_on_one_part_leaves_the_other() -> None:
    digits = data.load("digits")
    whole = data.split(digits, Protocol(split="stratified", test_pictures=360), 3)
    capped = data.split(digits, Protocol(split="stratified", test_pictures=360, train_pictures=200), 3)
    np.testing.assert_array_equal(capped[1], whole[1])
    assert set(capped[0]) <= set(whole[0])
    other = data.split(digits, Protocol(split="stratified", test_pictures=360, train_pictures=200), 4)
    assert set(capped[0]) != set(other[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split": "stratified"}, r"test_pictures=0 .* 1797 pictures .* 10 to 1787"),
        ({"split": "stratified", "test_pictures": 9}, r"test_pictures=9 .* 10 to 1787"),
        ({"split": "stratified", "test_pictures": 1788}, r"test_pictures=1788 .* 10 to 1787"),
        ({"split": "stratified", "test_pictures": 360, "train_pictures": 1438}, r"train_pictures=1438 .* 0 .* 1437"),
        ({"split": "stratified", "test_pictures": 360, "train_pictures": 9}, r"9 train pictures .* 10 classes"),
        ({"split": "standard"}, r"'standard' .*'digits' has no test pictures of its own"),
        ({"split": "test10k_sub6k"}, r"'test10k_sub6k' .*'digits' has no test pictures of its own"),
        ({"split": "pool60k_hold6k"}, r"'pool60k_hold6k' .*6000 .* 1797 pictures"),
    ],
)
def test_too_few_digits_for_a_split(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        data.split(data.load("digits"), Protocol(**changes), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split": "standard", "test_pictures": 1}, r"1 test pictures .* 2 classes"),
        ({"split": "standard", "test_pictures": 31}, r"test_pictures=31 .* 30"),
        ({"split": "test10k_sub6k"}, r"6000 .* 30 of its own"),
    ],
)
def test_too_few_pictures_in_a_test_part(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        data.split(_set_of([60, 40], n_test=30), Protocol(**changes), 0)  # type: ignore[arg-type]


# --- where things lie ---------------------------------------------------------------------------------------------


def test_where_things_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data.home() == tmp_path / "home"
    monkeypatch.delenv("DSRESEARCH_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert data.home() == Path("/x/dsresearch")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert data.home() == Path("/h/.local/share/dsresearch")


def test_development_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "work" / "main").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "main")
    monkeypatch.delenv("DSRESEARCH_PICTURES", raising=False)
    assert data.development_pictures() is None
    (tmp_path / "work" / "shared" / "data").mkdir(parents=True)
    assert data.development_pictures() == Path("../shared/data")
    monkeypatch.setenv("DSRESEARCH_PICTURES", str(tmp_path / "missing"))
    assert data.development_pictures() is None
