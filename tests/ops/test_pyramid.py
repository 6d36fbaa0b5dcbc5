"""Which map a box is read from, by hand."""

import jax.numpy as jnp
import pytest

from segjax import ops


def _squares(*sides):
    return jnp.asarray([[10, 20, 10 + side, 20 + side] for side in sides], jnp.float32)


@pytest.mark.parametrize('flavor', ['torchvision', 'detectron2'])
def test_levels_by_hand(flavor):
    boxes = _squares(0, 8, 55, 56, 111, 112, 223, 224, 447, 448, 1000)
    # P2 below 112 pixels, P3 from there, P4 from 224, P5 from 448.
    levels = ops.pyramid_level(boxes, flavor=flavor)
    assert levels.tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    wide = jnp.asarray([[0, 0, 448, 112], [0, 0, 448, 111]], jnp.float32)  # 224 x 224, and less
    assert ops.pyramid_level(wide, flavor=flavor).tolist() == [2, 1]


def test_other_pyramids():
    levels = ops.pyramid_level(_squares(30, 60, 120, 2000), lowest=3, highest=7)
    assert levels.tolist() == [0, 0, 0, 4]


def test_a_hair_below_the_border_counts_as_on_it_in_torchvision():
    boxes = _squares(224 * (1 - 4e-7))
    assert ops.pyramid_level(boxes).tolist() == [2]
    assert ops.pyramid_level(boxes, flavor='detectron2').tolist() == [1]
