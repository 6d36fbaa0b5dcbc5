"""Numbered objects: parts, boundaries, instances, by hand."""

import numpy as np
import pytest

from segjax.data.cells import boundary, make_instances, number_objects

# Two objects that touch at a corner, one of them ring-shaped.
MASK = np.array(
    [
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1],
    ]
)
OBJECTS = np.array(
    [
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 2, 2],
    ]
)


def test_parts_are_joined_by_sides_only():
    found = number_objects(MASK)
    np.testing.assert_array_equal(found, OBJECTS)
    assert found.dtype == np.uint16


def test_boundary_by_hand():
    objects = np.zeros((5, 6), np.uint16)
    objects[:, :4] = 300  # 65280 of 16 bits must not be taken for 44 of 8
    objects[:, 4:] = 556
    expected = np.zeros((5, 6), bool)
    expected[:, 3:5] = True  # where they touch; not at the border of the picture
    np.testing.assert_array_equal(boundary(objects), expected)


def test_the_background_is_no_boundary():
    objects = np.zeros((7, 7), np.uint16)
    objects[1:6, 1:6] = 1
    expected = objects > 0
    expected[2:5, 2:5] = False
    np.testing.assert_array_equal(boundary(objects), expected)


def test_instances_are_cut_to_their_boxes():
    found = make_instances(np.where(OBJECTS == 2, 7, OBJECTS))  # numbers without objects
    np.testing.assert_array_equal(found.boxes, [[0, 0, 3, 3], [3, 3, 5, 4]])
    np.testing.assert_array_equal(found.masks[0], [[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    np.testing.assert_array_equal(found.masks[1], [[1, 1]])
    assert found.boxes.dtype == np.float32 and found.valid.all() and not found.crowd.any()


@pytest.mark.parametrize('dtype', [np.int32, np.uint16])
def test_no_objects(dtype):
    empty = make_instances(np.zeros((3, 4), dtype))
    assert empty.boxes.shape == (0, 4) and empty.masks == ()
    assert not boundary(np.zeros((3, 4), dtype)).any()
