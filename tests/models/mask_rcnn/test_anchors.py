"""Anchors by hand: the published ones of size 32, torchvision's rounding, its stride of 61."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models.mask_rcnn.anchors import cell_anchors, level_anchors, level_strides


def test_torchvision_rounds_its_anchors():
    assert cell_anchors((32,), (0.5, 1.0, 2.0), 'torchvision').tolist() == [
        [-23, -11, 23, 11],
        [-16, -16, 16, 16],
        [-11, -23, 11, 23],
    ]


def test_detectron2_does_not():
    expected = [
        [-22.627417, -11.3137085, 22.627417, 11.3137085],
        [-16, -16, 16, 16],
        [-11.3137085, -22.627417, 11.3137085, 22.627417],
    ]
    found = cell_anchors((32,), (0.5, 1.0, 2.0), 'detectron2')
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_order_of_several_sizes_on_one_map():
    """torchvision counts through the sizes first, detectron2 through the ratios."""
    width = lambda flavor: (2 * cell_anchors((32, 64), (1.0, 4.0), flavor)[:, 2]).tolist()
    assert width('torchvision') == [32, 64, 16, 32]
    assert width('detectron2') == [32, 16, 64, 32]


@pytest.mark.parametrize(
    'size, stride, expected',
    [
        ((800, 1333), 64, (61, 64)),  # padded to 800 x 1344: 13 x 21 cells
        ((832, 1344), 64, (64, 64)),
        ((800, 1333), 32, (32, 32)),
        ((427, 640), 64, (64, 64)),  # 448 x 640: 7 x 10 cells
    ],
)
def test_strides_of_torchvision_follow_from_the_cells(size, stride, expected):
    size = jnp.asarray(size)
    assert tuple(level_strides(size, stride, 'torchvision').tolist()) == expected
    assert tuple(level_strides(size, stride, 'detectron2').tolist()) == (stride, stride)


def test_anchors_lie_about_the_corners_of_cells_row_by_row():
    about_zero = cell_anchors((2, 4), (1.0,), 'torchvision')
    found = level_anchors(jnp.asarray((32, 32)), (2, 2), 16, about_zero, 'torchvision')
    assert found.tolist() == [
        [-1, -1, 1, 1], [-2, -2, 2, 2],
        [15, -1, 17, 1], [14, -2, 18, 2],
        [-1, 15, 1, 17], [-2, 14, 2, 18],
        [15, 15, 17, 17], [14, 14, 18, 18],
    ]  # fmt: skip
