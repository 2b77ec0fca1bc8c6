"""`data import`: pictures of the user's own, from `split/class/*.jpg|png` in a folder or a tar, decoded once."""

import hashlib
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsresearch.data import archive, store
from dsresearch.data.archive import Place, refusal, shown
from dsresearch.design import InputError, digest

RESERVED = ("digits", "cifar10")
MAX_SIDE = 256  # pixels
MAX_DECODED = 2 * 2**30  # bytes that a whole set may decode to
CHANNELS = {"L": 1, "RGB": 3}  # Pillow's name of a mode -> channels
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Sets whose own name would hide what they are: the digest of their files -> what tables print.
_KNOWN = {"f6a7feab85df9199981d6ae66be74d34ccf21c6d0b7f6b32ef0df31e7ed57714": "CIFAR-10 (JPEG copy)"}


def say_to_stderr(line: str) -> None:
    """The default listener of progress."""
    print(line, file=sys.stderr)


def folder(name: str) -> Path:
    """Where the imported set of that name is stored, if there is one."""
    return store.home() / "pictures" / name


def imported() -> list[str]:
    """The names that `data import` has given, sorted."""
    folders = [path.parent.name for path in store.home().glob("pictures/*/set.json")]
    return sorted(name for name in folders if _NAME.fullmatch(name))


def import_pictures(source: Path, name: str, say: Callable[[str], None] = say_to_stderr) -> store.Pictures:
    """Decode the pictures of a folder or tar and store them under a name for `--data`.

    The splits are `train` and `test`, both with the same classes; all pictures have one size and one mode. Their order
    is train, then test, within each by class and then by file name. Importing the same files again does nothing.

    Args:
        source: a folder or a tar (.tar, .tar.gz, .tar.bz2, .tar.xz); it is not trusted.
        name: lower-case letters, digits and `._-`, at most 64.
        say: told what happens, a line at a time.

    Raises:
        InputError: a bad or taken name, a source that is not as described, or an unwritable data folder. Nothing is
            left behind.
    """
    _refuse_name(name)
    where = folder(name)
    if (where / "set.json").exists():
        _same_or_refused(source, name, store.describe(where)["source"])
        say(f"data={name!r} holds these very pictures already, nothing to do")
        return store.read(where)
    found = _Found(source)
    for place, file in archive.files(source):
        found.add(place, file)
        if len(found.places) % 10_000 == 0:
            say(f"{len(found.places):,} pictures read")
    source_hash = content_hash(found.places.items())
    store.keep(where, found.pictures(name, known_label(source_hash, name)), source_hash)
    if (stored := store.describe(where)["source"]) != source_hash:  # another process was faster
        raise _taken(name, stored, source_hash)
    content = store.read(where)
    say(f"{len(content.labels):,} pictures in {len(content.classes)} classes are now data={name!r} ({content.label})")
    return content


def content_hash(files: Iterable[tuple[Place, str]]) -> str:
    """Digest of a source's files, (place, sha256 of the bytes) each: the same for a folder and for a tar of it."""
    return digest(sorted(("/".join(place), checksum) for place, checksum in files))


def known_label(source_hash: str, name: str) -> str:
    """What tables call the pictures of that `content_hash`: their own name where it is known, else the given one."""
    return _KNOWN.get(source_hash, name)


def _refuse_name(name: str) -> None:
    # `cifar-10` in a table would be taken for the lossless set
    if not _NAME.fullmatch(name) or re.sub(r"[._-]", "", name) in RESERVED:
        raise InputError(
            f"name={name!r} is not allowed: a lower-case letter or digit, then at most 63 of those and ._-, "
            f"other than {', '.join(RESERVED)}"
        )


def _same_or_refused(source: Path, name: str, stored: str) -> None:
    given = content_hash((place, hashlib.sha256(content).hexdigest()) for place, content in archive.files(source))
    if given != stored:
        raise _taken(name, stored, given)


def _taken(name: str, stored: str, given: str) -> InputError:
    return InputError(
        f"name={name!r} is taken by other pictures ({stored[:12]}, these are {given[:12]}): "
        f"choose another name, or remove {str(folder(name))!r}"
    )


# --- decoding ---------------------------------------------------------------------------------------------------


@dataclass
class _Found:
    """The pictures of a source in the order in which they came."""

    source: Path
    places: dict[Place, str] = field(default_factory=dict)  # -> sha256 of the file
    pixels: bytearray = field(default_factory=bytearray)  # one picture after another
    form: tuple[int, int, str] = (0, 0, "")  # height, width, mode: of all of them

    def add(self, place: Place, content: bytes) -> None:
        path = "/".join(place)
        if place in self.places:
            raise refusal(self.source, f"{shown(path)} stands in it twice")
        self.form, pixels = decode(self.source, path, content, self.form if self.places else None)
        if len(self.pixels) + len(pixels) > MAX_DECODED:
            raise refusal(self.source, f"its pictures decode to more than {MAX_DECODED} bytes")
        self.pixels += pixels
        self.places[place] = hashlib.sha256(content).hexdigest()

    def pictures(self, name: str, label: str) -> store.Pictures:
        of_split = {s: {place.category for place in self.places if place.split == s} for s in archive.SPLITS}
        classes = archive.common_classes(self.source, of_split)
        places = list(self.places)
        order = sorted(range(len(places)), key=lambda i: (archive.SPLITS.index(places[i].split), places[i]))
        height, width, mode = self.form
        images = np.frombuffer(self.pixels, np.uint8).reshape(len(places), height, width, CHANNELS[mode])[order]
        position = {category: label for label, category in enumerate(classes)}
        labels = np.array([position[places[i].category] for i in order])
        n_train = sum(place.split == "train" for place in places)
        return store.pictures(name, label, images, labels, n_train, classes)


def decode(
    source: Path, path: str, content: bytes, form: tuple[int, int, str] | None
) -> tuple[tuple[int, int, str], bytes]:
    """(height, width, mode) and the pixels of one JPEG or PNG; `form` is what it must have, None for the first one.

    The size is read from the file's head and refused before anything is decoded.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with archive.picture(source, path, content) as image:
            found = (image.height, image.width, image.mode)
            _refuse_form(source, path, found, form)
            return found, image.tobytes()


def _refuse_form(source: Path, path: str, found: tuple[int, int, str], form: tuple[int, int, str] | None) -> None:
    height, width, mode = found
    if mode not in CHANNELS:
        raise refusal(
            source, f"{shown(path)} in it has mode {mode}, allowed: RGB or L (grey); palettes are not converted"
        )
    if max(height, width) > MAX_SIDE:
        raise refusal(source, f"{shown(path)} in it has {width} x {height} pixels, allowed: {MAX_SIDE} a side")
    if form is not None and found != form:
        same = f"{form[1]} x {form[0]} {form[2]}"
        raise refusal(source, f"{shown(path)} in it is {width} x {height} {mode}, allowed: {same} as the first picture")
