"""What a folder looks like, against pictures whose numbers are known."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.coco import CocoFolder
from segjax.data.datasets.folder import Folder
from segjax.data.survey import object_diameters, survey, survey_objects
from segjax.types import IGNORE_LABEL, UserError

ROOTS = Roots(None, None)  # a Folder knows its place


def write(folder, pictures, mask):
    """All pictures train; one that is not surveyed is val."""
    for part in ('images', 'masks', 'splits'):
        (folder / part).mkdir(parents=True)
    (folder / 'classes.txt').write_text('background\ncell\nnucleus\n')
    for i, picture in enumerate([*pictures, pictures[0]]):
        Image.fromarray(picture).save(folder / 'images' / f'{i}.png')
        Image.fromarray(mask).save(folder / 'masks' / f'{i}.png')
    names = [str(i) for i in range(len(pictures))]
    (folder / 'splits' / 'train.txt').write_text('\n'.join(names))
    (folder / 'splits' / 'val.txt').write_text(str(len(pictures)))
    return Folder(folder=str(folder))


def test_diameters_are_those_of_circles_of_the_same_area():
    label = np.zeros((40, 40), np.uint8)
    label[2:12, 2:12] = 1  # 100 pixels
    label[20:25, 2:12] = 1  # 50
    label[20:25, 12:14] = 2  # 10, of another class: not one object with its neighbour
    label[35, 35] = 1  # noise
    label[38:, 20:] = IGNORE_LABEL
    expected = [2 * math.sqrt(area / math.pi) for area in (100, 50, 10)]
    np.testing.assert_allclose(object_diameters(label), expected)


def test_a_survey_tells_colour_ground_and_spread(tmp_path):
    mask = np.zeros((10, 10), np.uint8)
    mask[:4, :5] = 1
    mask[6:, 6:] = 2
    dark = np.full((10, 10, 3), 40, np.uint8)
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 200
    found = survey(write(tmp_path / 'data', [dark, dark, dark, red], mask), ROOTS)
    assert found.appearance.kinds == ('uint8',)
    assert found.appearance.coloured == 0.25
    assert found.appearance.ground == pytest.approx(40 / 255)
    low, high = np.percentile([40, 40, 40, 200], (10, 90))
    assert found.appearance.spread == pytest.approx(high / low)
    assert found.objects == 2
    assert found.diameters[1] == pytest.approx(np.sqrt([20, 16]).sum() / math.sqrt(math.pi))


def test_types_of_pixels_and_empty_masks(tmp_path):
    deep = np.full((6, 6), 6553, np.uint16)
    found = survey(write(tmp_path / 'data', [deep, deep], np.zeros((6, 6), np.uint8)), ROOTS)
    assert found.appearance.kinds == ('uint16',)
    assert found.appearance.ground == pytest.approx(0.1, rel=1e-3)
    assert (found.appearance.coloured, found.appearance.spread, found.objects) == (0, 1, 0)
    assert all(math.isnan(size) for size in found.diameters)


def test_nothing_readable_is_an_error(tmp_path):
    dataset = write(tmp_path / 'data', [np.zeros((6, 6), np.uint8)], np.zeros((6, 6), np.uint8))
    (tmp_path / 'data' / 'images' / '0.png').write_bytes(b'')
    with pytest.raises(UserError, match='None of the pictures of train can be read'):
        survey(dataset, ROOTS)


def test_objects_are_counted_and_measured_by_their_annotations(tmp_path):
    outline = [[2, 1, 8, 1, 8, 5, 2, 5]]
    annotations = [
        {'id': 1, 'image_id': 1, 'category_id': 3, 'bbox': [0, 0, 20, 10], 'area': 120},
        {'id': 2, 'image_id': 1, 'category_id': 5, 'segmentation': outline},
        {'id': 3, 'image_id': 1, 'category_id': 5, 'bbox': [0, 0, 9, 9], 'iscrowd': 1},
        {'id': 4, 'image_id': 1, 'category_id': 5, 'bbox': [3, 3, 0, 4]},  # a flaw
    ]
    images = [
        {'id': 1, 'file_name': 'a.png', 'height': 30, 'width': 40},
        {'id': 2, 'file_name': 'b.png', 'height': 50, 'width': 40},
    ]
    categories = [{'id': 3, 'name': 'cell'}, {'id': 5, 'name': 'nucleus'}]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    for split in ('train', 'val'):
        (tmp_path / f'{split}.json').write_text(json.dumps(content))
    for image in images:
        Image.new('L', (image['width'], image['height'])).save(tmp_path / image['file_name'])
    found = survey_objects(CocoFolder(folder=str(tmp_path)), 'train', ROOTS)
    np.testing.assert_array_equal(found.sizes, [[30, 40], [50, 40]])
    np.testing.assert_array_equal(found.counts, [3, 0])
    assert found.crowds == 1
    np.testing.assert_array_equal(found.picture, [0, 0])
    np.testing.assert_array_equal(found.boxes, [[10, 20], [4, 6]])
    np.testing.assert_array_equal(found.areas, [120, 24])
    np.testing.assert_array_equal(found.classes, [1, 2])
