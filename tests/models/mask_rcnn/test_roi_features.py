"""What the heads see of a region is what the operation makes of it, on the level of its size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.models.mask_rcnn.roi_features import roi_features

STRIDES = (4, 8, 16, 32, 64)  # the last one is of a level that no region reads
ROIS = jnp.asarray(
    [
        [10, 20, 50, 70],
        [30, 40, 160, 150],
        [5, 9, 300, 250],
        [0, 0, 500, 480],
        [390, 420, 520, 540.0],
    ],
    jnp.float32,
)
LEVELS = [0, 1, 2, 3, 1]  # sides of about 45, 120, 267, 490 and 125 pixels

OPERATIONS = {
    ('align', 'torchvision'): partial(ops.roi_align, sampling_ratio=2, aligned=False),
    ('align', 'detectron2'): partial(ops.roi_align, sampling_ratio=0, aligned=True),
    ('pool', 'torchvision'): ops.roi_pool,
    ('warp', 'detectron2'): ops.roi_warp,
}


@pytest.mark.parametrize('op, flavor', OPERATIONS)
def test_regions_are_read_from_the_level_of_their_size(op, flavor):
    """The second picture is the first one's negative, its regions come in the other order."""
    rng = np.random.default_rng(0)
    maps = [jnp.asarray(rng.normal(size=(512 // s, 512 // s, 2)), jnp.float32) for s in STRIDES[:4]]
    batch, rois = [jnp.stack([x, -x]) for x in maps], jnp.stack([ROIS, ROIS[::-1]])
    run = partial(roi_features, strides=STRIDES, side=3, op=op, flavor=flavor)
    found = jax.jit(run)(batch, rois)
    assert found.shape == (2, 5, 3, 3, 2)
    read = partial(OPERATIONS[op, flavor], output_size=3)
    levels = list(zip(maps, STRIDES, strict=False))
    every = jax.jit(
        lambda sign, rois: [read(sign * x, rois, spatial_scale=1 / s) for x, s in levels]
    )
    for row, sign in enumerate((1, -1)):
        expected = np.asarray(every(float(sign), rois[row]))[LEVELS[::sign], np.arange(5)]
        assert np.any(expected, axis=(1, 2, 3)).all()
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


@pytest.mark.parametrize('op, flavor', OPERATIONS)
def test_regions_see_nothing_beyond_the_area_of_their_picture(op, flavor):
    """Regions at the ends of 440 x 470 and 96 x 256 pixels; areas end at 448 x 480 and 96 x 256."""
    rng = np.random.default_rng(1)
    sizes = jnp.asarray([[440, 470], [96, 256]], jnp.int32)
    rois = [[[0, 0, 470, 440], [190, 170, 470, 440], [310, 300, 470, 440], [420, 400, 470, 440]]]
    rois.append([[0, 0, 256, 96], [80, 0, 256, 96], [200, 50, 256, 96], [255, 95, 256, 96]])
    read = jax.jit(partial(roi_features, strides=STRIDES, side=3, op=op, flavor=flavor))
    tight, wide = [], []
    for s in STRIDES[:4]:
        x = rng.normal(size=(2, 448 // s, 480 // s, 2)) + 9
        tight.append(jnp.asarray(x, jnp.float32))
        x[1, 96 // s :], x[1, :, 256 // s :] = 50, 50
        pads = ((0, 0), (0, 64 // s), (0, 160 // s), (0, 0))
        wide.append(jnp.asarray(np.pad(x, pads, constant_values=70), jnp.float32))
    expected, found = (read(x, jnp.asarray(rois, jnp.float32), sizes=sizes) for x in (tight, wide))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_single_map_is_read_whatever_the_size(key):
    x = jax.random.normal(key, (1, 32, 32, 2))
    found = roi_features([x], ROIS[None], strides=(16,), side=2, op='warp', flavor='torchvision')
    expected = ops.roi_warp(x[0], ROIS, output_size=2, spatial_scale=1 / 16)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
