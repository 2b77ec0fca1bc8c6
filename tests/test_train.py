"""Training is a pure fold: it can stop anywhere and go on, its keys have meanings, and it learns what can be learnt."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsresearch.checkpoint import Checkpoints
from dsresearch.design import Recipe, setup
from dsresearch.networks.build import Network
from dsresearch.networks.darknet import Darknet
from dsresearch.networks.stack import Stack
from dsresearch.optimiser import schedule_of
from dsresearch.studies.recipes import RECIPES
from dsresearch.train import Pictures, Program, State, Trial, crop_flip, stacked
from dsresearch.trials import tree_sha256

N_TRAIN, N_TEST = 96, 40
EPOCHS = 4


def program(arm: str = "separable", **changes: Any) -> Program:
    recipe = Recipe(**{"epochs": EPOCHS, "batch": 16, **changes.pop("recipe", {})})
    return Program(
        Stack(setup(arm, width=8, depth=1), 10), recipe, N_TRAIN, **{"augmentation": "none", **changes}
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Noise with a bright row that tells the class: learnable, and different in every picture."""
    rng = np.random.default_rng(0)
    labels = np.arange(N_TRAIN + N_TEST, dtype=np.int32) % 8
    images = rng.integers(0, 60, (len(labels), 8, 8, 1))
    images[np.arange(len(labels)), labels] += 150
    return Pictures(jnp.asarray(images, jnp.uint8), jnp.asarray(labels))


def trial(number: int = 0) -> Trial:
    order = np.random.default_rng(number).permutation(N_TRAIN + N_TEST).astype(np.int32)
    keys = jax.random.key(10 + number), jax.random.key(20 + number)
    return Trial(jnp.asarray(order[:N_TRAIN]), jnp.asarray(order[N_TRAIN:]), *keys)


def started(one: Program, number: int = 0) -> State:
    return one.initial(*one.run_draw(jax.random.key(number), (8, 8, 1)))


