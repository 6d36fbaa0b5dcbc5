"""Bands around boundaries and the boundary F1, by hand."""

import numpy as np
import pytest

from segjax.metrics import Confusion
from segjax.metrics.boundary import boundary_f1, distance_to_another_label, trimap_confusion

HALVES = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 6, axis=0).astype(np.int32)


def test_distances_by_hand():
    assert distance_to_another_label(HALVES)[0].tolist() == [4, 3, 2, 1, 1, 2, 3, 4]
    label = np.zeros((3, 3), np.int32)
    label[0, 0] = 255
    expected = np.hypot(*np.mgrid[:3, :3])
    expected[0, 0] = 1
    np.testing.assert_allclose(distance_to_another_label(label), expected, rtol=1e-6)
    assert np.isinf(distance_to_another_label(np.ones((2, 2), np.int32))).all()


def test_bands_by_hand():
    prediction = HALVES.copy()
    prediction[:, 3] = 1  # wrong beside the boundary
    prediction[0, 0] = 1  # and once far from it
    counts = trimap_confusion(HALVES, prediction, num_classes=2, widths=(1, 2, 4))
    assert counts[0].tolist() == [[0, 6], [0, 6]]
    assert counts[1].tolist() == [[6, 6], [0, 12]]
    assert counts[2].tolist() == [[17, 7], [0, 24]]
    everywhere = Confusion(2)
    everywhere.update(counts[2])
    np.testing.assert_allclose(everywhere.iou, [17 / 24, 24 / 31])


def test_void_is_a_boundary_and_is_not_counted():
    label = np.zeros((5, 7), np.int32)
    label[:, 3] = 255
    counts = trimap_confusion(label, np.zeros_like(label), num_classes=2, widths=(1, 2, 9))
    assert counts[:, 0, 0].tolist() == [10, 20, 30]
    assert counts.sum() == 60
    assert trimap_confusion(label[:, :3], label[:, :3], num_classes=2, widths=(9,)).sum() == 0


def test_boundary_f1_by_hand():
    assert boundary_f1(HALVES, HALVES, num_classes=2) == 1
    moved = np.roll(HALVES, 2, axis=1)
    moved[:, :2] = 0  # the boundary lies two pixels to the right
    reach = lambda pixels: pixels / np.hypot(6, 8)
    assert boundary_f1(HALVES, moved, num_classes=2, tolerance=reach(2)) == 1
    assert boundary_f1(HALVES, moved, num_classes=2, tolerance=reach(1.9)) == 0


def test_precision_and_recall_are_of_boundary_pixels():
    label = np.zeros((20, 20), np.int32)
    label[:, 10:] = 1
    prediction = label.copy()
    prediction[15:18, 2:5] = 1  # a square: eight boundary pixels of class 1, twelve of class 0
    one = 2 * (20 / 28) / (20 / 28 + 1)
    zero = 2 * (20 / 32) / (20 / 32 + 1)
    found = boundary_f1(label, prediction, num_classes=2, tolerance=0.02)
    assert found == pytest.approx((one + zero) / 2)


def test_nothing_is_asked_of_void():
    label, prediction = HALVES.copy(), HALVES.copy()
    label[:, 3:5] = 255
    prediction[:, 3] = 1
    assert np.isnan(boundary_f1(label, prediction, num_classes=2))  # no boundary is known
    prediction[:, :2] = 1  # one that is not there
    assert boundary_f1(label, prediction, num_classes=2) == 0


def test_classes_that_are_not_in_the_label_do_not_count():
    prediction = HALVES.copy()
    prediction[:, 7] = 2
    found = boundary_f1(HALVES, prediction, num_classes=3, tolerance=0.1)
    assert found == pytest.approx((1 + 2 * 0.5 / 1.5) / 2)  # of class 1, half the boundary is wrong
