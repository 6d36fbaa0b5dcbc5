"""Dropout: rate, scale, and one mask whatever the devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax.layers import DATA_AXIS, Dropout

SHAPE = (16, 8, 8, 16)


@partial(jax.jit, static_argnums=2)
def _compiled(x, key, rate):
    return Dropout(rate).apply({}, x, train=True, rngs={'dropout': key})


def _drop(x, *, rate=0.3, seed=0):
    return _compiled(x, jax.random.key(seed), rate)


def test_kept_numbers_are_scaled_and_the_rest_is_zero():
    y = np.asarray(_drop(jnp.full(SHAPE, 7.0)))
    assert set(np.unique(y)) == {np.float32(0), np.float32(7) / np.float32(0.7)}


@pytest.mark.parametrize('rate', [0.3, 0.8])
def test_the_rate_is_respected(rate):
    y = np.asarray(_drop(jnp.ones(SHAPE), rate=rate))
    deviation = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - rate)  # the expectation is kept


def test_rows_and_keys_differ():
    ones = jnp.ones(SHAPE)
    y = np.asarray(_drop(ones))
    assert len({row.tobytes() for row in y}) == len(y)
    assert (y != np.asarray(_drop(ones, seed=1))).any()


def test_evaluation_and_rate_zero_change_nothing_and_need_no_key():
    x = jnp.arange(8.0).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, train=False), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, train=True), x)


def test_a_row_is_dropped_alike_in_batches_of_any_size():
    y = _drop(jnp.ones(SHAPE))
    np.testing.assert_array_equal(_drop(jnp.ones((3, *SHAPE[1:]))), y[:3])


def test_one_device_a_sharded_batch_and_pmap_drop_the_same_numbers():
    x = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    expected = np.asarray(_drop(x))
    mesh = Mesh(np.array(jax.devices()), (DATA_AXIS,), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(x, NamedSharding(mesh, P(DATA_AXIS)))
    np.testing.assert_array_equal(_drop(sharded), expected)
    mapped = jax.pmap(_drop, axis_name=DATA_AXIS)(x.reshape(8, 2, *SHAPE[1:]))
    np.testing.assert_array_equal(mapped.reshape(SHAPE), expected)


def test_the_gradient_passes_where_numbers_were_kept():
    x = jnp.ones((2, 4, 4, 8))
    y, vjp = jax.vjp(_drop, x)
    np.testing.assert_array_equal(vjp(jnp.ones_like(y))[0], y)  # y = x mask / keep with x = 1


def test_bfloat16_stays_bfloat16():
    assert _drop(jnp.ones((1, 2, 2, 2), jnp.bfloat16)).dtype == jnp.bfloat16
