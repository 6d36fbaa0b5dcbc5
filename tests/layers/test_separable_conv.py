"""The normalised separable convolution: by hand, and as the operation it is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax import ops
from segjax.layers import SeparableConv


def _image(channels=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 9, channels)), jnp.float32)


@pytest.mark.parametrize('options', [{}, {'stride': 2, 'padding': 1}, {'dilation': 2}])
def test_with_fresh_statistics_and_no_relu_it_is_the_operation(options):
    layer = SeparableConv(5, activate=False, bn_epsilon=0.0, **options)
    x = _image()
    variables = layer.init(jax.random.key(0), x, False)
    kernels = [variables['params'][half]['kernel'] for half in ('depthwise', 'pointwise')]
    expected = ops.separable_conv(x, *kernels, **options)
    np.testing.assert_allclose(layer.apply(variables, x, False), expected, atol=1e-5)


def test_both_halves_are_normalised_and_activated_by_hand():
    """One pixel, one channel: 3 * 2 - 1 = 5, 5 * -1 + 4 < 0."""
    layer = SeparableConv(1, kernel=1, bn_epsilon=0.0)
    kernel = lambda value: {'kernel': jnp.full((1, 1, 1, 1), value, jnp.float32)}
    norm = lambda bias: {'scale': jnp.ones(1), 'bias': jnp.full(1, bias, jnp.float32)}
    params = {
        'depthwise': kernel(2),
        'depthwise_bn': norm(-1),
        'pointwise': kernel(-1),
        'pointwise_bn': norm(4),
    }
    half = {'mean': jnp.zeros(1), 'var': jnp.ones(1)}
    variables = {
        'params': params,
        'batch_stats': {name: half for name in ('depthwise_bn', 'pointwise_bn')},
    }
    x = jnp.full((1, 1, 1, 1), 3, jnp.float32)
    assert layer.apply(variables, x, False).item() == 0
    assert layer.clone(activate=False).apply(variables, x, False).item() == -1
    # Of -3 the first ReLU leaves nothing, so that the second half gives its bias.
    assert layer.apply(variables, -x, False).item() == 4


def test_training_reaches_every_parameter_and_statistic():
    layer, x = SeparableConv(4, activate=False), _image()
    variables = layer.init(jax.random.key(0), x, False)

    def loss(params):
        y, updates = layer.apply({**variables, 'params': params}, x, True, mutable=['batch_stats'])
        return jnp.sum(jnp.sin(y)), updates['batch_stats']

    gradient, after = jax.grad(loss, has_aux=True)(variables['params'])
    assert all(np.any(leaf) for leaf in flatten_dict(gradient).values())
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), variables['batch_stats'], after)
    assert jax.tree.all(changed)
