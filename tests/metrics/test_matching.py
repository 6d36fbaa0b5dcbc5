"""Who finds whom in one picture, by hand."""

import numpy as np
import pytest

from segjax.metrics.matching import Objects, compressed, match_objects
from tests.metrics.test_coco import rectangle

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def objects(*boxes, classes=None, crowd=None, masks=False):
    shapes = [rectangle(box) if masks else [*box] for box in boxes]
    classes, crowd = classes or [1] * len(boxes), crowd or [False] * len(boxes)
    return Objects(shapes, np.array(classes, int), np.array(crowd, bool))


@pytest.mark.parametrize('masks', [False, True])
def test_the_best_detection_chooses_first(masks):
    """Both lie on the first object; the second of them goes without, though it lies better."""
    known = objects((0, 0, 4, 4), (10, 10, 4, 4), masks=masks)
    found = objects((0, 0, 4, 3), (0, 0, 4, 4), masks=masks)
    matching = match_objects(known, found)
    assert matching.partner.tolist() == [0, -1]
    assert matching.iou.tolist() == [0.75, 0]
    assert matching.missed.tolist() == [False, True]
    assert (matching.right, matching.wrong) == (1, 1)
    assert matching.quality == 0.75 / (1 + 1 / 2 + 1 / 2)


def test_an_overlap_below_one_half_or_another_class_finds_nothing():
    known = objects((0, 0, 4, 4), (10, 10, 4, 4), classes=[1, 2])
    found = objects((0, 0, 4, 1), (10, 10, 4, 4), classes=[1, 1])
    matching = match_objects(known, found)
    assert matching.partner.tolist() == [-1, -1] and matching.quality == 0


def test_crowds_have_room_for_any_number_and_are_not_missed():
    known = objects((0, 0, 18, 10), (0, 12, 4, 4), crowd=[True, False])
    found = objects((1, 1, 3, 3), (5, 5, 3, 3), (0, 12, 4, 4), (14, 8, 4, 8), classes=[1] * 4)
    matching = match_objects(known, found)
    assert matching.spared.tolist() == [True, True, False, False]  # of the last a quarter is in it
    assert matching.missed.tolist() == [False, False]
    assert matching.quality == 1 / (1 + 1 / 2)
    other = match_objects(known, found._replace(classes=np.full(4, 2)))
    assert not other.spared.any() and other.quality == 0


def test_nothing_on_one_side_or_both():
    some, none = objects((0, 0, 4, 4)), objects()
    assert match_objects(some, none).quality == match_objects(none, some).quality == 0
    assert np.isnan(match_objects(none, none).quality)
    crowd = objects((0, 0, 9, 9), crowd=[True])
    assert np.isnan(match_objects(crowd, none).quality)
    assert np.isnan(match_objects(crowd, some).quality)


def test_polygons_and_plain_run_lengths_are_compressed():
    from pycocotools import mask

    drawn = compressed([[2, 1, 6, 1, 6, 4, 2, 4], [0, 10, 3, 10, 3, 12, 0, 12]], (20, 20))
    assert float(mask.area(drawn)) == 4 * 3 + 3 * 2
    runs = compressed({'size': [4, 3], 'counts': [1, 5, 6]}, (4, 3))
    assert float(mask.area(runs)) == 5
    assert compressed(drawn, (20, 20)) is drawn


def test_more_than_a_byte_of_objects():
    """pycocotools counts in C: 300 objects on either side."""
    boxes = [(i % 20 * 3, i // 20 * 3, 2, 2) for i in range(300)]
    matching = match_objects(objects(*boxes), objects(*boxes))
    assert matching.partner.tolist() == [*range(300)] and matching.quality == 1
