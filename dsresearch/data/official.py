"""CIFAR-10 through tensorflow-datasets, without TensorFlow: the only place that imports tensorflow-datasets.

tensorflow-datasets 4.9 reads a prepared set without TensorFlow but prepares none: its CIFAR-10 unpacks, reads and
encodes through `tf.io`. A subclass of its builder does those three steps with the standard library and Pillow; the
download, the check sums and the files that it writes remain the library's own, and its stock reader reads them.
"""

import gzip
import hashlib
import io
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from dsresearch.data import store
from dsresearch.data.importing import say_to_stderr
from dsresearch.design import InputError, digest

VERSION = "3.0.2"  # of the set in tensorflow-datasets
ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST_FILES = ("test_batch.bin",)
_PICTURES, _RECORD = 10_000, 1 + 3 * 32 * 32  # pictures a file; bytes a picture: the label, then red, green, blue
_PROBE_SECONDS = 1.2
_CHUNK = 2_500  # pictures decoded at a time: all 50,000 at once would take a gigabyte


def prepare_cifar10(archive: Path | None = None, say: Callable[[str], None] = say_to_stderr) -> store.Pictures:
    """Make CIFAR-10 ready for `--data cifar10`: from `archive`, from the manual-download folder, or from the network.

    Whatever it comes from, its size and sha256 must be those that tensorflow-datasets has on record. What is prepared
    already is left as it is.

    Raises:
        InputError: no archive and no network, a wrong or damaged archive, or an unwritable folder. Nothing is left
            behind.
    """
    prepared = _is_prepared()
    if archive is None and not prepared:
        archive = _manual_archive()
    if archive is not None:
        _refuse_other(archive)
    if prepared:
        say(f"data='cifar10' is prepared already in {_prepared_folder()}, nothing to do")
    elif archive is None and not _reachable(URL):
        raise InputError(f"data='cifar10' cannot be downloaded: {_host(URL)[0]} cannot be reached; {_by_hand()}")
    else:
        _prepare(archive, say)
    return load_cifar10()


def load_cifar10() -> store.Pictures:
    """The prepared set, decoded once and kept under `home()`. Raises InputError where there is none."""
    where = _decoded_folder()
    if not (where / "set.json").exists():
        store.keep(where, _decode(), where.name)
    return store.read(where)


