"""CIFAR-10 through tensorflow-datasets without TensorFlow, from archives of the official format.

The official archive is not at hand where these tests run. Those made here have its format; only in a test, the size and
the sha256 that tensorflow-datasets expects are replaced by theirs.
"""

import dataclasses
import functools
import hashlib
import http.server
import io
import json
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsresearch import data
from dsresearch.data import importing, official, store
from dsresearch.design import InputError

Expect = Callable[..., None]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "home"


@pytest.fixture
def expect(monkeypatch: pytest.MonkeyPatch) -> Expect:
    """Makes tensorflow-datasets expect the size and the sha256 of the given archive."""

    def replace(archive: Path) -> None:
        from tensorflow_datasets.core.download import checksums

        known = checksums.get_all_url_infos()
        genuine = known["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"]
        content = archive.read_bytes()
        size = type(genuine.size)(len(content))
        own = dataclasses.replace(genuine, size=size, checksum=hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(checksums, "get_all_url_infos", lambda: {**known, official.URL: own})

    return replace


def _archive(path: Path, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], **changes: bytes) -> Path:
    """An archive of the official format, six files of equally many pictures; `changes` replaces files by stem."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    records = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    files = {name: part.tobytes() for name, part in zip(names, np.split(records, 6), strict=True)} | changes
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        meta = {"batches.meta.txt": "\n".join([*classes, "", ""]).encode(), "readme.html": b"<html>"}
        for name, content in {**meta, **{f"{name}.bin": content for name, content in files.items()}}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


# --- the real pictures, all of them -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jpeg_home(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the real pictures imported as `cifar10-jpeg`."""
    home = tmp_path_factory.mktemp("jpeg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSRESEARCH_HOME", str(home))
        data.import_pictures(pictures, "cifar10-jpeg")
    return home


def test_the_development_pictures_are_imported(pictures: Path, jpeg_home: Path) -> None:
    found = store.read(jpeg_home / "pictures" / "cifar10-jpeg")
    assert found.label == "CIFAR-10 (JPEG copy)"
    assert found.classes == official.CLASSES
    assert (found.images.shape, found.n_train, found.augmentation) == ((60_000, 32, 32, 3), 50_000, "crop_flip")
    assert np.bincount(found.labels[:50_000]).tolist() == [5_000] * 10
    assert np.bincount(found.labels[50_000:]).tolist() == [1_000] * 10
    # the channel means that shared/data/README.md gives, and one picture read by other means
    means = [found.images[:50_000, :, :, channel].mean() / 255 for channel in range(3)]
    np.testing.assert_allclose(means, [0.4913, 0.4821, 0.4465], atol=1e-4)
    with tarfile.open(pictures) as tar:
        member = next(member for member in tar if member.name == "test/cat/0123.jpg")
        file = tar.extractfile(member)
        assert file is not None
        expected = np.asarray(Image.open(io.BytesIO(file.read())))
    np.testing.assert_array_equal(found.images[50_000 + 3 * 1_000 + 123], expected)


def test_an_archive_of_the_official_format_is_read_back_pixel_by_pixel(
    jpeg_home: Path, tmp_path: Path, expect: Expect
) -> None:
    jpeg = store.read(jpeg_home / "pictures" / "cifar10-jpeg")
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(50_000), 50_000 + rng.permutation(10_000)])  # as mixed as the official one
    images, labels = jpeg.images[order], jpeg.labels[order]
    archive = _archive(tmp_path / "any-name.tar.gz", images, labels, jpeg.classes)
    expect(archive)

    found = data.prepare_cifar10(archive)
    assert (found.name, found.label, found.n_train) == ("cifar10", "CIFAR-10", 50_000)
    assert found.classes == jpeg.classes
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)

    import tensorflow_datasets as tfds

    for split, first in (("train", 0), ("test", 50_000)):  # by the library's stock reader and its decoder
        source = tfds.data_source("cifar10", split=split, data_dir=tmp_path / "tfds", download=False)
        assert tuple(source.dataset_info.features["label"].names) == jpeg.classes
        assert len(source) == (50_000 if split == "train" else 10_000)
        for start in range(0, len(source), 2_500):
            for record in source.__getitems__(range(start, start + 2_500)):
                position = first + int(record["id"].decode().removeprefix(f"{split}_"))
                assert record["label"] == labels[position]
                assert (record["image"] == images[position]).all()


