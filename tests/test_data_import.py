"""Importing pictures from a folder or a tar, and reading what was stored."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from picture_files import PLACES, encoded, folder_of, pets, picture, tar_of
from PIL import Image

from dsresearch import data
from dsresearch.data import importing, sets, store
from dsresearch.design import InputError, digest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSRESEARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_folder_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data.import_pictures(folder_of(tmp_path / "set", pets()), "pets")
    order = sorted(range(len(PLACES)), key=lambda k: (PLACES[k].startswith("test"), PLACES[k]))
    np.testing.assert_array_equal(found.images, [picture(k) for k in order])
    assert [found.classes[label] for label in found.labels] == [PLACES[k].split("/")[1] for k in order]
    assert (found.name, found.label, found.n_train) == ("pets", "pets", 12)
    assert found.classes == ("ant", "cat", "dog")
    assert not found.images.flags.writeable
    assert "18 pictures in 3 classes" in capsys.readouterr().err

    again = data.load("pets")
    np.testing.assert_array_equal(again.images, found.images)
    assert again.fingerprint == found.fingerprint
    row = data.available()[-1]
    assert (row.name, row.shape, row.n_train, row.n_test, row.classes) == ("pets", (6, 5, 3), 12, 6, 3)
    assert row.fingerprint == found.fingerprint


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_tar_is_the_same_set_as_its_folder(tmp_path: Path, compression: str, form: int) -> None:
    files = pets()
    # a name of more than 100 characters, with letters beyond ASCII, takes an extension header of either format
    long = "train/" + ("ünï" * 20 if form != tarfile.USTAR_FORMAT else "u") + "/" + "n" * 120 + ".png"
    files |= {long: files[PLACES[0]], long.replace("train/", "test/"): files[PLACES[0]]}
    if form == tarfile.USTAR_FORMAT:
        files = {path.replace("n" * 120, "n" * 60): content for path, content in files.items()}
    folder = data.import_pictures(folder_of(tmp_path / "set", files), "from-folder")
    shuffled = dict(sorted(files.items(), key=lambda item: digest(item[0])))
    tar = data.import_pictures(tar_of(tmp_path / "set.tar", shuffled, f"w:{compression}", format=form), "from-tar")
    assert tar.fingerprint == folder.fingerprint
    stored = [store.describe(importing.folder(name))["source"] for name in ("from-folder", "from-tar")]
    assert stored[0] == stored[1]


def test_a_tar_made_by_tar(tmp_path: Path) -> None:
    """With `./` in front, entries for folders, and GNU tar's padding."""
    folder = folder_of(tmp_path / "set", pets())
    subprocess.run(["tar", "-cf", str(tmp_path / "set.tar"), "-C", str(folder), "."], check=True)
    assert data.import_pictures(tmp_path / "set.tar", "a").fingerprint == data.import_pictures(folder, "b").fingerprint


def test_grey_pictures_and_jpeg(tmp_path: Path) -> None:
    files = {f"{s}/{c}/1.{e}": encoded(picture(3, (32, 32)), kind) for s in ("train", "test")
             for c, e, kind in (("a", "jpg", "JPEG"), ("b", "JPEG", "JPEG"), ("c", "png", "PNG"))}  # fmt: skip
    found = data.import_pictures(folder_of(tmp_path / "set", files), "grey")
    assert found.images.shape == (6, 32, 32, 1)
    assert found.augmentation == "none"
    decoded = np.asarray(Image.open(io.BytesIO(files["train/a/1.jpg"])))
    np.testing.assert_array_equal(found.images[0, :, :, 0], decoded)


def test_importing_again_changes_nothing(tmp_path: Path, own_home: Path) -> None:
    files, lines = pets(), list[str]()
    folder = folder_of(tmp_path / "set", files)
    first = data.import_pictures(folder, "pets")
    before = {path: path.stat().st_mtime_ns for path in own_home.rglob("*")}
    second = data.import_pictures(tar_of(tmp_path / "set.tar", files), "pets", lines.append)
    assert second.fingerprint == first.fingerprint
    assert lines == ["data='pets' holds these very pictures already, nothing to do"]

    (folder / PLACES[0]).write_bytes(encoded(picture(99)))
    with pytest.raises(InputError, match=r"name='pets' is taken by other pictures"):
        data.import_pictures(folder, "pets")
    assert {path: path.stat().st_mtime_ns for path in own_home.rglob("*")} == before


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    files = pets()
    plain = data.import_pictures(tar_of(tmp_path / "a.tar", files), "a")
    files |= {"./.DS_Store": b"x", "train/dog/._b.png": b"x", ".git/config": b"x"}
    assert data.import_pictures(tar_of(tmp_path / "b.tar", files), "b").fingerprint == plain.fingerprint
    assert data.import_pictures(folder_of(tmp_path / "c", files), "c").fingerprint == plain.fingerprint


# --- what is stored ---------------------------------------------------------------------------------------------


def test_a_damaged_set_is_an_error(tmp_path: Path) -> None:
    data.import_pictures(folder_of(tmp_path / "set", pets()), "pets")
    where = importing.folder("pets")
    for file, damage in (
        ("images.npy", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("images.npy", lambda content: content[:-100]),
        ("labels.npy", lambda content: b""),
        ("set.json", lambda content: content[:-10]),
        ("set.json", lambda content: content.replace(b'"format": 1', b'"format": 2')),
    ):
        whole = (where / file).read_bytes()
        (where / file).write_bytes(damage(whole))
        with pytest.raises(InputError, match=r"pets' is damaged: .*; remove that folder"):
            data.load("pets")
        assert "is damaged" in data.available()[-1].note
        (where / file).write_bytes(whole)
    assert data.available()[-1].note == ""


def test_a_data_folder_that_cannot_be_written(tmp_path: Path, own_home: Path) -> None:
    own_home.write_text("a file")
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        data.import_pictures(folder_of(tmp_path / "set", pets()), "pets")
    assert own_home.read_text() == "a file"


def test_two_imports_at_once(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is given while a second import is still decoding: equal pictures are fine, others are refused."""
    source = folder_of(tmp_path / "set", pets())
    keep = store.keep

    def overtaken(folder: Path, content: store.Pictures, source_hash: str) -> None:
        keep(folder, content, source_hash if same else "another")
        keep(folder, content, source_hash)

    monkeypatch.setattr(store, "keep", overtaken)
    same = True
    assert len(data.import_pictures(source, "a").labels) == 18
    same = False
    with pytest.raises(InputError, match="name='b' is taken"):
        data.import_pictures(source, "b")
    assert sorted(path.name for path in (own_home / "pictures").iterdir()) == ["a", "b"]


def test_an_unknown_name_tells_what_there_is(tmp_path: Path) -> None:
    data.import_pictures(folder_of(tmp_path / "set", pets()), "pets")
    with pytest.raises(InputError, match=r"data='digit' .* digits, cifar10, pets; did you mean 'digits'\?; .* import"):
        data.load("digit")
    with pytest.raises(InputError, match=r"data='../pets' is not there"):
        data.load("../pets")


def test_set_json_says_what_it_holds(tmp_path: Path) -> None:
    found = data.import_pictures(folder_of(tmp_path / "set", pets()), "pets")
    meta = json.loads((importing.folder("pets") / "set.json").read_text())
    assert meta["fingerprint"] == found.fingerprint
    assert (meta["label"], meta["shape"], meta["n_train"]) == ("pets", [18, 6, 5, 3], 12)
    assert sets.load("pets").label == "pets"
