"""Small pictures in `split/class/name`, as bytes, as a folder and as a tar: what the tests of importing start from."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

Files = dict[str, bytes]


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    file, image = io.BytesIO(), Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind)
    return file.getvalue()


def picture(k: int, shape: tuple[int, ...] = (6, 5, 3)) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 256, shape, np.uint8)


PLACES = [
    f"{split}/{category}/{name}.png"
    for split, names in (("train", ("b", "a", "10", "9")), ("test", ("z", "y")))
    for category in ("dog", "cat", "ant")
    for name in names
]


def pets() -> Files:
    return {path: encoded(picture(k)) for k, path in enumerate(PLACES)}


def folder_of(root: Path, files: Files) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def tar_of(path: Path, files: Files, mode: str = "w", **options: int) -> Path:
    with tarfile.open(path, mode, **options) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
