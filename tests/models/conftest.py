"""Values for the variables of any model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict


@pytest.fixture(scope='session')
def shapes():
    """`shapes(model, image_shape)`: the variables of a model, flat, without computing any."""

    @functools.cache
    def of(model, image_shape):
        image = jnp.zeros(image_shape)
        init = lambda key: model.init(key, image, train=False)
        return flatten_dict(jax.eval_shape(init, jax.random.key(0)), sep='/')

    return of


@pytest.fixture
def draw(shapes):
    """`draw(model, image_shape)`: random variables, none of them zero, kernels as He's."""

    def value(rng, path, shape):
        if 'upscore' in path:
            return 0.4 * rng.normal(size=shape)  # 4 of the taps reach a pixel
        if path.endswith('kernel'):
            return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        if path.endswith(('scale', 'var')):
            return rng.uniform(0.5, 1.5, shape)
        return 0.2 * rng.normal(size=shape)

    def of(model, image_shape):
        rng = np.random.default_rng(0)
        flat = {
            path: jnp.asarray(value(rng, path, leaf.shape), jnp.float32)
            for path, leaf in shapes(model, image_shape).items()
        }
        return unflatten_dict(flat, sep='/')

    return of