# --- small archives of the same format --------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """120 pictures and their labels; the format's 10,000 pictures a file become 20."""
    monkeypatch.setattr(official, "_PICTURES", 20)
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (120, 32, 32, 3), np.uint8), rng.permutation(np.repeat(np.arange(10), 12))


@pytest.fixture
def archive(small: tuple[np.ndarray, np.ndarray], tmp_path: Path, expect: Expect) -> Path:
    path = _archive(tmp_path / "cifar-10-binary.tar.gz", *small, official.CLASSES)
    expect(path)
    return path


def test_prepared_from_the_manual_folder_without_network(
    archive: Path,
    small: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(official, "_reachable", lambda _: False)
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    archive.rename(manual / "cifar-10-binary.tar.gz")
    found = data.prepare_cifar10()
    assert capsys.readouterr().out == ""  # the library's chatter does not belong there
    np.testing.assert_array_equal(found.images, small[0])
    np.testing.assert_array_equal(found.labels, small[1])
    assert (found.n_train, found.classes) == (100, official.CLASSES)
    assert sorted(path.name for path in (tmp_path / "tfds").iterdir()) == ["cifar10", "downloads"]
    row = data.available()[1]
    assert (row.label, row.n_train, row.n_test, row.fingerprint) == ("CIFAR-10", 100, 20, found.fingerprint)

    assert data.prepare_cifar10().fingerprint == found.fingerprint
    assert "prepared already" in capsys.readouterr().err


def test_the_decoded_set_is_kept(archive: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = data.prepare_cifar10(archive).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(official, "_decode", lambda: pytest.fail("decoded again"))
        assert data.load("cifar10").fingerprint == expected
    shutil.rmtree(own_home / "cache")
    assert data.load("cifar10").fingerprint == expected  # from the prepared set once more


def test_another_prepared_set_is_not_taken_for_the_decoded_one(
    archive: Path, small: tuple[np.ndarray, np.ndarray], tmp_path: Path, expect: Expect
) -> None:
    data.prepare_cifar10(archive)
    shutil.rmtree(tmp_path / "tfds")
    _archive(archive, 255 - small[0], small[1], official.CLASSES)
    expect(archive)
    np.testing.assert_array_equal(data.prepare_cifar10(archive).images, 255 - small[0])


class _Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a web server on this machine gives out, in place of the archive's real one."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Server, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(official, "URL", f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder
        server.shutdown()


def test_prepared_from_the_network(
    served: Path, small: tuple[np.ndarray, np.ndarray], tmp_path: Path, expect: Expect
) -> None:
    expect(_archive(served / "cifar-10-binary.tar.gz", *small, official.CLASSES))
    np.testing.assert_array_equal(data.prepare_cifar10().images, small[0])
    assert [path.name for path in (tmp_path / "tfds").iterdir()] == ["cifar10"]


def test_a_wrong_download_is_refused(
    served: Path, small: tuple[np.ndarray, np.ndarray], tmp_path: Path, expect: Expect, own_home: Path
) -> None:
    expect(_archive(tmp_path / "right.tar.gz", *small, official.CLASSES))
    _archive(served / "cifar-10-binary.tar.gz", 255 - small[0], small[1], official.CLASSES)
    with pytest.raises(InputError, match=r"cannot be prepared .* wrong checksum") as caught:
        data.prepare_cifar10()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tfds").exists()
    assert not own_home.exists()


# --- what is refused --------------------------------------------------------------------------------------------


def test_the_genuine_checksum_is_what_counts(tmp_path: Path, own_home: Path) -> None:
    """The figures are those that the archive's publisher and tensorflow-datasets give; nothing else passes."""
    other = tmp_path / "cifar-10-binary.tar.gz"
    other.write_bytes(b"\x1f\x8b not the archive")
    genuine = r"allowed: 170052171 bytes and c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    with pytest.raises(InputError, match=genuine):
        data.prepare_cifar10(other)
    assert not own_home.exists()
    assert not (tmp_path / "tfds").exists()


def test_an_archive_of_the_right_size_and_another_content(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=rf"has {len(content)} bytes and sha256 .* allowed: {len(content)} bytes and"):
        data.prepare_cifar10(archive)


def test_a_wrong_archive_in_the_manual_folder(tmp_path: Path) -> None:
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"manual/cifar-10-binary.tar.gz' has 1 bytes .* allowed: 170052171"):
        data.prepare_cifar10()
    assert [path.name for path in (tmp_path / "tfds").rglob("*") if path.is_file()] == ["cifar-10-binary.tar.gz"]


def test_a_wrong_archive_is_refused_where_a_set_is_prepared(archive: Path, tmp_path: Path) -> None:
    data.prepare_cifar10(archive)
    (tmp_path / "other.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"other.tar.gz' has 1 bytes"):
        data.prepare_cifar10(tmp_path / "other.tar.gz")


def _damaged(path: Path, small: tuple[np.ndarray, np.ndarray], how: str) -> None:
    images, labels = small
    changes: dict[str, bytes] = {}
    if how == "short file":
        changes["data_batch_3"] = bytes(19 * 3073)
    elif how == "impossible label":
        changes["test_batch"] = b"\x0a" * (20 * 3073)
    _archive(path, images, labels, official.CLASSES, **changes)
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "bad byte":
        content[len(content) // 2] ^= 1
    elif how == "no tar":
        content[:] = b"text"
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", "is cut short or damaged"),
        ("bad byte", "is cut short or damaged"),
        ("no tar", "a.tar.gz' is cut short or damaged: Not a gzip"),
        ("short file", r"lacks data_batch_3.bin of 61460 bytes"),
        ("impossible label", "a label 10, allowed: 0 to 9"),
    ],
)
def test_a_damaged_archive_with_the_right_checksum(
    small: tuple[np.ndarray, np.ndarray], tmp_path: Path, own_home: Path, expect: Expect, how: str, says: str
) -> None:
    _damaged(tmp_path / "a.tar.gz", small, how)
    expect(tmp_path / "a.tar.gz")
    with pytest.raises(InputError, match=says) as caught:
        data.prepare_cifar10(tmp_path / "a.tar.gz")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tfds").exists()
    assert not own_home.exists()


def test_an_archive_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"archive='.*missing.tar.gz' cannot be read: No such file"):
        data.prepare_cifar10(tmp_path / "missing.tar.gz")


