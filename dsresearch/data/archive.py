"""The files of a folder or a tar of pictures, as bytes, from a source that nobody has vouched for.

Nothing is unpacked to disk and nothing outside the source is read. The tar is read block by block here and not by
`tarfile`, which takes a cut or overwritten header in the middle for the end of the archive, and reads long names and
sparse maps of any size into memory before its caller sees them; only its parser of one header is used.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from dsresearch.design import InputError

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
ALLOWED = "allowed: train|test/<class>/<name>.jpg|jpeg|png"
MAX_FILE = 16 * 2**20  # bytes
MAX_TOTAL = 8 * 2**30  # bytes, after decompression
MAX_ENTRIES = 1_000_000  # folders and hidden files included
MAX_LISTED = 4_000_000  # of a folder that is listed and not read: ImageNet has 1.3 million
_MAX_PATH = 1_000  # characters
_MAX_EXTENSION = 16 * 2**10  # bytes of a long name or of extended attributes
_MAX_EXTENSIONS = 8  # of one entry
_MAX_HEADERS = 2**30  # bytes of all extension headers: a thousand for each of a million pictures
_MAX_PADDING = 16 * 2**20  # bytes of zeros after the end of a tar
_BLOCK = tarfile.BLOCKSIZE


class Place(NamedTuple):
    """Where a picture stands in its source."""

    split: str
    category: str
    file: str


def files(source: Path) -> Iterator[tuple[Place, bytes]]:
    """Every picture file of a folder or tar with its place, in the order of the source; hidden files are passed over.

    Raises:
        InputError: the source is missing, cut short, damaged or too large, or holds anything but pictures.
    """
    try:
        kind = os.stat(source).st_mode
        if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            raise refusal(source, "it is neither a folder nor a tar")
        total = 0
        for count, (path, content) in enumerate(_of_folder(source) if stat.S_ISDIR(kind) else _of_tar(source), start=1):
            total += len(content or b"")
            if count > MAX_ENTRIES or total > MAX_TOTAL:
                raise refusal(source, f"it is too large, allowed: {MAX_ENTRIES} files of {MAX_TOTAL} bytes together")
            place = _place(source, path, content is None)
            if place is not None and content is not None:
                yield place, content
    except OSError as error:
        raise refusal(source, f"it cannot be read: {error.strerror or error}") from error


def places(source: Path) -> Iterator[tuple[Place, int]]:
    """Where every picture file of a folder stands and its size in bytes, sorted by path; no file is opened.

    Raises:
        InputError: the source is no folder, cannot be read, is too large, or holds anything but pictures.
    """
    try:
        if not stat.S_ISDIR(os.stat(source).st_mode):
            raise refusal(source, "it is not a folder")
        for count, (path, size) in enumerate(_walk(source), start=1):
            if count > MAX_LISTED:
                raise refusal(source, f"it is too large, allowed: {MAX_LISTED} files")
            place = _place(source, path, size is None)
            if place is not None and size is not None:
                yield place, size
    except OSError as error:
        raise refusal(source, f"it cannot be read: {error.strerror or error}") from error


def refusal(source: Path, what: str) -> InputError:
    """The error for a source with something wrong in it."""
    return InputError(f"source={str(source)!r} is not allowed: {what}")


def _place(source: Path, path: str, is_folder: bool) -> Place | None:
    """Where the file stands; None for a folder and what is hidden. Raises InputError for a path that is not allowed."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    safe = not path.startswith("/") and ".." not in parts and "\\" not in path and path.isprintable()
    hidden = any(part.startswith(".") for part in parts)
    if safe and len(path) <= _MAX_PATH:
        if is_folder and (hidden or (len(parts) <= 2 and parts[:1] in ([], *([split] for split in SPLITS)))):
            return None
        if not is_folder and hidden:
            return None
        if not is_folder and len(parts) == 3 and parts[0] in SPLITS and parts[2].lower().endswith(SUFFIXES):
            return Place(*parts)
    raise refusal(source, f"it holds {shown(path)}, {ALLOWED}")


def shown(path: str) -> str:
    """A path from an untrusted source, fit for one line of a message."""
    return repr(path if len(path) <= 80 else path[:77] + "...")


# --- a folder ---------------------------------------------------------------------------------------------------


def _of_folder(root: Path) -> Iterator[tuple[str, bytes | None]]:
    for path, size in _walk(root):
        yield path, None if size is None else (root / path).read_bytes()


def _walk(root: Path, below: str = "") -> Iterator[tuple[str, int | None]]:
    """Every file with its size and every folder with None, sorted within its folder."""
    with os.scandir(root / below) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield path + "/", None
                if not entry.name.startswith("."):
                    yield from _walk(root, path + "/")
            elif entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                _refuse_large(root, path, size)
                yield path, size
            else:
                raise refusal(root, f"{shown(path)} in it is a link or a device, allowed: files and folders")


