"""A folder of pictures as a stream: what is read, what is refused, and that only seed and position make a batch."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import encoded, folder_of, picture
from PIL import Image

from dsresearch.data import transform
from dsresearch.data.enlarge import enlarge, label_of
from dsresearch.data.listing import listed
from dsresearch.data.stream import Batch, Stream, Workers, evaluation
from dsresearch.design import InputError

SHAPES = ((20, 30, 3), (31, 17, 3), (24, 24))  # of all sizes, grey among them


def pets(root: Path, train: int = 5, test: int = 2) -> Path:
    files = {
        f"{split}/{category}/{i}.{'jpg' if i % 2 else 'png'}": encoded(
            picture(7 * i + ord(category[0]), SHAPES[i % 3]), "JPEG" if i % 2 else "PNG"
        )
        for split, count in (("train", train), ("test", test))
        for category in ("ant", "cat")
        for i in range(count)
    }
    return folder_of(root, files)


@pytest.fixture
def grain() -> Iterator[Any]:
    return pytest.importorskip("grain", reason="Grain is not installed: pip install '.[imagenet]'")


# --- what there is ------------------------------------------------------------------------------------------------


def test_a_listing_has_the_files_and_classes_of_both_splits(tmp_path: Path) -> None:
    found = listed(pets(tmp_path))
    assert found.classes == ("ant", "cat")
    assert found.files["test"] == ["test/ant/0.png", "test/ant/1.jpg", "test/cat/0.png", "test/cat/1.jpg"]
    assert found.targets("test").tolist() == [0, 0, 1, 1]
    assert not found.multi_label


def test_a_listing_knows_when_a_file_has_come_or_grown(tmp_path: Path) -> None:
    before = listed(pets(tmp_path)).fingerprint
    assert listed(tmp_path).fingerprint == before
    (tmp_path / "train/ant/0.png").write_bytes(b"other")
    assert listed(tmp_path).fingerprint != before


def test_a_folder_of_several_classes_makes_flags(tmp_path: Path) -> None:
    one = encoded(picture(0))
    places = ("train/ant/1", "train/ant+cat/1", "train/cat/1", "test/cat/1", "test/cat+ant/1")
    found = listed(folder_of(tmp_path, {f"{place}.png": one for place in places}))
    assert found.classes == ("ant", "cat")
    assert found.multi_label
    assert found.files["train"] == ["train/ant/1.png", "train/ant+cat/1.png", "train/cat/1.png"]
    assert found.targets("train").tolist() == [[1, 0], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train/ant/1.png": b"", "train/cat/1.png": b""}, "no pictures in test/"),
        ({"train/ant/1.png": b"", "test/cat/1.png": b""}, "one of train and test only"),
        ({"train/ant/1.png": b"", "test/ant/1.png": b""}, "one class"),
        ({"train/ant/1.gif": b""}, "'train/ant/1.gif', allowed: train|test/<class>"),
        ({"val/ant/1.png": b""}, "allowed: train|test/<class>"),
        ({"train/ant+/1.png": b"", "test/ant/1.png": b""}, "different names joined by '+'"),
        ({"train/ant+ant/1.png": b"", "test/ant/1.png": b""}, "different names joined by '+'"),
    ],
)
def test_a_folder_of_anything_else_is_refused_in_a_line(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not allowed") as caught:
        listed(folder_of(tmp_path, files))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_or_a_file_is_no_folder_of_pictures(tmp_path: Path) -> None:
    pets(tmp_path / "set")
    (tmp_path / "set/train/ant/9.png").symlink_to(tmp_path / "set/train/ant/0.png")
    with pytest.raises(InputError, match="a link or a device"):
        listed(tmp_path / "set")
    with pytest.raises(InputError, match="not a folder"):
        listed(tmp_path / "set/train/ant/0.png")
    with pytest.raises(InputError, match="cannot be read"):
        listed(tmp_path / "nowhere")


# --- one picture --------------------------------------------------------------------------------------------------


def written(root: Path, content: bytes) -> Path:
    (root / "x.jpg").write_bytes(content)
    return root


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_photographs_of_every_mode_become_rgb(mode: str, tmp_path: Path) -> None:
    content = encoded(picture(1, (9, 8, 3)), "JPEG", mode)
    found = transform.opened(written(tmp_path, content), "x.jpg")
    assert np.array_equal(np.asarray(found), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nothing", "not a whole JPEG or PNG (UnidentifiedImageError)"),
        (encoded(picture(2, (40, 40, 3)), "JPEG")[:-200], "not a whole JPEG or PNG"),
        (encoded(picture(2, (9, 9, 3)), "PNG", "P"), "mode P, allowed: RGB, L, CMYK"),
        (encoded(picture(2, (9, 9, 3)), "GIF"), "not a whole JPEG or PNG"),
    ],
)
def test_what_is_no_photograph_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        transform.opened(written(tmp_path, content), "x.jpg")
    assert said in str(caught.value)
    assert "'x.jpg'" in str(caught.value)


def test_a_picture_that_says_it_is_huge_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match="11 x 10 pixels, allowed: 100"):
        transform.opened(written(tmp_path, encoded(picture(2, (10, 11, 3)))), "x.jpg")


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(encoded(picture(3), "JPEG"))
    (tmp_path / "x.jpg").symlink_to("secret.jpg")
    with pytest.raises(InputError, match=r"'x\.jpg' in it cannot be read"):
        transform.opened(tmp_path, "x.jpg")
    os.remove(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="No such file"):
        transform.opened(tmp_path, "x.jpg")


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 10**6))
def test_a_random_box_lies_inside_and_is_of_the_papers_shapes(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = transform.random_box(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(width, height) >= 300 and max(width, height) <= 2 * min(width, height):
        area, aspect = (right - left) * (bottom - top) / (width * height), (right - left) / (bottom - top)
        assert 0.078 < area <= 1
        assert 0.74 < aspect < 1.35


def test_random_boxes_spread_over_area_place_and_aspect() -> None:
    draws = np.random.default_rng(0)
    boxes = np.array([transform.random_box(400, 400, draws) for _ in range(2000)])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    # Szegedy et al. 2015, section 6: the share of the area is uniform, the sides' ratio here in its logarithm.
    parts = np.random.default_rng(1).uniform((0.08, np.log(3 / 4)), (1, np.log(4 / 3)), (200_000, 2))
    kept = parts[parts[:, 0] * np.exp(np.abs(parts[:, 1])) <= 1, 0]  # what is too wide is drawn again
    assert (across * down / 400**2).mean() == pytest.approx(kept.mean(), abs=0.02)
    assert np.log(across / down).mean() == pytest.approx(0.0, abs=0.02)
    assert (boxes[:, 0] + across / 2).mean() == pytest.approx(200, abs=5)


def test_evaluation_is_the_central_square(tmp_path: Path) -> None:
    pixels = picture(4, (80, 120, 3))
    image, target = transform.Evaluation(written(tmp_path, encoded(pixels)), 70)(("x.jpg", np.int32(1)))
    assert np.array_equal(image, pixels[5:75, 25:95])  # 87.5 % of 80 is 70: nothing is resized
    assert target == 1


def test_training_flips_half_and_moves_colours(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = (200, 60, 20)
    one = transform.Training(written(tmp_path, encoded(pixels)), 16)
    draws = np.random.default_rng(1)
    found = [one(("x.jpg", np.int32(0)), draws)[0].astype(float) for _ in range(200)]
    reds = np.array([image.max() for image in found])
    assert reds.std() > 10
    lefts = [image[:, :2].mean() - image[:, -2:].mean() for image in found]
    assert np.mean(np.array(lefts) > 1) == pytest.approx(np.mean(np.array(lefts) < -1), abs=0.15)


# --- batches ------------------------------------------------------------------------------------------------------


HERE = Workers(threads=0)


def taken(root: Path, count: int, *, seed: int = 3, position: int = 0, workers: Workers = HERE) -> list[Batch]:
    stream = Stream(listed(root), side=8, batch=4, seed=seed, position=position, workers=workers)
    try:
        assert stream.position == position
        batches = [next(stream) for _ in range(count)]
        assert stream.position == position + count
        return batches
    finally:
        stream.close()


def same(ones: list[Batch], others: list[Batch]) -> bool:
    return all(
        np.array_equal(a.images, b.images) and np.array_equal(a.targets, b.targets)
        for a, b in zip(ones, others, strict=True)
    )


@pytest.mark.usefixtures("grain")
def test_a_batch_is_a_function_of_seed_and_position(tmp_path: Path) -> None:
    root = pets(tmp_path)
    whole = taken(root, 7)
    assert whole[0].images.shape == (4, 8, 8, 3)
    assert whole[0].targets.dtype == np.int32
    assert same(whole, taken(root, 7, workers=Workers(threads=3)))
    assert same(whole[4:], taken(root, 3, position=4, workers=Workers(threads=2)))
    assert not same(whole, taken(root, 7, seed=4))


@pytest.mark.slow
@pytest.mark.usefixtures("grain")
def test_processes_give_the_same_batches(tmp_path: Path) -> None:
    root = pets(tmp_path)
    assert same(taken(root, 7)[2:], taken(root, 5, position=2, workers=Workers(threads=1, processes=2)))


@pytest.mark.usefixtures("grain")
def test_every_picture_comes_once_an_epoch_in_a_new_order(tmp_path: Path) -> None:
    files = {f"{split}/{i:02}/0.png": encoded(picture(i)) for split in ("train", "test") for i in range(12)}
    whole = taken(folder_of(tmp_path, files), 6)
    places = np.concatenate([batch.targets for batch in whole]).tolist()  # a class a picture
    epochs = [places[:12], places[12:]]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.usefixtures("grain")
def test_evaluation_shows_every_test_picture_once_in_full_batches(tmp_path: Path) -> None:
    listing = listed(pets(tmp_path, test=3))
    found = list(evaluation(listing, side=8, batch=4, workers=Workers(2)))
    assert [count for _, count in found] == [4, 2]
    assert [batch.images.shape for batch, _ in found] == [(4, 8, 8, 3)] * 2
    assert np.concatenate([b.targets[:count] for b, count in found]).tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(found[1][0].images[2], found[1][0].images[0])
    spread = list(evaluation(listing, side=8, batch=4, pictures=2, workers=Workers(0)))
    assert spread[0][0].targets[:2].tolist() == [0, 1]


@pytest.mark.usefixtures("grain")
@pytest.mark.parametrize("threads", [0, 2])
def test_a_damaged_picture_ends_the_stream_in_a_line(threads: int, tmp_path: Path) -> None:
    root = pets(tmp_path)
    (root / "train/ant/1.jpg").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"'train/ant/1\.jpg' in it is not a whole JPEG") as caught:
        taken(root, 3, workers=Workers(threads))
    assert "\n" not in str(caught.value)


def test_without_grain_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(InputError, match=r"pip install 'dsresearch\[imagenet\]'"):
        taken(pets(tmp_path), 1)


# --- pictures made large ------------------------------------------------------------------------------------------


def test_enlarged_pictures_say_so(tmp_path: Path) -> None:
    to = tmp_path / "large"
    label = enlarge(pets(tmp_path / "small"), to, side=48, train=2, test=1)
    assert label == "small, enlarged from 30/31 to 48 px"  # the longer sides of the first two of each class
    assert label_of(to) == label
    found = listed(to)
    assert [len(found.files[split]) for split in ("train", "test")] == [4, 2]
    with Image.open(to / found.files["train"][0]) as image:
        assert (image.size, image.format) == ((48, 48), "JPEG")
    with pytest.raises(InputError, match="it exists"):
        enlarge(tmp_path / "small", to, side=48, train=2, test=1)


def test_two_pictures_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    """1.png and 1.jpg would both become 1.jpg."""
    root = folder_of(tmp_path / "small", {f"train/ant/1.{kind}": encoded(picture(0)) for kind in ("png", "jpg")})
    with pytest.raises(InputError, match="two pictures train/ant/1, allowed: one of a name"):
        enlarge(root, tmp_path / "large", side=48, train=9, test=9)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="has no pictures"):
        enlarge(tmp_path / "nothing", tmp_path / "large", side=48, train=9, test=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nothing", "small"]


def test_nothing_is_left_of_an_enlargement_that_failed(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "small", {"train/ant/1.png": encoded(picture(0)), "train/ant/2.png": b"damaged"})
    with pytest.raises(InputError, match="not a whole JPEG or PNG"):
        enlarge(root, tmp_path / "large", side=48, train=9, test=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small"]


def test_a_folder_without_a_label_goes_by_its_name(tmp_path: Path) -> None:
    root = pets(tmp_path / "mine")
    assert label_of(root) == "mine"
    (root / ".label").write_bytes(b"\x1b[31mred\n")
    assert label_of(root) == "mine"