def tfds_home() -> Path:
    """The data folder of tensorflow-datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _prepared_folder() -> Path:
    return tfds_home() / "cifar10" / VERSION


def _manual_archive() -> Path | None:
    path = tfds_home() / "downloads" / "manual" / ARCHIVE
    return path if path.exists() else None


def _by_hand() -> str:
    return (
        f"copy {ARCHIVE} from a machine with network ({URL}) to {tfds_home() / 'downloads' / 'manual'} and run "
        f"`dsresearch data prepare cifar10`, or give it with --archive FILE"
    )


def _is_prepared() -> bool:
    """Whether there is a prepared set. Raises InputError where there is one that only TensorFlow can read."""
    where = _prepared_folder()
    if not (where / "dataset_info.json").exists():
        return False
    if not any(where.glob("cifar10-*.array_record*")):
        raise InputError(
            f"data='cifar10': {str(where)!r} was prepared in a format that needs TensorFlow, allowed: array_record; "
            f"remove it or set $TFDS_DATA_DIR to another folder, then run `dsresearch data prepare cifar10`"
        )
    return True


def _decoded_folder() -> Path:
    """Where the decoded pictures of the prepared set lie, a name for these very files."""
    if not _is_prepared():
        raise InputError(
            f"data='cifar10' is not prepared in {str(tfds_home())!r}: run `dsresearch data prepare cifar10` with "
            f"network; without, {_by_hand()}"
        )
    files = sorted(path for path in _prepared_folder().iterdir() if path.is_file())
    identity = digest([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
    return store.home() / "cache" / f"cifar10-{VERSION}-{identity[:16]}"


# --- reading ----------------------------------------------------------------------------------------------------


def _decode() -> store.Pictures:
    """All pictures of the prepared set: its order on disk is shuffled, the order here is that of the ids."""
    per_split = {"train": len(TRAIN_FILES) * _PICTURES, "test": len(TEST_FILES) * _PICTURES}
    images = np.zeros((sum(per_split.values()), 32, 32, 3), np.uint8)
    labels = np.full(len(images), -1, np.int32)
    tfds = _tfds()
    from PIL import Image

    try:
        names: tuple[str, ...] = ()
        for split, first in (("train", 0), ("test", per_split["train"])):
            source = tfds.data_source(
                f"cifar10:{VERSION}",
                split=split,
                data_dir=tfds_home(),
                download=False,
                decoders={"image": tfds.decode.SkipDecoding()},  # Pillow here is twice as fast as Pillow there
            )
            names = tuple(source.dataset_info.features["label"].names)
            for start in range(0, len(source), _CHUNK):
                for record in source.__getitems__(range(start, min(start + _CHUNK, len(source)))):
                    position = first + int(record["id"].decode().removeprefix(f"{split}_"))
                    images[position] = np.asarray(Image.open(io.BytesIO(record["image"]), formats=("PNG",)))
                    labels[position] = record["label"]
    except Exception as error:  # the library's and its formats' errors are not a closed list
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise _unreadable(reason) from error
    if labels.min() < 0 or names != CLASSES:
        raise _unreadable(f"{(labels < 0).sum()} of {len(labels)} pictures are missing, classes {', '.join(names)}")
    return store.pictures("cifar10", "CIFAR-10", images, labels, per_split["train"], names)


def _unreadable(reason: str) -> InputError:
    return InputError(
        f"data='cifar10' in {str(_prepared_folder())!r} cannot be read ({reason}): remove it and run "
        f"`dsresearch data prepare cifar10`"
    )


def _tfds() -> Any:
    try:
        import array_record  # noqa: F401  (a missing reader is told here, by name)
        import importlib_resources  # noqa: F401  (tensorflow-datasets needs it and does not declare it)
        import tensorflow_datasets
    except ImportError as error:
        raise InputError(
            f"data='cifar10' needs the Python package {error.name}, which cannot be imported here"
        ) from error
    if not sys.stderr.isatty():
        tensorflow_datasets.disable_progress_bar()
    return tensorflow_datasets


# --- preparing --------------------------------------------------------------------------------------------------


def _expected() -> Any:
    """Size and sha256 of the archive as tensorflow-datasets has them on record."""
    _tfds()
    from tensorflow_datasets.core.download import checksums

    return checksums.get_all_url_infos()[URL]


def _refuse_other(archive: Path) -> None:
    try:
        with open(archive, "rb") as file:
            size, checksum = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"archive={str(archive)!r} cannot be read: {error.strerror or error}") from error
    expected = _expected()
    if (size, checksum) != (int(expected.size), expected.checksum):
        raise InputError(
            f"archive={str(archive)!r} has {size} bytes and sha256 {checksum}, "
            f"allowed: {int(expected.size)} bytes and {expected.checksum} ({URL})"
        )


def _prepare(archive: Path | None, say: Callable[[str], None]) -> None:
    tfds = _tfds()
    say(f"preparing data='cifar10' in {_prepared_folder()} from {archive or URL}")
    try:
        with _leaving_nothing(tfds_home()) as downloads:
            if archive is not None:
                (downloads / "manual").mkdir()
                (downloads / "manual" / ARCHIVE).symlink_to(archive.resolve())
            config = tfds.download.DownloadConfig(try_download_gcs=False, force_checksums_validation=True)
            builder = _builder(tfds)(data_dir=tfds_home(), file_format="array_record")
            with redirect_stdout(sys.stderr):  # the library prints; standard output belongs to the command
                builder.download_and_prepare(download_dir=downloads, download_config=config)
    except InputError:
        raise
    except Exception as error:  # network, disk and library errors are not a closed list
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise InputError(
            f"data='cifar10' cannot be prepared in {str(tfds_home())!r}: {reason}; {_by_hand()}"
        ) from error


@contextmanager
def _leaving_nothing(root: Path) -> Iterator[Path]:
    """A folder for downloads inside `root`, removed in the end, with every folder that a failure would leave empty."""
    made = [path for path in (root / "cifar10", root, *root.parents) if not path.exists()]
    root.mkdir(parents=True, exist_ok=True)
    downloads = Path(tempfile.mkdtemp(prefix="dsresearch-", dir=root))
    try:
        yield downloads
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _builder(tfds: Any) -> Any:
    from tensorflow_datasets.image_classification import cifar

    with tfds.core.registered.skip_registration():

        class Cifar10(cifar.Cifar10):  # type: ignore[misc]  # the library ships no types
            name = "cifar10"

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                batches = _batches(Path(dl_manager.download(URL)).resolve())
                self.info.features["label"].names = list(CLASSES)
                return {
                    "train": self._generate_examples("train_", [batches[name] for name in TRAIN_FILES]),
                    "test": self._generate_examples("test_", [batches[name] for name in TEST_FILES]),
                }

            def _generate_examples(self, split_prefix: str, batches: list[np.ndarray]) -> Iterator[tuple[int, Any]]:
                # the stock builder's keys, so that the order and the shards are the stock ones
                for index, record in enumerate(np.concatenate(batches)):
                    image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                    yield index, {"id": f"{split_prefix}{index:05d}", "image": _png(image), "label": int(record[0])}

    return Cifar10


def _png(image: np.ndarray) -> io.BytesIO:
    """An encoded picture, which the library stores as it is; an array it would encode through TensorFlow."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, format="PNG", compress_level=1)
    file.seek(0)
    return file


