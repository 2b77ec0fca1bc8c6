"""Large pictures made from small ones, so that ImageNet-sized work can be shown where ImageNet is not at hand."""

import hashlib
import io
import os
import secrets
import shutil
from pathlib import Path

from dsresearch.data import archive
from dsresearch.data.importing import content_hash, decode, known_label
from dsresearch.design import InputError

LABEL = ".label"  # a hidden file at the top of a folder of pictures: what captions call them
QUALITY = 95  # of the JPEGs
MAX_LABEL = 200  # characters


def enlarge(source: Path, to: Path, *, side: int, train: int, test: int) -> str:
    """Write pictures of a folder or tar anew as JPEGs of `side` pixels (bicubic), and what they are to `.label`.

    Args:
        source: as for `data import`; it is not trusted.
        to: the new folder.
        side: of the new pictures in pixels.
        train: pictures of every class at most: of a folder the first by name, of a tar the first in it.
        test: likewise of the test pictures.

    Returns:
        The label, which says that they are enlarged.

    Raises:
        InputError: the source is not as described, or the folder exists or cannot be written. Nothing is left behind.
    """
    from PIL import Image

    if to.exists():
        raise InputError(f"to={str(to)!r} is not allowed: it exists")
    most, counted = {"train": train, "test": test}, dict[tuple[str, str], int]()
    staging = to.parent / f".{to.name}.{os.getpid()}.{secrets.token_hex(4)}"
    sides, checksums = set(), []
    try:
        for place, content in archive.files(source):
            checksums.append((place, hashlib.sha256(content).hexdigest()))
            key = (place.split, place.category)
            counted[key] = counted.get(key, 0) + 1
            if counted[key] > most[place.split]:
                continue
            (height, width, mode), pixels = decode(source, "/".join(place), content, None)
            sides.add(max(height, width))
            image = Image.frombytes(mode, (width, height), pixels).resize((side, side), Image.Resampling.BICUBIC)
            file = staging.joinpath(place.split, place.category, Path(place.file).stem + ".jpg")
            if file.exists():
                name = "/".join((place.split, place.category, file.stem))
                raise InputError(f"source={str(source)!r} has two pictures {name}, allowed: one of a name")
            file.parent.mkdir(parents=True, exist_ok=True)
            encoded = io.BytesIO()
            image.save(encoded, "JPEG", quality=QUALITY)
            file.write_bytes(encoded.getvalue())
        if not sides:
            raise InputError(f"source={str(source)!r} has no pictures, allowed: train|test/class/*.jpg|png")
        name, old = known_label(content_hash(checksums), source.name), "/".join(map(str, sorted(sides)))
        label = f"{name}, enlarged from {old} to {side} px"
        (staging / LABEL).write_text(label + "\n", encoding="utf-8")
        staging.rename(to)
    except OSError as error:
        raise InputError(f"to={str(to)!r} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return label


def label_of(folder: Path) -> str:
    """What captions call the pictures of a folder: the line in its `.label`, else the folder's own name."""
    try:
        line = (folder / LABEL).read_text(encoding="utf-8")[:MAX_LABEL].strip()
    except (OSError, ValueError):
        return folder.resolve().name
    return line if line.isprintable() and line else folder.resolve().name
