"""The number by which pictures of class maps are ranked."""

import numpy as np
import pytest

from segjax.evaluate import Sample
from segjax.train.semantic_page import mean_iou
from segjax.types import IGNORE_LABEL


def sample(wrong):
    """Four pixels of class 0 or, in so many of them, predicted as 1; a fifth does not count."""
    label = np.zeros((1, 5), int)
    label[0, 4] = IGNORE_LABEL
    prediction = (np.arange(5)[None] < wrong).astype(int)
    return Sample(np.zeros((1, 5, 3), np.uint8), label, prediction, 0)


@pytest.mark.parametrize(('wrong', 'expected'), [(0, 1.0), (2, 0.25), (3, 0.125), (4, 0.0)])
def test_the_mean_is_over_classes_that_occur(wrong, expected):
    """(IoU of 0 + IoU of 1) / 2, if it occurs."""
    assert mean_iou(sample(wrong)) == expected


def test_a_picture_without_a_labelled_pixel_has_no_score():
    assert np.isnan(mean_iou(sample(0)._replace(label=np.full((1, 5), IGNORE_LABEL))))