def _batches(archive: Path) -> dict[str, np.ndarray]:
    """The six files of the archive: name -> uint8 [10000, 3073]. Raises InputError where it is not that format."""
    wanted = {f"cifar-10-batches-bin/{name}": name for name in (*TRAIN_FILES, *TEST_FILES)}
    found: dict[str, np.ndarray] = {}
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.isreg() and member.name in wanted and member.size == _PICTURES * _RECORD:
                    content = tar.extractfile(member)
                    assert content is not None  # a regular file has content
                    found[wanted[member.name]] = np.frombuffer(content.read(), np.uint8).reshape(_PICTURES, _RECORD)
            while stream.read(2**20):  # only the end of the stream compares its check sum
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"archive={str(archive)!r} is cut short or damaged: {error}") from error
    if missing := sorted(set(wanted.values()) - set(found)):
        size = _PICTURES * _RECORD
        raise InputError(f"archive={str(archive)!r} lacks {missing[0]} of {size} bytes, allowed: {ARCHIVE} ({URL})")
    if (largest := max(int(batch[:, 0].max()) for batch in found.values())) >= len(CLASSES):
        raise InputError(f"archive={str(archive)!r} has a label {largest}, allowed: 0 to {len(CLASSES) - 1}")
    return found


# --- the network ------------------------------------------------------------------------------------------------


def _host(url: str) -> tuple[str, int]:
    """Host and port that a download of the URL connects to: the user's proxy, where there is one."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)


def _reachable(url: str) -> bool:
    """Whether the host answers at once; the library would try in silence for three minutes."""
    answered = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection(_host(url), timeout=_PROBE_SECONDS):
                answered.set()
        except OSError:
            pass

    # name resolution has no timeout of its own: a thread that is not waited for longer
    prober = threading.Thread(target=connect, daemon=True)
    prober.start()
    prober.join(_PROBE_SECONDS)
    return answered.is_set()