def test_a_folder_that_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "tfds").write_text("a file")
    with pytest.raises(InputError, match=r"cannot be prepared in .*tfds"):
        data.prepare_cifar10(archive)


def test_a_prepared_set_that_needs_tensorflow(tmp_path: Path) -> None:
    where = tmp_path / "tfds" / "cifar10" / official.VERSION
    where.mkdir(parents=True)
    (where / "dataset_info.json").write_text(json.dumps({"fileFormat": "tfrecord"}))
    (where / "cifar10-train.tfrecord-00000-of-00001").write_bytes(b"x")
    for ask in (data.prepare_cifar10, functools.partial(data.load, "cifar10")):
        with pytest.raises(InputError, match="a format that needs TensorFlow, allowed: array_record"):
            ask()


def test_a_prepared_set_that_is_damaged(archive: Path, tmp_path: Path, own_home: Path) -> None:
    data.prepare_cifar10(archive)
    shard = next((tmp_path / "tfds").rglob("*test.array_record*"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"data='cifar10' in .* cannot be read \(.*\): remove it and run"):
        data.load("cifar10")
    assert "cannot be read" in data.available()[1].note


def test_a_prepared_set_that_lacks_pictures(archive: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    data.prepare_cifar10(archive)
    shutil.rmtree(own_home)
    monkeypatch.setattr(official, "_PICTURES", 21)
    with pytest.raises(InputError, match=r"cannot be read \(6 of 126 pictures are missing"):
        data.load("cifar10")


def test_a_missing_package_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record", None)
    with pytest.raises(InputError, match="needs the Python package array_record, which cannot be imported here"):
        data.prepare_cifar10(archive)


def test_version_and_names_are_those_of_the_library() -> None:
    from tensorflow_datasets.image_classification import cifar

    assert str(cifar.Cifar10.VERSION) == official.VERSION
    assert tuple(sorted(official.CLASSES)) == official.CLASSES
    assert (official.CLASSES[0], official.CLASSES[-1]) == ("airplane", "truck")
    assert importing.RESERVED == ("digits", "cifar10")
