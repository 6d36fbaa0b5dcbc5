"""The loops of C++ that stand in for torchvision's kernels, beside our own operations."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.tools.compare_torch.native import NativeKernels

pytestmark = pytest.mark.skipif(not shutil.which('g++'), reason='no C++ compiler')


@pytest.fixture(scope='module')
def native():
    return NativeKernels()


@pytest.fixture
def boxes():
    """Some reach over the border of the picture of 64 x 48 pixels, one is tiny."""
    corners = np.array([[-6, -3], [2.5, 4], [3, 4.5], [40, 20], [9, 9]])
    sides = np.array([[30, 40], [20, 18], [20, 18], [30, 30], [0.5, 0.25]])
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def test_roi_align_and_its_gradient(native, boxes):
    rng = np.random.default_rng(0)
    maps, g = rng.normal(size=(12, 16, 3)), rng.normal(size=(len(boxes), 4, 4, 3))
    maps, g = jnp.asarray(maps, jnp.float32), jnp.asarray(g, jnp.float32)
    align = lambda x: ops.roi_align(x, jnp.asarray(boxes), output_size=4, spatial_scale=1 / 4)
    expected, back = jax.vjp(align, maps)
    found = native.roi_align(np.moveaxis(maps, -1, 0), boxes, 4, 1 / 4, 2)
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), expected, atol=1e-5)
    slopes = native.roi_align_gradient(np.moveaxis(g, -1, 1), boxes, (3, 12, 16), 1 / 4, 2)
    np.testing.assert_allclose(np.moveaxis(slopes, 0, -1), back(g)[0], atol=1e-5)


def test_suppression_keeps_the_best_first(native, boxes):
    scores = np.array([0.1, 0.5, 0.6, 0.9, 0.2], np.float32)
    # boxes 1 and 2 overlap by (19.5 * 17.5) / (2 * 360 - 19.5 * 17.5) = 0.90
    assert native.nms(boxes, scores, 0.8).tolist() == [3, 2, 4, 0]
    assert native.nms(boxes, scores, 0.95).tolist() == [3, 2, 1, 4, 0]