def _refuse_large(source: Path, path: str, size: int) -> None:
    if not 0 <= size <= MAX_FILE:
        raise refusal(source, f"{shown(path)} in it has {size} bytes, allowed: at most {MAX_FILE}")


# --- a tar ------------------------------------------------------------------------------------------------------

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def _of_tar(source: Path) -> Iterator[tuple[str, bytes | None]]:
    with open(source, "rb") as file:
        magic = file.read(8)
    opener = next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), open)
    try:
        with opener(source, "rb") as stream:
            yield from _entries(source, stream)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise refusal(source, f"it is cut short or damaged: {error}") from error


def _entries(source: Path, stream: IO[bytes]) -> Iterator[tuple[str, bytes | None]]:
    path, extensions = "", 0  # of the next entry: its path, where an extension header gave it, and how many did
    headers = 0  # bytes of all of them
    while (block := _exactly(source, stream, _BLOCK)) != bytes(_BLOCK):
        header = _header(source, block)
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
            path = _extended(source, header, _content(source, stream, header, _MAX_EXTENSION)) or path
            extensions, headers = extensions + 1, headers + header.size
            if headers > _MAX_HEADERS:
                raise refusal(source, f"its extension headers are too large, allowed: {_MAX_HEADERS} bytes together")
            if extensions > _MAX_EXTENSIONS:
                raise refusal(source, f"it has more than {_MAX_EXTENSIONS} extension headers for one file")
            continue
        header.name = path or header.name
        path, extensions = "", 0
        if header.isdir():
            _content(source, stream, header, 0)
            yield header.name.rstrip("/") + "/", None
        elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            _refuse_large(source, header.name, header.size)
            yield header.name, _content(source, stream, header, MAX_FILE)
        else:
            what = "a link, a device or a sparse file"
            raise refusal(source, f"{shown(header.name)} in it is {what}, allowed: files and folders")
    _drain(source, stream)


def _header(source: Path, block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise refusal(source, f"it is not a tar (.tar, .tar.gz, .tar.bz2, .tar.xz), or damaged: {error}") from error


def _content(source: Path, stream: IO[bytes], header: tarfile.TarInfo, most: int) -> bytes:
    if not 0 <= header.size <= most:
        raise refusal(source, f"an entry of {header.size} bytes for {shown(header.name)} in it, allowed: {most}")
    return _exactly(source, stream, header.size + -header.size % _BLOCK)[: header.size]


def _exactly(source: Path, stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise refusal(source, "it is cut short, or not a tar (.tar, .tar.gz, .tar.bz2, .tar.xz)")
    return data


def _extended(source: Path, header: tarfile.TarInfo, content: bytes) -> str:
    """The path that an extension header gives to the next entry, if it gives one (POSIX pax, or GNU's long name)."""
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    path, at, end = "", 0, len(content.rstrip(b"\0"))
    while at < end:
        length, _, _ = content[at : at + 6].partition(b" ")
        if len(length) > 5 or not length.isdigit() or not len(length) < int(length) <= len(content) - at:
            raise refusal(source, "its extended attributes are damaged")
        record, at = content[at : at + int(length)], at + int(length)
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise refusal(source, "it holds a sparse or a huge file, allowed: files and folders")
        if key == b"path" and header.type == tarfile.XHDTYPE:
            path = value.decode("utf-8", "surrogateescape")
    return path


def _drain(source: Path, stream: IO[bytes]) -> None:
    """Read to the end, so that the check sums of a compressed file are compared; only zeros may follow."""
    padding = 0
    while data := stream.read(2**16):
        padding += len(data)
        if data.count(0) != len(data) or padding > _MAX_PADDING:
            raise refusal(source, "something follows the end of the tar in it")


# --- what a source of pictures must have ------------------------------------------------------------------------


def common_classes(source: Path, found: Mapping[str, Set[str]]) -> tuple[str, ...]:
    """The classes of the splits, sorted. Raises InputError unless both splits have the same ones, two at least."""
    train, test = (found[split] for split in SPLITS)
    for split, classes in zip(SPLITS, (train, test), strict=True):
        if not classes:
            raise refusal(source, f"it has no pictures in {split}/, {ALLOWED}")
    if odd := sorted(train ^ test):
        raise refusal(source, f"class {shown(odd[0])} is in one of train and test only, allowed: in both")
    if len(train) < 2:
        raise refusal(source, f"it has one class, {shown(min(train))}, allowed: two or more")
    return tuple(sorted(train))


@contextlib.contextmanager
def picture(source: Path, path: str, content: bytes) -> "Iterator[Image.Image]":
    """One JPEG or PNG, of which the head is read; whoever has it decodes it.

    Raises InputError where it turns out to be no whole one, then or while it is decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # what a decoder of untrusted bytes raises is not a closed list
        raise refusal(source, f"{shown(path)} in it is not a whole JPEG or PNG ({type(error).__name__})") from error
