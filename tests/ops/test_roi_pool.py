"""RoIPool and RoIWarp: a ramp by hand, then loops over bins."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

SETTINGS = ('output_size', 'spatial_scale')
roi_pool = jax.jit(ops.roi_pool, static_argnames=SETTINGS)
roi_warp = jax.jit(ops.roi_warp, static_argnames=SETTINGS)

#  0  1  2  3  4
#  5  6  7  8  9
# 10 11 12 13 14
# 15 16 17 18 19
# 20 21 22 23 24
RAMP = jnp.arange(25.0).reshape(5, 5, 1)
BOXES = [
    [8, 8, 24, 24],
    [5, 3, 50, 31],
    [-30, -9, 12, 60],  # beyond the map
    [70, 20, 90, 30],  # outside
    [20.4, 11.6, 20.5, 11.7],  # within a cell
]


def _round(x):
    return math.copysign(math.floor(abs(x) + 0.5), x)


def _corners(box, scale):
    x1, y1, x2, y2 = (_round(v * scale) for v in box)
    return x1, y1, max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)


def _pool(x, boxes, p, scale):
    out = np.zeros((len(boxes), p, p, x.shape[-1]))
    for n, box in enumerate(boxes):
        x1, y1, w, h = _corners(box, scale)
        for i, j in np.ndindex(p, p):
            top, bottom = (int(max(y1 + v, 0)) for v in (i * h // p, -(-(i + 1) * h // p)))
            left, right = (int(max(x1 + v, 0)) for v in (j * w // p, -(-(j + 1) * w // p)))
            cells = x[top:bottom, left:right].reshape(-1, x.shape[-1])
            out[n, i, j] = cells.max(0) if len(cells) else 0
    return out


def _warp(x, boxes, p, scale):
    h_map, w_map, c = x.shape
    out = np.zeros((len(boxes), p, p, c))
    for n, box in enumerate(boxes):
        x1, y1, w, h = _corners(box, scale)
        for i, j in np.ndindex(p, p):
            row, column = y1 + i * h / p, x1 + j * w / p
            if -0.5 < row < h_map - 0.5 and -0.5 < column < w_map - 0.5:
                row, column = np.clip(row, 0, h_map - 1), np.clip(column, 0, w_map - 1)
                wy = np.maximum(1 - np.abs(row - np.arange(h_map)), 0)
                wx = np.maximum(1 - np.abs(column - np.arange(w_map)), 0)
                out[n, i, j] = np.einsum('h,hwc,w->c', wy, x, wx)
    return out


def test_a_ramp_by_hand():
    box = jnp.asarray([[1.4, 0.6, 3.6, 2.4]])  # columns 1..4, rows 1..2
    pooled = roi_pool(RAMP, box, output_size=2, spatial_scale=1.0)[0, :, :, 0]
    assert pooled.tolist() == [[7, 9], [12, 14]]
    # 4 columns in 3 bins: 1 2, 2 3, 3 4, so that neighbours share; 2 rows in 3: 1, 1 2, 2.
    shared = roi_pool(RAMP, box, output_size=3, spatial_scale=1.0)[0, :, :, 0]
    assert shared.tolist() == [[7, 8, 9], [12, 13, 14], [12, 13, 14]]
    # At rows 1 and 2, columns 1 and 3: 5 row + column.
    warped = roi_warp(RAMP, box, output_size=2, spatial_scale=1.0)[0, :, :, 0]
    np.testing.assert_allclose(warped, [[6, 8], [11, 13]], rtol=1e-6)


@pytest.mark.parametrize('scale', [1 / 4, 1 / 16])
@pytest.mark.parametrize('run, loop', [(roi_pool, _pool), (roi_warp, _warp)])
def test_equals_the_loop(run, loop, scale):
    x = np.random.default_rng(0).normal(-3, 1, (9, 14, 3)).astype(np.float32)
    found = run(jnp.asarray(x), jnp.asarray(BOXES, jnp.float32), output_size=4, spatial_scale=scale)
    expected = loop(x, BOXES, 4, scale)
    assert (expected != 0).any((1, 2, 3)).sum() >= 4
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('run', [roi_pool, roi_warp])
def test_an_area_ends_as_a_map_does(run):
    x, boxes = jax.random.normal(jax.random.key(0), (9, 14, 3)), jnp.asarray(BOXES, jnp.float32)
    around = jnp.pad(x, ((0, 3), (0, 5), (0, 0)), constant_values=100.0)
    expected = run(x, boxes, output_size=4, spatial_scale=1 / 4)
    area = jnp.asarray([9, 14])
    found = run(around, boxes, output_size=4, spatial_scale=1 / 4, area=area)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_gradient_of_a_maximum_goes_to_it():
    boxes = jnp.asarray([[1.0, 1.0, 4.0, 2.0], [30.0, 30.0, 40.0, 40.0]])  # the second sees nothing
    pool = partial(roi_pool, boxes=boxes, output_size=2, spatial_scale=1.0)
    gradient = jax.grad(lambda x: pool(x).sum())(RAMP)[:, :, 0]
    assert np.argwhere(gradient).tolist() == [[1, 2], [1, 4], [2, 2], [2, 4]]
    assert gradient.sum() == 4
