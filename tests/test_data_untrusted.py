"""What importing refuses: the source is not trusted, and nothing is left behind."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_files import PLACES, Files, encoded, folder_of, pets, picture, tar_of

from dsresearch import data
from dsresearch.data import archive, importing
from dsresearch.design import InputError


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    "name", ["", "digits", "cifar10", "CIFAR", "cifar-10", "a/b", "..", ".a", "a" * 65, "ä", "a\n"]
)
def test_names_that_are_not_given(tmp_path: Path, own_home: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^name=.* is not allowed"):
        data.import_pictures(folder_of(tmp_path / "set", pets()), name)
    assert not own_home.exists()


def _without(*starts: str) -> Files:
    return {path: content for path, content in pets().items() if not path.startswith(starts)}


def _bomb() -> bytes:
    """A PNG of 400 bytes that claims 12000 x 12000 pixels."""
    content = bytearray(encoded(picture(0)))
    content[16:24] = (12_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


PNG = encoded(picture(0))
BAD_FILES: dict[str, tuple[Callable[[], Files], str]] = {
    "no train": (lambda: _without("train"), "no pictures in train/"),
    "no test": (lambda: _without("test"), "no pictures in test/"),
    "nothing": (dict, "no pictures in train/"),
    "class only in train": (lambda: _without("test/dog"), "class 'dog' is in one of train and test only"),
    "class only in test": (lambda: _without("train/ant"), "class 'ant' is in one of train and test only"),
    "one class": (lambda: _without("train/dog", "test/dog", "train/cat", "test/cat"), "one class, 'ant'"),
    "another split": (lambda: {**pets(), "val/dog/1.png": PNG}, "it holds 'val/"),
    "no class": (lambda: {**pets(), "train/1.png": PNG}, "it holds 'train/1.png'"),
    "too deep": (lambda: {**pets(), "train/dog/x/1.png": PNG}, "it holds 'train/dog/x/"),
    "another kind": (lambda: {**pets(), "train/dog/1.gif": PNG}, "it holds 'train/dog/1.gif'"),
    "text at the top": (lambda: {**pets(), "README.md": b"x"}, "it holds 'README.md'"),
    "control character": (lambda: {**pets(), "train/dog/a\nb.png": PNG}, r"it holds 'train/dog/a\\nb.png'"),
    "backslash": (lambda: {**pets(), "train/dog/..\\b.png": PNG}, "it holds 'train/dog/"),
    "another size": (
        lambda: {**pets(), "train/dog/1.png": encoded(picture(0, (5, 6, 3)))},
        "is 6 x 5 RGB, .*5 x 6",
    ),
    "another mode": (lambda: {**pets(), "train/dog/1.png": encoded(picture(0, (6, 5)))}, "is 5 x 6 L, allowed"),
    "palette": (lambda: {**pets(), "train/ant/0.png": encoded(picture(0), mode="P")}, "mode P, allowed: RGB or L"),
    "transparent": (lambda: {**pets(), "train/ant/0.png": encoded(picture(0), mode="RGBA")}, "mode RGBA, allowed"),
    "too wide": (lambda: {"train/a/0.png": encoded(picture(0, (2, 257, 3)))}, "257 x 2 pixels, allowed: 256"),
    "empty file": (lambda: {**pets(), "train/dog/1.png": b""}, "'train/dog/1.png' in it is not a whole"),
    "cut picture": (lambda: {**pets(), "train/dog/1.png": PNG[:-40]}, "'train/dog/1.png' in it is not a whole"),
    "cut jpeg": (lambda: {**pets(), "train/dog/1.jpg": encoded(picture(0), "JPEG")[:-40]}, "is not a whole"),
    "another format": (lambda: {**pets(), "train/dog/1.png": encoded(picture(0), "GIF", "P")}, "is not a whole"),
    "bomb": (lambda: {**pets(), "train/ant/0.png": _bomb()}, "'train/ant/0.png' in it"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("as_tar", [False, True], ids=["folder", "tar"])
def test_files_that_are_refused(tmp_path: Path, own_home: Path, case: str, as_tar: bool) -> None:
    make, says = BAD_FILES[case]
    (tmp_path / "set").mkdir()
    source = tar_of(tmp_path / "set.tar", make()) if as_tar else folder_of(tmp_path / "set", make())
    with pytest.raises(InputError, match=says) as caught:
        data.import_pictures(source, "pets")
    assert str(caught.value).startswith(f"source={str(source)!r} is not allowed: ")
    assert "\n" not in str(caught.value)
    assert not own_home.exists()


def _entry(name: str = "train/dog/1.png", kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """The header of one entry; links point at /etc/passwd."""
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, "/etc/passwd"
    return member.tobuf(tarfile.GNU_FORMAT)


def _extended(**records: str) -> bytes:
    """An extended header (POSIX pax) with its records and the entry that it extends."""
    member = tarfile.TarInfo("train/dog/1.png")
    member.pax_headers = records
    return member.tobuf(tarfile.PAX_FORMAT)


KINDS = "is a link, a device or a sparse file"
ENTRIES: dict[str, tuple[bytes, str]] = {
    "absolute path": (_entry("/train/dog/1.png"), "it holds '/train/dog/1.png'"),
    "path outside": (_entry("train/../../1.png"), "it holds 'train/../../1.png'"),
    "path outside by pax": (_extended(path="../train/dog/1.png"), "it holds '../train"),
    "folder outside": (_entry("../train", tarfile.DIRTYPE), "it holds '../train/'"),
    "hidden path outside": (_entry(".git/../../a"), "it holds '.git/../../a'"),
    "symbolic link": (_entry(kind=tarfile.SYMTYPE), KINDS),
    "hard link": (_entry(kind=tarfile.LNKTYPE), KINDS),
    "character device": (_entry(kind=tarfile.CHRTYPE), KINDS),
    "block device": (_entry(kind=tarfile.BLKTYPE), KINDS),
    "fifo": (_entry(kind=tarfile.FIFOTYPE), KINDS),
    "hidden link": (_entry(".a", tarfile.SYMTYPE), KINDS),
    "sparse": (_entry(kind=tarfile.GNUTYPE_SPARSE), KINDS),
    "sparse by pax": (_extended(**{"GNU.sparse.major": "1"}), "a sparse or a huge file"),
    "size by pax": (_extended(size="9000000000"), "a sparse or a huge file"),
    "large": (_entry(size=16 * 2**20 + 1), "has 16777217 bytes, allowed: at most 16777216"),
    "huge": (_entry(size=2**62), "has 4611686018427387904 bytes"),
    "negative": (_entry(size=-512), "has -512 bytes"),
    "huge long name": (_entry(kind=tarfile.GNUTYPE_LONGNAME, size=2**40), "an entry of 1099511627776 bytes"),
    "folder with content": (_entry("train/dog", tarfile.DIRTYPE, 512), "an entry of 512 bytes"),
    "endless extensions": (_extended(comment="x")[:-512] * 9, "more than 8 extension headers"),
    "an extension of no length": (
        _extended(comment="x").replace(b"13 comment", b"2 ccomment"),
        "attributes are damaged",
    ),
    "damaged extension": (_extended(comment="x").replace(b" comment=", b"0comment="), "attributes are damaged"),
    "twice": (_entry(PLACES[0], size=len(PNG)) + PNG + bytes(-len(PNG) % 512), "stands in it twice"),
    "damaged header": (b"x" + _entry()[1:], "damaged: bad checksum"),
    "endless padding": (bytes(17 * 2**20), "something follows the end"),
    "data after the end": (bytes(1024) + _entry(), "something follows the end"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_entries_of_a_tar_that_are_refused(tmp_path: Path, own_home: Path, case: str) -> None:
    """A good tar whose end is replaced by the entry, so that only the entry can be what is refused."""
    entry, says = ENTRIES[case]
    good = tmp_path / "good.tar"
    tar_of(good, pets())
    content = good.read_bytes()
    end = len(content.rstrip(b"\0")) + -len(content.rstrip(b"\0")) % 512
    (tmp_path / "bad.tar").write_bytes(content[:end] + entry + bytes(10_240))
    (tmp_path / "same.tar").write_bytes(content[:end] + bytes(10_240))
    with pytest.raises(InputError, match=says):
        data.import_pictures(tmp_path / "bad.tar", "pets")
    assert not own_home.exists()
    assert len(data.import_pictures(tmp_path / "same.tar", "pets").labels) == len(PLACES)


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_a_tar_that_is_cut_short(tmp_path: Path, own_home: Path, compression: str, share: float) -> None:
    whole = tar_of(tmp_path / "set.tar", pets(), f"w:{compression}").read_bytes()
    whole = whole if compression else whole.rstrip(b"\0")  # the padding of a plain tar is not missed
    (tmp_path / "cut.tar").write_bytes(whole[: int(share * len(whole)) - 4 * (share == 1.0)])
    with pytest.raises(InputError, match=r"cut short|not a tar"):
        data.import_pictures(tmp_path / "cut.tar", "pets")
    assert not own_home.exists()


def test_a_tar_that_is_cut_between_two_files(tmp_path: Path, own_home: Path) -> None:
    """Python's own reader takes that for the end."""
    cut = tar_of(tmp_path / "set.tar", pets()).read_bytes()[: 2 * 512]
    (tmp_path / "cut.tar").write_bytes(cut)
    with tarfile.open(tmp_path / "cut.tar") as tar:
        assert tar.getnames() == [PLACES[0]]
    with pytest.raises(InputError, match="cut short"):
        data.import_pictures(tmp_path / "cut.tar", "pets")
    assert not own_home.exists()


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_tar_with_a_damaged_byte(tmp_path: Path, own_home: Path, compression: str) -> None:
    content = bytearray(tar_of(tmp_path / "set.tar", pets(), f"w:{compression}").read_bytes())
    content[len(content) // 2] ^= 0x10
    (tmp_path / "bad.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"bad.tar' is not allowed"):
        data.import_pictures(tmp_path / "bad.tar", "pets")
    assert not own_home.exists()


def test_sources_that_are_no_tar(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("not a tar\n" * 100)
    (tmp_path / "text.tar.gz").write_bytes(gzip.compress(b"not a tar\n" * 100))
    for source in ("text.tar", "text.tar.gz", "missing.tar"):
        with pytest.raises(InputError, match=f"{source}' is not allowed"):
            data.import_pictures(tmp_path / source, "pets")
    with pytest.raises(InputError, match="neither a folder nor a tar"):
        data.import_pictures(Path("/dev/null"), "pets")


def test_a_link_in_a_folder_is_refused(tmp_path: Path, own_home: Path) -> None:
    folder = folder_of(tmp_path / "set", pets())
    (tmp_path / "secret.png").write_bytes(PNG)
    for place, target in (("train/dog/link.png", "secret.png"), ("train/linked", "set/train/dog")):
        (folder / place).symlink_to(tmp_path / target)
        with pytest.raises(InputError, match=f"'{place}' in it is a link or a device"):
            data.import_pictures(folder, "pets")
        (folder / place).unlink()
    assert not own_home.exists()


def test_bounds_on_a_whole_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "set", pets())
    for module, bound, most in (
        (archive, "MAX_ENTRIES", 20),
        (archive, "MAX_TOTAL", 500),
        (importing, "MAX_DECODED", 899),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, bound, most)
            with pytest.raises(InputError, match=r"too large|decode to more than 899"):
                data.import_pictures(source, "pets")
    assert len(data.import_pictures(source, "pets").labels) == 18


def test_the_extension_headers_of_a_tar_have_a_bound_together(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count as no file's bytes, and eight of them may stand before each of a million files."""
    content = b"".join(_extended(comment="x") for _ in range(3))
    (tmp_path / "bad.tar").write_bytes(content + bytes(10_240))
    monkeypatch.setattr(archive, "_MAX_HEADERS", 30)
    with pytest.raises(InputError, match="its extension headers are too large, allowed: 30 bytes together"):
        list(archive.files(tmp_path / "bad.tar"))
