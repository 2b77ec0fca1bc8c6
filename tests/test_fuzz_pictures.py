"""Archives, pictures and stored sets that somebody has broken: refused in one line, or read for what they are."""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzzing import CASES, broken, cases, changed, command, each, edits, text, value
from hypothesis import strategies as st
from picture_files import PLACES, encoded, pets, picture, tar_of

KINDS = ("", "gz", "bz2", "xz")
NAMES = ("images.npy", "labels.npy", "set.json")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "home"


def imported(source: Path, home: Path) -> int:
    """Import a source; the set is taken away again. Gives the exit status."""
    found = command("data", "import", str(source), "--name", "pets", writable=[home], keeps=[source.parent])
    assert found.status in (0, 2)
    assert (home / "pictures" / "pets" / "set.json").exists() == (found.status == 0)
    shutil.rmtree(home, ignore_errors=True)
    return found.status


@cases("tar")
def test_a_tar_with_broken_bytes(tmp_path: Path, home: Path, examples: int) -> None:
    whole = {kind: tar_of(tmp_path / f"whole.{kind}", pets(), f"w:{kind}").read_bytes() for kind in KINDS}

    @each(examples, st.sampled_from(KINDS), edits)
    def check(kind: str, changes: list[tuple[str, int, bytes]]) -> None:
        (tmp_path / "set.tar").write_bytes(broken(whole[kind], changes))
        imported(tmp_path / "set.tar", home)


NUMBER = st.sampled_from([0, 1, 511, 512, 513, 2**20, 2**33 - 1, 2**62, -1, -512])
ENTRY = st.tuples(
    st.sampled_from([getattr(tarfile, name) for name in dir(tarfile) if name.endswith("TYPE")] + [b"Z"]),
    st.one_of(st.sampled_from([*PLACES[:4], "train", ".", "../x", "/x", "train/../../x"]), text.map(lambda t: t[:100])),
    NUMBER,
    st.one_of(st.just({}), st.dictionaries(st.sampled_from(["path", "size", "GNU.sparse.map", "x"]), text, max_size=2)),
)


@cases("headers")
def test_a_tar_of_any_entries(tmp_path: Path, home: Path, examples: int) -> None:
    """Links, devices, sparse files, names and sizes of every kind, in a tar that is otherwise whole."""

    @each(examples, st.lists(ENTRY, min_size=1, max_size=4), st.integers(0, 3))
    def check(entries: list[tuple[bytes, str, int, dict[str, str]]], before: int) -> None:
        content = bytearray()
        for place in PLACES[:before]:
            content += _entry(tarfile.REGTYPE, place, len(encoded(picture(0))), {}) + encoded(picture(0))
            content += bytes(-len(content) % 512)
        for entry in entries:
            content += _entry(*entry)
        (tmp_path / "set.tar").write_bytes(content + bytes(10_240))
        imported(tmp_path / "set.tar", home)


def _entry(kind: bytes, name: str, size: int, records: dict[str, str]) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname, member.pax_headers = kind, size, "/etc/passwd", records
    try:
        return member.tobuf(tarfile.PAX_FORMAT if records else tarfile.GNU_FORMAT, "utf-8", "surrogatepass")
    except (ValueError, UnicodeEncodeError):  # what tarfile itself will not write
        return b"\xff" * 512


PICTURES = {
    "png": encoded(picture(1)),
    "jpeg": encoded(picture(1), "JPEG"),
    "grey": encoded(picture(1, (6, 5))),
    "palette": encoded(picture(1), mode="P"),
    "alpha": encoded(picture(1), mode="RGBA"),
    "gif": encoded(picture(1), "GIF", "P"),
    "tiff": encoded(picture(1), "TIFF"),
}


@cases("picture")
def test_a_picture_with_broken_bytes(tmp_path: Path, home: Path, examples: int) -> None:
    """Among whole pictures, and as the one that decides what all of them have to be."""

    @each(examples, st.sampled_from(sorted(PICTURES)), st.sampled_from(PLACES), edits)
    def check(kind: str, place: str, changes: list[tuple[str, int, bytes]]) -> None:
        tar_of(tmp_path / "set.tar", {**pets(), place: broken(PICTURES[kind], changes)})
        imported(tmp_path / "set.tar", home)


@cases("stored set")
def test_a_stored_set_with_broken_files(tmp_path: Path, home: Path, examples: int) -> None:
    tar_of(tmp_path / "set.tar", pets())
    command("data", "import", str(tmp_path / "set.tar"), "--name", "pets", writable=[home])
    folder = home / "pictures" / "pets"
    whole = {name: (folder / name).read_bytes() for name in NAMES}

    @each(examples, st.sampled_from(NAMES), edits, st.lists(st.integers(0, 9), max_size=2), value, st.booleans())
    def check(name: str, changes: list[tuple[str, int, bytes]], path: list[int], new: object, as_json: bool) -> None:
        content = broken(whole[name], changes)
        if name == "set.json" and as_json:
            content = json.dumps(changed(json.loads(whole[name]), path, new)).encode("utf-8", "surrogatepass")
        for other, data in {**whole, name: content}.items():
            (folder / other).write_bytes(data)
        words = ("run", "hybrid", "--profile", "smoke", "--data", "pets", "--dry-run", "--out", str(tmp_path / "out"))
        command(*words, writable=[tmp_path / "out"], keeps=[tmp_path])
        assert command("data", "info").status == 0


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that claim or unpack to gigabytes."""
    import bz2
    import gzip
    import lzma

    head = tarfile.TarInfo("train/dog/1.png")
    head.size = 16 * 2**20
    endless = (head.tobuf() + bytes(head.size)) * 4
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield f"padding.{name}", pack(bytes(64 * 2**20))
        yield f"files.{name}", pack(endless)
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(sink, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)})
    yield "header.npy", sink.getvalue()


@pytest.mark.parametrize(("name", "content"), list(_bombs()), ids=lambda of: of if isinstance(of, str) else "")
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, home: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert imported(tmp_path / name, home) == 2


def test_there_are_ten_thousand_cases_in_all_and_some_hundred_in_a_hurry() -> None:
    few, many = (sum(counts) for counts in zip(*CASES.values(), strict=True))
    assert many >= 10_000
    assert 200 <= few <= 1_000
