"""The optimisers of the Xception paper against PyTorch and the published formulas in plain loops."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsresearch import optimiser
from dsresearch.design import Recipe
from dsresearch.design.recipe import OPTIMISERS


def followed(transformation: optax.GradientTransformation, gradients: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Weights after following a list of gradients of one kernel."""
    weights = {"kernel": jnp.asarray(start)}
    state = transformation.init(weights)
    for gradient in gradients:
        updates, state = transformation.update({"kernel": jnp.asarray(gradient)}, state, weights)
        weights = optax.apply_updates(weights, updates)
    return np.asarray(weights["kernel"])


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    return draws.normal(size=(7, 3, 4)).astype(np.float32), draws.normal(size=(3, 4)).astype(np.float32)


def test_staircase_is_the_rate_of_both_recipes() -> None:
    imagenet = optimiser.staircase(0.045, 0.94, every=10)
    assert [float(imagenet(jnp.asarray(s))) for s in (0, 9, 10, 29)] == pytest.approx(
        [0.045, 0.045, 0.045 * 0.94, 0.045 * 0.94**2]
    )


@pytest.mark.parametrize(("name", "nesterov"), [("momentum", False), ("sgd", True)])
def test_sgd_is_pytorchs(drawn: tuple[np.ndarray, np.ndarray], name: str, nesterov: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle; install the extra `peers`")
    gradients, start = drawn
    weights = torch.nn.Parameter(torch.tensor(start))
    theirs = torch.optim.SGD([weights], lr=0.045, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    falling = torch.optim.lr_scheduler.StepLR(theirs, step_size=2, gamma=0.94)
    for gradient in gradients:
        weights.grad = torch.tensor(gradient)
        theirs.step()
        falling.step()
    recipe = Recipe(optimiser=name, momentum=0.9, decay=1e-2)
    ours = optimiser.optimiser_of(recipe, optimiser.staircase(0.045, 0.94, 2))
    np.testing.assert_allclose(followed(ours, gradients, start), weights.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["momentum", "sgd"])
def test_momentum_is_plain_and_of_sgd_nesterovs(drawn: tuple[np.ndarray, np.ndarray], name: str) -> None:
    """Nesterov's looks one step of the velocity ahead (Sutskever et al. 2013, as PyTorch writes it)."""
    gradients, start = drawn
    weights, velocity = start.astype(np.float64), np.zeros((3, 4))
    for step, gradient in enumerate(gradients):
        gradient = gradient + 1e-2 * weights
        velocity = 0.9 * velocity + gradient
        ahead = gradient + 0.9 * velocity if name == "sgd" else velocity
        weights = weights - 0.045 * 0.94 ** (step // 2) * ahead
    recipe = Recipe(optimiser=name, momentum=0.9, decay=1e-2)
    ours = optimiser.optimiser_of(recipe, optimiser.staircase(0.045, 0.94, 2))
    np.testing.assert_allclose(followed(ours, gradients, start), weights, rtol=1e-5)


def test_rmsprop_is_kerass_formula(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """`update_step` of keras/src/optimizers/rmsprop.py as a loop in float64, with the L2 term in the gradient."""
    gradients, start = drawn
    weights, squares, velocity = start.astype(np.float64), np.zeros((3, 4)), np.zeros((3, 4))
    for step, gradient in enumerate(gradients):
        gradient = gradient + 1e-2 * weights
        squares = 0.9 * squares + (1 - 0.9) * gradient**2
        velocity = 0.9 * velocity + 0.1 * 0.9 ** (step // 3) * gradient / np.sqrt(squares + 1e-7)
        weights = weights - velocity
    recipe = Recipe(optimiser="rmsprop", momentum=0.9, decay=1e-2)
    ours = optimiser.optimiser_of(recipe, optimiser.staircase(0.1, 0.9, 3))
    np.testing.assert_allclose(followed(ours, gradients, start), weights, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_only_kernels_decay(name: str) -> None:
    weights = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    recipe = Recipe(optimiser=name, momentum=0.0, decay=0.5)
    ours = optimiser.optimiser_of(recipe, optimiser.staircase(1.0, 1.0, 1))
    updates, _ = ours.update({"kernel": jnp.zeros((2, 2)), "scale": jnp.zeros(2)}, ours.init(weights), weights)
    step = -0.5 if name != "rmsprop" else -0.5 / np.sqrt(0.1 * 0.5**2 + 1e-7)
    assert float(updates["kernel"][0, 0]) == pytest.approx(step, rel=1e-5)
    assert float(updates["scale"][0]) == 0.0


def test_polyak_is_tensorflows_moving_average() -> None:
    """`tf.train.ExponentialMovingAverage`: decay min(0.99, (1 + n) / (10 + n)) at step n."""
    average = expected = np.float64(5.0)
    tree = {"w": jnp.asarray([5.0])}
    for step, new in enumerate((1.0, 2.0, 3.0, 4.0), 1):
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * new
        tree = optimiser.polyak(tree, {"w": jnp.asarray([new])}, jnp.asarray(step), 0.99)
    assert float(tree["w"][0]) == pytest.approx(expected, rel=1e-6)
    assert expected != average
