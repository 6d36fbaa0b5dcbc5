"""Targets of the mask head: a block by hand, pictures beside crops, and RoIAlign itself."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

STATIC = ('output_size', 'aligned')
targets = jax.jit(ops.mask_targets, static_argnames=STATIC)
cropped_targets = jax.jit(ops.cropped_mask_targets, static_argnames=STATIC)

# A block of rows 2..5 and columns 4..7 of 8 x 12 pixels; its own box.
BLOCK = jnp.zeros((8, 12), bool).at[2:6, 4:8].set(True)
BOX = jnp.asarray([[4.0, 2.0, 8.0, 6.0]])
FIRST = jnp.zeros(1, jnp.int32)


def test_shares_by_hand():
    roi = jnp.asarray([[2.0, 2.0, 10.0, 6.0]])  # twice as wide: a quarter on either side is empty
    found = targets(BLOCK[None], roi, FIRST, output_size=4, aligned=True)
    assert found[0].tolist() == [[0, 1, 1, 0]] * 4
    half = targets(BLOCK[None], roi + 1, FIRST, output_size=2, aligned=True)
    # Columns 3..6 hold 3 of 4, columns 7..10 one; rows 3 and 4 all, 5 and 6 one of two.
    assert half[0].tolist() == [[0.75, 0.25], [0.375, 0.125]]


def test_unaligned_reads_half_a_pixel_further():
    roi = jnp.asarray([[2.0, 2.0, 10.0, 6.0]])
    moved = targets(BLOCK[None], roi + 0.5, FIRST, output_size=4, aligned=True)
    found = targets(BLOCK[None], roi, FIRST, output_size=4, aligned=False)
    np.testing.assert_allclose(found, moved, atol=1e-6)


@pytest.mark.parametrize('aligned', [False, True])
def test_a_crop_as_fine_as_the_picture_gives_the_same(aligned):
    crop = BLOCK[None, 2:6, 4:8].at[0, 1, 2].set(False)
    picture = BLOCK[None].at[0, 3, 6].set(False)
    rois = jnp.asarray([[2, 2, 10, 6], [4, 2, 8, 6], [5.5, 1, 12, 5.25]], jnp.float32)
    index = jnp.zeros(3, jnp.int32)
    settings = {'output_size': 4, 'aligned': aligned}
    whole = targets(picture, rois, index, **settings)
    cropped = cropped_targets(crop, BOX, rois, index, **settings)
    assert 0.1 < whole.mean() < 0.9
    np.testing.assert_allclose(cropped, whole, atol=1e-5)


def test_crops_are_stretched_over_their_boxes():
    crops = jnp.zeros((2, 10, 10), jnp.uint8).at[1, :5].set(1)  # the upper half of object 1
    boxes = jnp.asarray([[0.0, 0.0, 1.0, 1.0], [100.0, 200.0, 180.0, 240.0]])
    rois = jnp.asarray([[100.0, 200.0, 180.0, 240.0], [80.0, 210.0, 120.0, 230.0]])
    found = cropped_targets(crops, boxes, rois, jnp.ones(2, jnp.int32), output_size=4, aligned=True)
    assert (found[0] >= 0.5).tolist() == [[True] * 4] * 2 + [[False] * 4] * 2
    assert (found[1] >= 0.5).tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2


@pytest.mark.parametrize('aligned', [False, True])
def test_each_box_reads_its_own_mask_as_roi_align_does(aligned):
    rng = np.random.default_rng(0)
    masks = jnp.asarray(rng.uniform(size=(3, 20, 30)) < 0.5)
    corner, side = rng.uniform(-3, 20, (10, 2)), rng.uniform(1, 15, (10, 2))
    boxes = jnp.asarray(np.concatenate([corner, corner + side], -1), jnp.float32)
    index = jnp.asarray(rng.integers(0, 3, 10), jnp.int32)
    found = targets(masks, boxes, index, output_size=5, aligned=aligned)
    pictures = jnp.moveaxis(masks.astype(jnp.float32), 0, -1)  # a channel a mask
    settings = {'output_size': 5, 'spatial_scale': 1.0, 'sampling_ratio': 0, 'aligned': aligned}
    every = jax.jit(partial(ops.roi_align, **settings))(pictures, boxes)
    expected = np.asarray(every)[np.arange(10), :, :, np.asarray(index)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
