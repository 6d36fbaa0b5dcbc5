"""Pooling: a 5 x 5 ramp by hand, then loops, XLA's own pooling and its gradient."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from segjax import ops

#  0  1  2  3  4
#  5  6  7  8  9
# 10 11 12 13 14
# 15 16 17 18 19
# 20 21 22 23 24
RAMP = jnp.arange(25.0).reshape(1, 5, 5, 1)

BY_HAND = {
    ('floor', 2, 2): [[6, 8], [16, 18]],
    ('ceil', 2, 2): [[6, 8, 9], [16, 18, 19], [21, 23, 24]],
    ('floor', 3, 2): [[12, 14], [22, 24]],
    ('ceil', 3, 2): [[12, 14], [22, 24]],
    ('floor', 2, 3): [[6, 9], [21, 24]],
    ('floor', 3, 3): [[12]],
    ('ceil', 3, 3): [[12, 14], [22, 24]],
}


@pytest.mark.parametrize('rounding, window, stride', BY_HAND)
def test_a_ramp_by_hand(rounding, window, stride):
    y = ops.max_pool(RAMP, window=window, stride=stride, rounding=rounding)
    assert y[0, :, :, 0].tolist() == BY_HAND[rounding, window, stride]


@pytest.mark.parametrize('rounding, window, stride', BY_HAND)
def test_the_gradient_of_a_ramp_falls_on_the_maxima(rounding, window, stride):
    pool = lambda x: ops.max_pool(x, window=window, stride=stride, rounding=rounding).sum()
    expected = np.zeros(25)
    np.add.at(expected, np.ravel(BY_HAND[rounding, window, stride]).astype(int), 1)
    np.testing.assert_array_equal(jax.grad(pool)(RAMP).ravel(), expected)


# Windows of 3 x 3 start at rows and columns -1, 1 and 3.
def test_a_padded_ramp_by_hand():
    y = ops.max_pool(RAMP - 30, window=3, stride=2, padding=1)  # negative: zeros would win
    assert (y[0, :, :, 0] + 30).tolist() == [[6, 8, 9], [16, 18, 19], [21, 23, 24]]


def _starts(n, window, stride, padding, rounding):
    """The first row of each window, counted in rows of the image."""
    starts = [-padding]
    while True:
        start, seen = starts[-1] + stride, starts[-1] + window
        fits = start + window <= n + padding
        hangs_over = rounding == 'ceil' and seen < n + padding and start < n
        if not (fits or hangs_over):
            return starts
        starts.append(start)


@pytest.mark.parametrize('rounding', ['floor', 'ceil'])
@pytest.mark.parametrize('window, stride, padding', [(3, 2, 1), (2, 2, 1), (3, 1, 1), (2, 3, 0)])
@pytest.mark.parametrize('size', [(5, 6), (3, 4)])
def test_padding_equals_the_loop(size, window, stride, padding, rounding):
    x = np.random.default_rng(0).normal(-9, 1, (2, *size, 3)).astype(np.float32)
    rows, columns = (_starts(n, window, stride, padding, rounding) for n in size)
    at = lambda i, j: x[:, max(i, 0) : i + window, max(j, 0) : j + window].max((1, 2))
    expected = np.stack([np.stack([at(i, j) for j in columns], 1) for i in rows], 1)
    pool = partial(ops.max_pool, window=window, stride=stride, padding=padding, rounding=rounding)
    np.testing.assert_array_equal(pool(jnp.asarray(x)), expected)


def test_padding_of_more_than_half_a_window_is_refused():
    with pytest.raises(ValueError, match='half of the window'):
        ops.max_pool(RAMP, window=3, padding=2)


def test_windows_over_the_edge_see_real_pixels_only():
    y = ops.max_pool(-RAMP - 1, rounding='ceil')  # all negative: a zero of padding would win
    assert y[0, :, :, 0].tolist() == [[-1, -3, -5], [-11, -13, -15], [-21, -23, -25]]


def test_of_equal_maxima_the_first_in_row_major_order_wins():
    x = jnp.asarray([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: ops.max_pool(x).sum())
    assert gradient(x)[0, :, :, 0].tolist() == [[0, 1], [0, 0]]
    assert gradient(jnp.ones_like(x))[0, :, :, 0].tolist() == [[1, 0], [0, 0]]


def _xla_pool(x, window, stride, rounding):
    over = [(window - n) % stride if rounding == 'ceil' else 0 for n in x.shape[1:3]]
    pads = ((0, 0), (0, over[0]), (0, over[1]), (0, 0))
    dims = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, *dims, pads)


@pytest.mark.parametrize('rounding', ['floor', 'ceil'])
@pytest.mark.parametrize('size', [(4, 6), (5, 6), (7, 7)])
def test_value_and_gradient_equal_those_of_xla(size, rounding):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 3, (2, *size, 3)).astype(np.float32))  # ties in most windows
    weight = rng.normal(size=_xla_pool(x, 2, 2, rounding).shape).astype(np.float32)

    @partial(jax.jit, static_argnums=0)
    def value_and_gradient(pool, x):
        y, vjp = jax.vjp(pool, x)
        return y, vjp(jnp.asarray(weight))

    found = value_and_gradient(lambda x: ops.max_pool(x, rounding=rounding), x)
    expected = value_and_gradient(lambda x: _xla_pool(x, 2, 2, rounding), x)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize('window, stride, padding', [(3, 2, 1), (3, 1, 1), (2, 3, 0), (3, 3, 0)])
def test_gradients_of_other_windows_equal_those_of_xla(window, stride, padding):
    x = np.random.default_rng(0).integers(0, 3, (2, 8, 7, 3)).astype(np.float32)
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    dims = (1, window, window, 1), (1, stride, stride, 1)
    pool = partial(ops.max_pool, window=window, stride=stride, padding=padding)
    xla = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *dims, pads)
    total = lambda pool: jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(pool(x) + 1))))
    found, expected = (total(f)(jnp.asarray(x)) for f in (pool, xla))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bfloat16_stays_bfloat16():
    x = RAMP.astype(jnp.bfloat16)
    for window in (2, 3):
        y, vjp = jax.vjp(lambda x, n=window: ops.max_pool(x, window=n, rounding='ceil'), x)
        assert y.dtype == vjp(y)[0].dtype == jnp.bfloat16


def test_under_jit_and_vmap():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 5, 4, 2)).astype(np.float32))
    pool = lambda x: ops.max_pool(x, rounding='ceil')
    total = jax.value_and_grad(lambda x: jnp.sum(jnp.square(pool(x))))
    together = jax.jit(jax.vmap(total))(x)
    for i, image in enumerate(x):
        value, gradient = jax.jit(total)(image)
        np.testing.assert_allclose(together[0][i], value, rtol=1e-6)
        np.testing.assert_array_equal(together[1][i], gradient)


# Windows of TensorFlow's 'SAME': 3 x 3 start at -1, 1, 3; 2 x 2 at 0, 2, 4 with the odd row behind.
def test_same_padding_by_hand():
    negative = RAMP - 30  # zeros would win
    pool = lambda window: ops.max_pool(negative, window=window, padding='same')[0, :, :, 0] + 30
    assert pool(3).tolist() == [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    assert pool(2).tolist() == [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    even = ops.max_pool(negative[:, :4], window=3, padding='same')  # rows 0 and 2: none in front
    assert (even[0, :, :, 0] + 30).tolist() == [[11, 13, 14], [16, 18, 19]]
    np.testing.assert_array_equal(ops.max_pool(RAMP, padding='valid'), ops.max_pool(RAMP))


def test_means_of_a_ramp_by_hand():
    assert ops.avg_pool(RAMP)[0, :, :, 0].tolist() == [[3, 5], [13, 15]]
    # Windows over the edge: the mean of the two pixels, of the one pixel, that they see.
    hanging = ops.avg_pool(RAMP, rounding='ceil')[0, :, :, 0]
    assert hanging.tolist() == [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]


def test_what_padding_counts_by_hand():
    ones = jnp.ones((1, 4, 4, 1))
    pool = partial(ops.avg_pool, ones, window=3, stride=2, padding=1, rounding='ceil')
    np.testing.assert_array_equal(pool(), np.ones((1, 3, 3, 1)))
    # Caffe and Torch: 9 pixels in a window, 4, 6 or 9 of them real. The last starts at row 3 and
    # ends with the padding at row 4: 2 rows counted, 1 real.
    line = np.asarray([2 / 3, 1, 1 / 2])
    y = pool(count_padding=True)[0, :, :, 0]
    np.testing.assert_allclose(y, np.outer(line, line), rtol=1e-6)


@pytest.mark.parametrize('count_padding', [False, True])
@pytest.mark.parametrize('rounding', ['floor', 'ceil'])
@pytest.mark.parametrize('window, stride, padding', [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 3, 1)])
@pytest.mark.parametrize('size', [(5, 6), (3, 4)])
def test_means_equal_the_loop(size, window, stride, padding, rounding, count_padding):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    rows, columns = (_starts(n, window, stride, padding, rounding) for n in size)
    y = ops.avg_pool(
        jnp.asarray(x),
        window=window,
        stride=stride,
        padding=padding,
        rounding=rounding,
        count_padding=count_padding,
    )
    assert y.shape == (2, len(rows), len(columns), 3)
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        seen = x[:, max(top, 0) : top + window, max(left, 0) : left + window]
        counted = seen.shape[1] * seen.shape[2]
        if count_padding:
            bottom, right = (
                min(n + window, end + padding) for n, end in zip((top, left), size, strict=True)
            )
            counted = (bottom - top) * (right - left)
        np.testing.assert_allclose(y[:, i, j], seen.sum((1, 2)) / counted, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_a_mean_is_shared_evenly():
    gradient = jax.grad(lambda x: ops.avg_pool(x, window=3, stride=2, padding='same').sum())
    # Row and column shares: windows see 2, 3 and 2 of the 5 rows; rows 1 and 3 lie in two of them.
    share = np.asarray([1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2])
    np.testing.assert_allclose(gradient(RAMP)[0, :, :, 0], np.outer(share, share), rtol=1e-6)


def test_means_of_bfloat16_are_added_up_in_float32():
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 14, 14, 3)), jnp.bfloat16)
    pool = partial(ops.avg_pool, window=14, stride=14)
    y, vjp = jax.vjp(pool, x)
    assert y.dtype == vjp(y)[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, pool(x.astype(jnp.float32)).astype(jnp.bfloat16))


@pytest.mark.parametrize(
    'pool',
    [
        ops.max_pool,
        partial(ops.max_pool, rounding='ceil'),
        partial(ops.max_pool, window=3, padding='same'),
        partial(ops.avg_pool, rounding='ceil'),
        partial(ops.avg_pool, window=3, padding=1),
    ],
)
def test_exported_for_any_size(pool):
    h, w = export.symbolic_shape('h, w')
    image = jax.ShapeDtypeStruct((1, h, w, 1), jnp.float32)
    exported = export.export(jax.jit(pool))(image)
    for size in [(5, 5), (4, 3)]:
        x = RAMP[:, : size[0], : size[1]]
        np.testing.assert_allclose(exported.call(x), pool(x), rtol=1e-6)
