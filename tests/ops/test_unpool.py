"""Unpooling by hand, then against loops; SegNet's sizes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

SQUARE = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)


def test_nearest_by_hand():
    y = ops.nearest_unpool(SQUARE)
    assert y[0, :, :, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    line = jnp.asarray([7, 8]).reshape(1, 1, 2, 1)  # labels may be moved as well as features
    assert ops.nearest_unpool(line, factor=3)[0, :, :, 0].tolist() == [[7, 7, 7, 8, 8, 8]] * 3


def test_bed_of_nails_by_hand():
    y = ops.bed_of_nails(SQUARE)
    assert y[0, :, :, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert ops.bed_of_nails(SQUARE[:, :1], factor=3)[0, :, :, 0].tolist() == [
        [1, 0, 0, 2, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_gradients_of_repeated_and_of_spread_pixels():
    weight = jnp.arange(16.0).reshape(1, 4, 4, 1)
    gradient = lambda f: jax.grad(lambda x: jnp.vdot(f(x), weight))(SQUARE)[0, :, :, 0].tolist()
    assert gradient(ops.nearest_unpool) == [[0 + 1 + 4 + 5, 18], [42, 50]]
    assert gradient(ops.bed_of_nails) == [[0, 2], [8, 10]]


def test_bed_of_nails_and_a_convolution_are_a_transposed_convolution():
    rng = np.random.default_rng(0)
    x, k = (
        jnp.asarray(rng.normal(size=shape).astype(np.float32))
        for shape in [(1, 3, 4, 2), (3, 3, 2, 5)]
    )
    nails = ops.bed_of_nails(x)[:, :-1, :-1]  # without the zeros behind the last nail
    y = ops.conv(nails, k[::-1, ::-1], padding=2)
    np.testing.assert_allclose(y, ops.conv_transpose(x, k, stride=2), rtol=1e-5, atol=1e-5)


# 1 2 | 6 3     5 at row 1, column 0 of its window; 6 at row 0, column 0;
# 5 3 | 2 1
# ----+----
# 1 2 | 2 1     7 at row 1, column 0; of the two 8 the first, at row 1, column 0
# 7 3 | 8 8
PICTURE = jnp.asarray([[1, 2, 6, 3], [5, 3, 2, 1], [1, 2, 2, 1], [7, 3, 8, 8]], jnp.float32)
PICTURE = PICTURE.reshape(1, 4, 4, 1)


def test_places_of_the_maxima_by_hand():
    y, indices = ops.max_pool_with_indices(PICTURE)
    assert y[0, :, :, 0].tolist() == [[5, 6], [7, 8]]
    assert indices.dtype == jnp.int8
    assert indices[0, :, :, 0].tolist() == [[2, 0], [2, 2]]


def test_new_numbers_are_put_at_the_places_by_hand():
    _, indices = ops.max_pool_with_indices(PICTURE)
    x = ops.max_unpool(SQUARE, indices, size=(4, 4))
    assert x[0, :, :, 0].tolist() == [[0, 0, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0], [3, 0, 4, 0]]


@pytest.mark.parametrize('rounding', ['floor', 'ceil'])
@pytest.mark.parametrize('window', [2, 3])
@pytest.mark.parametrize('size', [(6, 6), (5, 7)])
def test_pool_and_unpool_equal_the_loop(size, window, rounding):
    x = np.random.default_rng(0).integers(-4, 0, (2, *size, 3)).astype(np.float32)  # many ties
    y, indices = ops.max_pool_with_indices(jnp.asarray(x), window=window, rounding=rounding)
    restored = ops.max_unpool(y, indices, size=size, window=window)
    y, indices, expected = np.asarray(y), np.asarray(indices), np.zeros_like(x)
    for b, i, j, c in np.ndindex(y.shape):
        tile = x[b, i * window : (i + 1) * window, j * window : (j + 1) * window, c]
        first = np.unravel_index(np.argmax(tile), tile.shape)  # the first in row-major order
        assert indices[b, i, j, c] == first[0] * window + first[1]
        assert y[b, i, j, c] == tile.max()
        expected[b, i * window + first[0], j * window + first[1], c] = tile.max()
    np.testing.assert_array_equal(restored, expected)


def test_gradients_take_the_way_of_the_pixels():
    def squares(x):
        y, indices = ops.max_pool_with_indices(x)
        return jnp.sum(jnp.square(ops.max_unpool(y, indices, size=(4, 4))))

    gradient = jax.jit(jax.grad(squares))(PICTURE)[0, :, :, 0]
    # Twice each maximum where it lies; of two equal ones at the first alone.
    assert gradient.tolist() == [[0, 0, 12, 0], [10, 0, 0, 0], [0, 0, 0, 0], [14, 0, 16, 0]]


def _down_and_up(x, times):
    """As SegNet: every unpooling uses the places that the pooling of the same size has found."""
    steps = []
    for _ in range(times):
        size = x.shape[1:3]
        x, indices = ops.max_pool_with_indices(x, rounding='ceil')
        steps.append((size, indices))
    deepest = x
    for size, indices in reversed(steps):
        x = ops.max_unpool(x, indices, size=size)
    return deepest, x


def test_five_poolings_of_segnet_are_undone():
    image = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.float32)
    deepest, x = jax.eval_shape(partial(_down_and_up, times=5), image)
    assert deepest.shape == (1, 12, 15, 3)
    assert x.shape == image.shape


def test_every_maximum_of_maxima_returns_to_its_pixel():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 23, 30, 2)).astype(np.float32))
    deepest, x = jax.jit(partial(_down_and_up, times=2))(image)  # 23x30, 12x15, 6x8 and back
    np.testing.assert_array_equal(np.asarray(x)[np.asarray(x) != 0], np.asarray(image)[x != 0])
    assert np.count_nonzero(x) == deepest.size == 6 * 8 * 2


def test_bfloat16_stays_bfloat16():
    y, indices = ops.max_pool_with_indices(PICTURE.astype(jnp.bfloat16))
    assert y.dtype == ops.max_unpool(y, indices, size=(4, 4)).dtype == jnp.bfloat16


def test_sizes_that_no_pooling_gives_are_refused():
    y, indices = ops.max_pool_with_indices(PICTURE)
    assert ops.max_unpool(y, indices, size=(5, 3)).shape == (1, 5, 3, 1)  # rounded down and up
    with pytest.raises(ValueError, match='2x2 windows of 2 do not come from 6x4'):
        ops.max_unpool(y, indices, size=(6, 4))
    with pytest.raises(ValueError, match='at most 11'):
        ops.max_pool_with_indices(PICTURE, window=12)