def copied(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


@pytest.fixture(scope="module")
def compiled() -> Program:
    return program()


def test_resuming_from_a_checkpoint_goes_on_to_the_bit(compiled: Program, pictures: Pictures, tmp_path: Path) -> None:
    """Against the continuation of the same run, not against a second run."""
    kept = Checkpoints(tmp_path)
    rows, states = [], {}
    for epoch, state, row in compiled.fold(started(compiled), trial(), pictures, range(EPOCHS)):
        kept.save(0, epoch + 1, state)
        rows.append(jax.tree.map(np.asarray, row))
        states[epoch + 1] = tree_sha256(state)
    done, state = kept.newest(0, started(compiled)) or (0, None)
    assert done == EPOCHS
    kept_folders = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(kept_folders) == 2
    for file in kept_folders[-1].rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    done, state = kept.newest(0, started(compiled)) or (0, None)
    assert done == EPOCHS - 1
    assert tree_sha256(state) == states[done]
    for epoch, after, row in compiled.fold(state, trial(), pictures, range(done, EPOCHS)):
        assert tree_sha256(after) == states[epoch + 1]
        assert all(np.array_equal(a, b) for a, b in zip(row, rows[epoch], strict=True))


def test_the_order_of_an_epoch_depends_on_the_epoch_alone(compiled: Program, pictures: Pictures) -> None:
    """Epoch 3 from a given state is the same whether epochs 0 to 2 were run in this process or not."""
    state = started(compiled)
    first = [tree_sha256(s) for _, s, _ in compiled.fold(copied(state), trial(), pictures, range(3, 4))]
    for _ in compiled.fold(copied(state), trial(), pictures, range(2)):
        pass
    again = [tree_sha256(s) for _, s, _ in compiled.fold(copied(state), trial(), pictures, range(3, 4))]
    other = [tree_sha256(s) for _, s, _ in compiled.fold(copied(state), trial(), pictures, range(2, 3))]
    assert first == again != other


def test_permuting_the_test_set_changes_no_prediction(compiled: Program, pictures: Pictures) -> None:
    state = next(compiled.fold(started(compiled), trial(), pictures, range(1)))[1]
    test = np.asarray(trial().test)
    shuffled = np.random.default_rng(3).permutation(len(test))
    straight = compiled.run_predict(state, jnp.asarray(test), pictures)
    mixed = compiled.run_predict(state, jnp.asarray(test[shuffled]), pictures)
    for one, other in zip(straight, mixed, strict=True):
        assert np.array_equal(np.asarray(one)[shuffled], np.asarray(other))


def test_a_last_batch_that_is_not_full_counts_as_it_is(
    compiled: Program, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = next(compiled.fold(started(compiled), trial(), pictures, range(1)))[1]
    whole = compiled.score(state, trial().test, pictures)
    monkeypatch.setattr("dsresearch.train.EVALUATION_BATCH", 7)
    batched = compiled.score(state, trial().test, pictures)
    predicted = compiled.predict(state, trial().test, pictures).predicted
    assert int(whole[0]) == int(batched[0]) == int((predicted != pictures.labels[trial().test]).sum())
    assert float(whole[1]) == pytest.approx(float(batched[1]), rel=1e-5)


def test_predictions_say_what_the_logits_say(compiled: Program, pictures: Pictures) -> None:
    state = next(compiled.fold(started(compiled), trial(), pictures, range(1)))[1]
    said = compiled.predict(state, trial().test, pictures)
    logits = np.asarray(compiled.logits(state.params, state.stats, pictures.images[trial().test]), np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    labels = np.asarray(pictures.labels[trial().test])
    true = p[np.arange(len(p)), labels]
    other = np.where(np.arange(10) == labels[:, None], -1, p).max(1)
    np.testing.assert_allclose(said.p_true, true, atol=1e-5)
    np.testing.assert_allclose(said.margin, true - other, atol=1e-5)


def test_it_learns_what_a_row_of_pixels_tells(pictures: Pictures) -> None:
    one = program(recipe={"epochs": 12})
    *_, (_, state, row) = one.fold(started(one), trial(), pictures, range(12))
    assert int(row.test_wrong) == 0
    assert int(state.step) == 12 * (N_TRAIN // 16)
    assert float(row.train_loss) < 0.2


def test_the_learning_rate_rises_and_falls_as_optax_has_it() -> None:
    one = program()
    steps = one.steps_an_epoch * EPOCHS
    rise = round(0.2 * steps)
    ours = np.array([float(one.schedule(jnp.asarray(step))) for step in range(steps)])
    np.testing.assert_allclose(ours[:rise], 0.1 * np.arange(1, rise + 1) / rise, rtol=1e-6)
    assert ours.max() == pytest.approx(0.1)
    cosine = optax.cosine_decay_schedule(0.1, steps - rise)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(ours[rise:], [float(cosine(s)) for s in range(steps - rise)], atol=1e-8)


def test_weight_decay_is_on_kernels_alone(pictures: Pictures) -> None:
    """With a rate so small that gradients do nothing, one step's change shows who is decayed."""
    lazy = program(recipe={"rate": 1.0, "decay": 0.5, "momentum": 0.0, "schedule": "constant"})
    state = started(lazy)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = lazy.optimiser.update(zeros, state.optimiser, state.params)
    for update, weight in zip(jax.tree.leaves(updates), jax.tree.leaves(state.params), strict=True):
        expected = -0.5 * weight if weight.ndim > 1 else jnp.zeros_like(weight)
        np.testing.assert_allclose(update, expected, atol=1e-7)


def test_trials_side_by_side_are_the_trials_one_by_one_within_rounding(pictures: Pictures) -> None:
    """Same batches and same start; bits may differ, and chaos makes of it what it makes of any rounding."""
    alone, both = program(recipe={"epochs": 1}), program(recipe={"epochs": 1}, trial_batch=2)
    single = [next(alone.fold(started(alone, n), trial(n), pictures, range(1)))[2] for n in (0, 1)]
    together = next(
        both.fold(stacked([started(alone, n) for n in (0, 1)]), stacked([trial(0), trial(1)]), pictures, range(1))
    )[2]
    for n in (0, 1):
        assert float(together.train_loss[n]) == pytest.approx(float(single[n].train_loss), rel=1e-4)
        assert float(together.param_norm[n]) == pytest.approx(float(single[n].param_norm), rel=1e-4)
    assert float(single[0].train_loss) != float(single[1].train_loss)


def test_bfloat16_is_for_activations_alone(pictures: Pictures) -> None:
    half, full = program(recipe={"dtype": "bfloat16"}), program()
    _, state, row = next(half.fold(started(half), trial(), pictures, range(1)))
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.stats))} == {jnp.dtype("float32")}
    reference = next(full.fold(started(full), trial(), pictures, range(1)))[2]
    assert float(row.train_loss) == pytest.approx(float(reference.train_loss), rel=0.05)
    assert float(row.train_loss) != float(reference.train_loss)


def test_every_convolution_op_of_the_cpu_program_is_of_the_fast_form(pictures: Pictures) -> None:
    """Of another form XLA:CPU runs one in a loop tens of times slower than outside."""
    for arm in ("separable", "inception", "resnext"):
        one = program(arm)
        text = one.run_epoch.lower(started(one), jnp.asarray(0), trial(), pictures).as_text()
        ops = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        assert bool(ops) == (arm == "inception"), arm  # elsewhere filters read few channels of a small network
        for op in ops:
            assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in op
            assert "batch_group_count = 1 : i64, feature_group_count = 1 : i64" in op
            assert "lhs_dilate = [1, 1]" in op or "lhs_dilate" not in op


def test_crops_come_from_the_padded_picture_and_half_are_mirrored() -> None:
    images = jnp.asarray(np.random.default_rng(0).integers(1, 255, (64, 8, 8, 3)), jnp.uint8)
    out = np.asarray(crop_flip(jax.random.key(0), images))
    padded = np.pad(np.asarray(images), ((0, 0), (4, 4), (4, 4), (0, 0)))
    flipped = 0
    places = set()
    for picture, cropped in zip(padded, out, strict=True):
        crops = {
            (i, j, f): picture[i : i + 8, j : j + 8][:, :: -1 if f else 1]
            for i in range(9)
            for j in range(9)
            for f in (0, 1)
        }
        found = [place for place, crop in crops.items() if np.array_equal(crop, cropped)]
        assert len(found) == 1
        flipped += found[0][2]
        places.add(found[0][:2])
    assert 16 < flipped < 48
    assert len(places) > 32
    assert np.array_equal(out, crop_flip(jax.random.key(0), images))
    assert not np.array_equal(out, crop_flip(jax.random.key(1), images))


def test_one_epoch_is_what_it_was(compiled: Program, pictures: Pictures) -> None:
    """Golden. If a change of meaning is intended (initialisation, order of data, optimiser), print the row and put it
    here with a line in CHANGELOG.md, for every stored study is then of another kind. If none is, this is a bug: a
    speed-up or a new library may move the last digits (the tolerance), not the numbers.
    """
    row = next(compiled.fold(started(compiled), trial(), pictures, range(1)))[2]
    got = {name: float(value) for name, value in row._asdict().items()}
    assert got == pytest.approx(GOLDEN, rel=2e-4), got


GOLDEN = {
    "step": 6.0,
    "rate": 0.1,
    "train_loss": 2.245310,
    "train_wrong": 81.0,
    "test_wrong": 36.0,
    "test_nll": 2.616146,
    "grad_norm": 1.019257,
    "param_norm": 16.32243,
}


def test_the_xception_papers_rates_fall_by_epochs_and_by_pictures() -> None:
    by_epochs = schedule_of(Recipe(**RECIPES["xception_imagenet"]), steps_an_epoch=7)
    by_pictures = schedule_of(Recipe(batch=64, **RECIPES["xception_jft"]), steps_an_epoch=7)
    for step in (0, 13, 14, 27, 28, 140):
        assert float(by_epochs(jnp.asarray(step))) == pytest.approx(0.045 * 0.94 ** (step // 14), rel=1e-6)
    for step in (0, 46_874, 46_875, 93_750):  # 3,000,000 pictures are 46,875 steps of 64
        assert float(by_pictures(jnp.asarray(step))) == pytest.approx(0.001 * 0.9 ** (step // 46_875), rel=1e-6)


def test_evaluation_is_of_the_polyak_average(pictures: Pictures) -> None:
    """Against TensorFlow's formula, step by step: every epoch is one step, so every state is seen."""
    one = program(recipe={"epochs": 5, "batch": N_TRAIN, "polyak": 0.3})
    first = started(one)
    average = jax.tree.map(np.asarray, (first.params, first.stats))
    for epoch, state, row in one.fold(started(one), trial(), pictures, range(5)):
        kept = min(0.3, (1 + epoch + 1) / (10 + epoch + 1))
        newest = (state.params, state.stats)
        average = jax.tree.map(lambda a, w, kept=kept: kept * a + (1 - kept) * np.asarray(w), average, newest)
        last = row
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one.evaluated(state), average)
    with_average = one.logits(*average, pictures.images[trial().test])
    assert int((with_average.argmax(1) != pictures.labels[trial().test]).sum()) == int(last.test_wrong)
    assert not np.allclose(with_average, one.logits(*newest, pictures.images[trial().test]), rtol=1e-2)


def test_what_is_dropped_depends_on_trial_epoch_and_step_alone(pictures: Pictures) -> None:
    network = Network(Darknet(stages=(((3, 8),),), dropout=0.5, image=8, channels=1, classes=10))
    one = Program(network, Recipe(epochs=2, batch=16), N_TRAIN, "none")
    state = started(one)
    images, labels = pictures.images[:16], pictures.labels[:16]

    def loss(epoch: int, step: int, drawn: Trial) -> float:
        taught = one.taught(state, drawn, jnp.asarray(epoch), jnp.asarray(step), images, labels)
        return float(taught[1][0])

    assert loss(1, 2, trial()) == loss(1, 2, trial())
    assert len({loss(1, 2, trial()), loss(2, 1, trial()), loss(1, 3, trial()), loss(1, 2, trial(1))}) == 4
    logits = one.logits(state.params, state.stats, images)
    np.testing.assert_array_equal(logits, one.logits(state.params, state.stats, images))
