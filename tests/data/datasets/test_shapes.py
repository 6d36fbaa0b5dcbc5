"""Generated scenes: reproducible, well-formed, and not solved by colour."""

from pathlib import Path

import numpy as np
import pytest

from segjax.data.dataset import Roots
from segjax.data.datasets.shapes import CLASSES, Shapes
from segjax.types import UserError

NOWHERE = Roots(Path('/nonexistent'), Path('/nonexistent'))


def stack(split: str, number: int):
    source = Shapes().source(split, NOWHERE)
    samples = [source[i] for i in range(number)]
    return np.stack([s.image for s in samples]), np.stack([s.label for s in samples])


def test_a_record_is_a_function_of_seed_split_and_index():
    first, again = (Shapes().source('train', NOWHERE)[17] for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)
    others = [
        Shapes().source('val', NOWHERE)[17],
        Shapes().source('train', NOWHERE)[18],
        Shapes(scene_seed=1).source('train', NOWHERE)[17],
    ]
    assert all((other.image != first.image).any() for other in others)


def test_the_sample():
    dataset = Shapes(size=96)
    source = dataset.source('val', NOWHERE)
    sample = source[3]
    assert len(source) == 256 and source.name(3) == 'shapes/val/3' and source.size(3) == (96, 96)
    assert sample.image.shape == (96, 96, 3) and sample.image.dtype == np.uint8
    assert sample.label.dtype == np.int32
    assert sample.image_id == 3 and sample.valid and sample.size.tolist() == [96, 96]
    assert len(dataset.info(NOWHERE).palette) == len(CLASSES) == 6
    assert Shapes(channels=1).source('val', NOWHERE)[0].image.shape == (128, 128, 1)


def test_every_class_occurs_about_as_often():
    _, label = stack('train', 300)
    pixels = np.bincount(label.ravel())
    assert len(pixels) == 6
    assert pixels[1:].min() > 0.5 * pixels[1:].max()
    assert 0.6 < pixels[0] / pixels.sum() < 0.95


def test_instances_are_the_visible_parts():
    source = Shapes().source('train', NOWHERE)
    for index in range(30):
        sample = source[index]
        painted = np.zeros_like(sample.label)
        for box, kind, mask in zip(*sample.instances[:3], strict=True):
            x0, y0, x1, y1 = box.astype(int)
            assert mask.shape == (y1 - y0, x1 - x0)
            assert mask.any(0)[[0, -1]].all() and mask.any(1)[[0, -1]].all()  # the box is tight
            assert not painted[y0:y1, x0:x1][mask > 0].any()  # objects do not share pixels
            painted[y0:y1, x0:x1][mask > 0] = kind
        np.testing.assert_array_equal(painted, sample.label)


def test_noise_has_the_stated_deviation():
    quiet, noisy = (Shapes(noise=n).source('train', NOWHERE)[0].image / 255 for n in (0.0, 0.04))
    inner = (quiet > 0.2) & (quiet < 0.8)  # not clipped
    np.testing.assert_allclose((noisy - quiet)[inner].std(), 0.04, rtol=0.05)


def mean_iou(label: np.ndarray, predicted: np.ndarray) -> float:
    confusion = np.bincount((label * 6 + predicted).ravel(), minlength=36).reshape(6, 6)
    intersection = np.diag(confusion)
    return float((intersection / (confusion.sum(0) + confusion.sum(1) - intersection)).mean())


def test_colour_alone_does_not_solve_it():
    """The best class for each of 16^3 colours, fitted on 400 pictures, stays far below .6 mIoU."""
    train_image, train_label = stack('train', 400)
    image, label = stack('val', 60)

    def colour(pixels):
        r, g, b = np.moveaxis(pixels.astype(np.int32) >> 4, -1, 0)
        return r << 8 | g << 4 | b

    counts = np.bincount((colour(train_image) * 6 + train_label).ravel(), minlength=4096 * 6)
    counts = counts.reshape(4096, 6).astype(float)
    for weighed in (counts, counts / counts.sum(0)):  # as they are, and all classes as frequent
        assert mean_iou(label, weighed.argmax(1)[colour(image)]) < 0.3


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match='train, val, test'):
        Shapes().source('validation', NOWHERE)
