"""What the tests of all backbones do: shapes without computing, and random variables."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.layers import Conv


@pytest.fixture(scope='session')
def shapes():
    """`shapes(model)`: features and variables for an image of 101 x 70 pixels, as shapes."""

    @functools.cache
    def of(model):
        image = jax.ShapeDtypeStruct((1, 101, 70, 3), jnp.float32)
        init = lambda x: model.init_with_output(jax.random.key(0), x, train=False)
        return jax.eval_shape(init, image)

    return of


@pytest.fixture(scope='session')
def draw(shapes):
    """`draw(model)`: random weights and running statistics that keep the scale of numbers."""

    def value(rng, path, leaf):
        if path[-1].key in ('scale', 'var'):
            drawn = rng.uniform(0.5, 1.5, leaf.shape)
        elif path[-1].key in ('bias', 'mean'):
            drawn = rng.normal(0, 0.2, leaf.shape)
        else:
            drawn = rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:3])), leaf.shape)
        return drawn.astype(np.float32)

    def of(model):
        rng = np.random.default_rng(0)
        draw_one = functools.partial(value, rng)
        return jax.tree_util.tree_map_with_path(draw_one, shapes(model)[1])

    return of


@pytest.fixture(scope='session')
def fast_jit():
    """`jax.jit` without optimisation, which here takes longer than to compute."""
    return functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@pytest.fixture(scope='session')
def samplings():
    """`samplings(model)`: stride and dilation of every convolution wider than 1x1, by its name."""

    def of(model):
        found = {}

        def note(next_fun, args, kwargs, context):
            conv = context.module
            if isinstance(conv, Conv) and conv.kernel > 1:
                found['.'.join(conv.path)] = (conv.stride, conv.dilation)
                assert conv.padding == conv.dilation * (conv.kernel // 2)
            return next_fun(*args, **kwargs)

        image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        with nn.intercept_methods(note):
            jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
        return found

    return of
