"""Outlines of objects: the pixels are pycocotools', and what is broken is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segjax.data.segmentations import draw_segmentation, encode_mask
from segjax.types import UserError

MINI = Path(__file__).parents[2] / '../shared/data/coco_mini'
SIZE = (20, 30)


def draw(segmentation, size=SIZE):
    return draw_segmentation(segmentation, size, name='object 7')


def test_a_square_by_hand():
    pixels = draw([[2, 3, 6, 3, 6, 8, 2, 8]])
    assert pixels.sum() == 20 and pixels[3:8, 2:6].all()


@pytest.mark.parametrize('seed', range(5))
def test_run_lengths_are_those_of_pycocotools(seed):
    """As text and as a list; noise has long texts, and masks begin with 0 or 1."""
    mask = np.random.default_rng(seed).random(SIZE) < 0.1 * (seed + 1) ** 1.3
    packed = coco_mask.encode(np.asfortranarray(mask))
    text = {'size': list(SIZE), 'counts': packed['counts'].decode()}
    np.testing.assert_array_equal(draw(text), mask)
    changes = np.flatnonzero(np.diff(mask.ravel(order='F').astype(int), prepend=0))
    counts = np.diff([0, *changes, mask.size]).tolist()
    np.testing.assert_array_equal(draw({'size': list(SIZE), 'counts': counts}), mask)


def test_large_runs_take_several_characters():
    mask = np.zeros((700, 900), bool)
    mask[:, 400:] = True
    text = coco_mask.encode(np.asfortranarray(mask))['counts'].decode()
    np.testing.assert_array_equal(draw({'size': [700, 900], 'counts': text}, (700, 900)), mask)


def test_polygons_are_united_and_cut_by_the_border():
    pixels = draw(
        [[2, 3, 6, 3, 6, 8, 2, 8], [4, 3, 9, 3, 9, 8, 4, 8], [-9, -9, 3, -9, 3, 1, -9, 1]]
    )
    expected = np.zeros(SIZE, bool)
    expected[3:8, 2:9] = expected[:1, :3] = True
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize('polygons', [[], [[]], [[1, 1]], [[1, 1, 5, 5]], [[1, 1, 5, 5, 1, 1]]])
def test_without_an_area_there_is_no_pixel(polygons):
    assert not draw(polygons).any()


BROKEN = {
    'odd': ([[1, 2, 3, 4, 5, 6, 7]], 'no list of x, y'),
    'nan': ([[1, 2, float('nan'), 4, 5, 6]], 'far outside'),
    'infinite': ([[1, 2, float('inf'), 4, 5, 6]], 'far outside'),
    'far': ([[1, 2, 1e9, 4, 5, 6]], 'far outside'),
    'nested': ([[[1, 2], [3, 4], [5, 6]]], 'no list of x, y'),
    'words': ([['a', 'b', 'c', 'd', 'e', 'f']], 'float'),
    'nothing': (None, 'TypeError'),
    'number': (3, 'TypeError'),
    'other size': ({'size': [30, 20], 'counts': [600]}, r'of a picture of \[30, 20\]'),
    'short': ({'size': [20, 30], 'counts': [599]}, '599 pixels'),
    'long': ({'size': [20, 30], 'counts': [0, 10**15]}, 'pixels'),
    'negative': ({'size': [20, 30], 'counts': [700, -100]}, 'no natural numbers'),
    'fractions': ({'size': [20, 30], 'counts': [600.0]}, 'no natural numbers'),
    'no counts': ({'size': [20, 30]}, 'KeyError'),
    'no text': ({'size': [20, 30], 'counts': 'é'}, 'character'),
    'cut text': ({'size': [20, 30], 'counts': 'oP'}, 'without end'),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_what_is_broken_is_refused_by_name(kind):
    segmentation, reason = BROKEN[kind]
    with pytest.raises(UserError, match=f'object 7: the outline is broken.*{reason}'):
        draw(segmentation)


@pytest.mark.skipif(not MINI.is_dir(), reason='shared/data/coco_mini is not there')
def test_objects_of_coco_are_drawn_as_pycocotools_does():
    checked = 0
    for path in sorted(MINI.rglob('instances*.json'))[:2]:
        content = json.loads(path.read_text())
        sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
        for annotation in content['annotations'][:300]:
            size, segmentation = sizes[annotation['image_id']], annotation['segmentation']
            if isinstance(segmentation, list):
                packed = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
            else:
                packed = coco_mask.frPyObjects(segmentation, *size)
            np.testing.assert_array_equal(draw(segmentation, size), coco_mask.decode(packed) > 0)
            checked += 1
    assert checked > 100


def test_what_is_encoded_is_drawn_again():
    mask = np.array([[1, 0, 1], [1, 1, 0]], np.uint8)
    runs = encode_mask(mask, (2, 1), (5, 6))
    expected = np.zeros((5, 6), bool)
    expected[1:3, 2:5] = mask
    np.testing.assert_array_equal(draw_segmentation(runs, (5, 6), name=''), expected)
