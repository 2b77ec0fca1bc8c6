"""How near a formulation comes to another's map by fitting: numerical evidence, where no bound decides.

Fitted is a small part of a module: one output pixel, two output channels, pictures that are zero in all but three input
channels. What no parameters can reach in a part, they cannot reach in the whole.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

from dsresearch.design import Design
from dsresearch.exactness.measure import Floats, compiled_in_float64, leaves, random_weights
from dsresearch.modules import SeparableModule

INPUTS, OUTPUTS, PICTURES = 3, 2, 160
STARTS, STEPS = 16, 80
FOUND = 1e-6  # a fit that comes so near has found the map
MISSED = 1e-2  # and one that stays so far, from every start, has not; local minima lie in between


def pictures(c_in: int, side: int, rng: np.random.Generator) -> Floats:
    """Pictures [PICTURES, side, side, c_in] that are zero in all but the first channels."""
    images = np.zeros((PICTURES, side, side, c_in))
    scale = (c_in / INPUTS) ** 0.5  # so that sums over channels are as large as with all of them, and no unit is dead
    images[..., :INPUTS] = scale * rng.standard_normal(images[..., :INPUTS].shape)
    return images


class Part:
    """The first output channels of a module at the centre of some pictures, as a function of its parameters alone."""

    def __init__(self, design: Design, c_out: int, images: Floats, rng: np.random.Generator) -> None:
        self._network = SeparableModule(design, c_out)
        self._draw = lambda: random_weights(design, images.shape[3], c_out, rng)
        self._images = images
        self._params, self._stats = self._draw()
        flat = self.random()
        self._outputs = compiled_in_float64(jax.vmap(self._of_one, (None, 0)), flat, images)
        self._jacobian = compiled_in_float64(jax.vmap(jax.jacrev(self._of_one), (None, 0)), flat, images)
        # The other parameters, of other outputs or of inputs that are zero, do not reach this part.
        self._active = np.flatnonzero(np.abs(self._jacobian(flat, images)).sum((0, 1)))

    def random(self) -> Floats:
        """Random parameters, flat."""
        return np.concatenate([leaf.ravel() for leaf in leaves(self._draw()[0])])

    def own_map(self) -> Floats:
        """What the formulation computes with random weights, [PICTURES, OUTPUTS]."""
        return np.asarray(self._outputs(self.random(), self._images))

    def miss(self, target: Floats) -> float:
        """The smallest relative distance from a target [PICTURES, OUTPUTS] to which least squares gets."""
        base = self.random()

        def full(theta: Floats) -> Floats:
            changed = base.copy()
            changed[self._active] = theta
            return changed

        best = np.inf
        for _ in range(STARTS):
            found = least_squares(
                lambda theta: (self._outputs(full(theta), self._images) - target).ravel(),
                self.random()[self._active],
                lambda theta: self._jacobian(full(theta), self._images)[..., self._active].reshape(target.size, -1),
                method="lm",
                max_nfev=STEPS,
            )
            best = min(best, float(np.linalg.norm(found.fun) / np.linalg.norm(target)))
            if best < FOUND:
                break
        return best

    def _of_one(self, flat: jax.Array, image: jax.Array) -> jax.Array:
        """The outputs [OUTPUTS] on one picture [side, side, c_in]."""
        shapes, treedef = jax.tree.flatten(self._params)
        ends = np.cumsum([leaf.size for leaf in shapes])
        params = [flat[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(shapes, ends, strict=True)]
        variables = {"params": {"body": jax.tree.unflatten(treedef, params)}}
        if self._stats:
            variables["stats"] = {"body": jax.tree.map(jnp.asarray, self._stats)}
        y = self._network.apply(variables, image[None], False)
        centre = image.shape[0] // 2
        return jnp.asarray(y)[0, centre, centre, :OUTPUTS]
