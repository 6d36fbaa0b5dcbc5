"""Batch normalisation by hand, and over eight devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax.layers import DATA_AXIS, BatchNorm, FrozenBatchNorm


def _image(*values):
    return jnp.asarray(values, jnp.float32).reshape(len(values), 1, 1, 1)


def _variables(*, scale=1.0, bias=0.0, mean=0.0, var=1.0):
    number = lambda x: jnp.asarray([x], jnp.float32)
    return {
        'params': {'scale': number(scale), 'bias': number(bias)},
        'batch_stats': {'mean': number(mean), 'var': number(var)},
    }


def test_training_by_hand():
    norm = BatchNorm(epsilon=0.0)
    variables = _variables(scale=3.0, bias=1.0)
    y, updates = norm.apply(variables, _image(0, 4), train=True, mutable=['batch_stats'])
    assert y.ravel().tolist() == [-2, 4]  # mean 2, variance 4: 3 (-1, 1) + 1
    stats = updates['batch_stats']
    np.testing.assert_allclose(stats['mean'], [0.9 * 0 + 0.1 * 2], rtol=1e-6)
    np.testing.assert_allclose(stats['var'], [0.9 * 1 + 0.1 * 4], rtol=1e-6)


def test_evaluation_by_hand():
    variables = _variables(scale=2.0, bias=1.0, mean=3.0, var=4.0)
    norm = BatchNorm(epsilon=0.0)
    y, updates = norm.apply(variables, _image(7, -1), train=False, mutable=['batch_stats'])
    assert y.ravel().tolist() == [5, -3]  # 2 (x - 3) / 2 + 1
    jax.tree.map(np.testing.assert_array_equal, updates['batch_stats'], variables['batch_stats'])


def test_epsilon_and_momentum():
    norm = BatchNorm(momentum=0.5, epsilon=12.0)
    y, updates = norm.apply(_variables(), _image(0, 4), train=True, mutable=['batch_stats'])
    np.testing.assert_allclose(y.ravel(), [-0.5, 0.5], rtol=1e-6)  # 2 / sqrt(4 + 12)
    np.testing.assert_allclose(updates['batch_stats']['mean'], [1.0])
    np.testing.assert_allclose(updates['batch_stats']['var'], [2.5])


def test_running_averages_converge_to_the_statistics():
    norm, variables = BatchNorm(momentum=0.5), _variables()
    for _ in range(30):
        _, updates = norm.apply(variables, _image(1, 5), train=True, mutable=['batch_stats'])
        variables = {**variables, **updates}
    np.testing.assert_allclose(variables['batch_stats']['mean'], [3], rtol=1e-6)
    np.testing.assert_allclose(variables['batch_stats']['var'], [4], rtol=1e-6)  # the biased one


def test_initialisation_leaves_the_running_averages(key):
    variables = BatchNorm().init(key, _image(3, 9), train=True)
    jax.tree.map(np.testing.assert_array_equal, variables, _variables())


def test_each_channel_has_its_own_statistics():
    x = np.random.default_rng(0).normal([1.0, -5.0, 30.0], [1.0, 0.1, 7.0], (4, 5, 6, 3))
    variables = BatchNorm().init(jax.random.key(0), jnp.zeros((1, 1, 1, 3)), train=False)
    apply = BatchNorm().apply
    y, _ = apply(variables, jnp.asarray(x, jnp.float32), train=True, mutable=['batch_stats'])
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_a_large_mean_does_not_cancel_the_variance():
    x = _image(9999, 10001)
    y, _ = BatchNorm().apply(_variables(), x, train=True, mutable=['batch_stats'])
    np.testing.assert_allclose(y.ravel(), [-1, 1], atol=1e-3)


def test_bfloat16_keeps_statistics_and_parameters_in_float32(key):
    x = jnp.asarray(np.random.default_rng(0).normal(5, 1, (2, 4, 4, 3)), jnp.bfloat16)
    norm = BatchNorm(dtype='bfloat16')
    variables = norm.init(key, x, train=False)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    y, updates = norm.apply(variables, x, train=True, mutable=['batch_stats'])
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(
        updates['batch_stats']['mean'], 0.1 * exact.mean((0, 1, 2)), rtol=1e-5
    )
    expected = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.02)


class _Net(nn.Module):
    """Two normalisations with a nonlinearity between, so that gradients cross both statistics."""

    @nn.compact
    def __call__(self, x):
        x = BatchNorm(name='first')(x, train=True)
        return BatchNorm(name='second')(jnp.square(x) + x, train=True)


def _step(variables, x, g):
    """Output, statistics, and the gradients of the sum over this device's rows of y g."""

    def objective(params, x):
        apply = _Net().apply
        y, updates = apply({**variables, 'params': params}, x, mutable=['batch_stats'])
        return jnp.sum(jnp.sin(y) * g), (y, updates)

    grad = jax.grad(objective, argnums=(0, 1), has_aux=True)
    (by_params, by_x), (y, updates) = grad(variables['params'], x)
    return y, by_x, updates['batch_stats'], by_params


@pytest.fixture(scope='module')
def one_device():
    """Inputs, and what one device makes of sixteen rows of unequal statistics."""
    rng = np.random.default_rng(0)
    x = rng.normal(np.arange(16.0).reshape(16, 1, 1, 1), 1.0, (16, 3, 4, 2)).astype(np.float32)
    g = rng.normal(size=x.shape).astype(np.float32)
    variables = _Net().init(jax.random.key(0), jnp.asarray(x))
    return variables, x, g, jax.jit(_step)(variables, jnp.asarray(x), jnp.asarray(g))


def _assert_close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-4), found, expected
    )


def test_pmap_over_eight_devices_equals_one_device(one_device):
    variables, x, g, (y, by_x, stats, by_params) = one_device
    cut = lambda a: jnp.asarray(a).reshape(8, 2, *a.shape[1:])
    step = jax.pmap(_step, axis_name=DATA_AXIS, in_axes=(None, 0, 0))
    y8, by_x8, stats8, by_params8 = step(variables, cut(x), cut(g))
    _assert_close(y8.reshape(y.shape), y)
    _assert_close(by_x8.reshape(by_x.shape), by_x)
    for device in range(8):
        _assert_close(jax.tree.map(lambda a, d=device: a[d], stats8), stats)
    _assert_close(jax.tree.map(lambda a: a.sum(0), by_params8), by_params)


def test_a_sharded_batch_equals_one_device(one_device):
    variables, x, g, expected = one_device
    mesh = Mesh(np.array(jax.devices()), (DATA_AXIS,), axis_types=(AxisType.Auto,))
    sharded = jax.device_put((x, g), NamedSharding(mesh, P(DATA_AXIS)))
    _assert_close(jax.jit(_step)(variables, *sharded), expected)


def test_frozen_normalisation_by_hand():
    """Its vectors are no parameters, and training changes none of them."""
    norm = FrozenBatchNorm(epsilon=0.0)
    assert set(norm.init(jax.random.key(0), _image(7, -1), train=True)) == {'frozen'}
    given = _variables(scale=2.0, bias=1.0, mean=3.0, var=4.0)
    frozen = {'frozen': given['params'] | given['batch_stats']}
    y, updates = norm.apply(frozen, _image(7, -1), train=True, mutable=['frozen'])
    assert y.ravel().tolist() == [5, -3]  # 2 (x - 3) / 2 + 1
    jax.tree.map(np.testing.assert_array_equal, dict(updates), frozen)
