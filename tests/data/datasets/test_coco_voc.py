"""COCO as VOC's classes: polygons and crowds, overlaps, which pictures train, the real subset."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.coco_voc import CATEGORIES, CocoVoc, draw_label
from segjax.data.datasets.voc import CLASSES
from segjax.types import UserError

SHARED = Path(__file__).parents[3] / '..' / 'shared' / 'data'
# pycocotools 2.0.11 under NumPy 2
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

PERSON, DOG, ZEBRA = 1, 18, 24  # categories; VOC has no zebra


def rectangle(x0, y0, x1, y1, category=PERSON, area=2000.0):
    polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
    return {
        'segmentation': [polygon],
        'category_id': category,
        'area': area,
        'iscrowd': 0,
    }


def make(folder: Path, split: str, pictures: dict[int, list[dict]], size=(6, 8)):
    (folder / f'{split}2017').mkdir(parents=True)
    (folder / 'annotations').mkdir(exist_ok=True)
    for number in pictures:
        image = Image.fromarray(np.zeros((*size, 3), np.uint8))
        image.save(folder / f'{split}2017' / f'{number:012}.jpg')
    content = {
        'images': [
            {'id': n, 'file_name': f'{n:012}.jpg', 'height': size[0], 'width': size[1]}
            for n in pictures
        ],
        'annotations': [o | {'image_id': n} for n, objects in pictures.items() for o in objects],
    }
    path = folder / 'annotations' / f'instances_{split}2017.json'
    path.write_text(json.dumps(content))


@pytest.fixture
def roots(tmp_path):
    pictures = {
        3: [rectangle(0, 0, 4, 3), rectangle(6, 0, 8, 6, DOG)],
        1: [rectangle(0, 0, 4, 3, area=600.0), rectangle(2, 0, 8, 6, area=600.0)],
        2: [rectangle(0, 0, 4, 3, area=1000.0), rectangle(6, 0, 8, 6, ZEBRA)],
        4: [],
    }
    make(tmp_path / 'raw/coco2017', 'train', pictures)
    make(tmp_path / 'raw/coco2017', 'val', pictures)
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_categories_are_those_of_the_classes():
    assert len(CATEGORIES) == len(CLASSES) == 21
    assert CATEGORIES[CLASSES.index('person')] == PERSON
    assert CATEGORIES[CLASSES.index('dog')] == DOG
    assert CATEGORIES[CLASSES.index('tvmonitor')] == 72
    assert CATEGORIES[CLASSES.index('diningtable')] == 67


def test_objects_become_ids():
    label = draw_label([rectangle(0, 0, 4, 3), rectangle(6, 0, 8, 6, DOG)], (6, 8))
    expected = np.zeros((6, 8), np.uint8)
    expected[:3, :4] = CLASSES.index('person')
    expected[:, 6:] = CLASSES.index('dog')
    np.testing.assert_array_equal(label, expected)
    assert label.dtype == np.uint8


def test_overlaps_are_ignored_even_of_one_class():
    label = draw_label([rectangle(0, 0, 4, 3), rectangle(2, 0, 8, 6)], (6, 8))
    expected = np.zeros((6, 8), np.uint8)
    expected[:3, :4] = expected[:, 2:] = 15
    expected[:3, 2:4] = 255
    np.testing.assert_array_equal(label, expected)


def test_polygons_of_one_object_do_not_overlap():
    parts = rectangle(0, 0, 4, 3)['segmentation'] + rectangle(2, 0, 8, 6)['segmentation']
    label = draw_label([rectangle(0, 0, 1, 1) | {'segmentation': parts}], (6, 8))
    assert set(np.unique(label).tolist()) == {0, 15}


def test_a_crowd_is_decoded_from_run_lengths():
    """Runs of 0 and 1 in turn, down the columns."""
    crowd = {'segmentation': {'size': [2, 3], 'counts': [1, 3, 2]}, 'category_id': DOG}
    np.testing.assert_array_equal(draw_label([crowd], (2, 3)), [[0, 12, 0], [12, 12, 0]])


def test_training_needs_objects_of_more_than_1000_pixels(roots):
    train, val = (CocoVoc().pairs(split, roots) for split in ('train', 'val'))
    assert [pair.name for pair in train] == ['1', '3']
    assert [pair.name for pair in val] == ['1', '2', '3', '4']
    source = CocoVoc().source('val', roots)
    assert len(source) == 4
    assert set(np.unique(source[0].label).tolist()) == {0, 15, 255}
    assert set(np.unique(source[1].label).tolist()) == {0, 15}  # the zebra is background
    assert not source[3].label.any()


def test_a_small_tree_is_taken_with_a_note(roots, capsys):
    CocoVoc().source('val', roots)
    assert 'holds 4 pictures, the complete one 5000' in capsys.readouterr().out


def test_annotations_that_change_are_read_again(roots):
    assert len(CocoVoc().source('train', roots)) == 2
    folder = roots.raw_dir / 'coco2017'
    path = folder / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['images'] = [i for i in content['images'] if i['id'] != 1]
    path.write_text(json.dumps(content))
    assert len(CocoVoc().source('train', roots)) == 1


def test_what_is_missing_or_broken_is_named(roots):
    folder = roots.raw_dir / 'coco2017'
    (folder / 'train2017/000000000003.jpg').unlink()
    with pytest.raises(UserError, match=r'1 of 2 pictures are missing: 000000000003\.jpg'):
        CocoVoc().source('train', roots)
    (folder / 'annotations/instances_train2017.json').write_text('{"images": []}')
    with pytest.raises(UserError, match=r"train2017\.json: is not one of COCO's"):
        CocoVoc().source('train', roots)


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError) as error:
        CocoVoc().source('train', Roots(tmp_path, tmp_path / 'data'))
    message = str(error.value)
    for part in ('COCO 2017 is not in', str(tmp_path), 'images.cocodataset.org', 'fcn8s_shapes'):
        assert part in message


@pytest.mark.skipif(not (SHARED / 'coco_mini').is_dir(), reason='no COCO in ../shared/data')
def test_real_pictures():
    dataset, roots = CocoVoc(raw='coco_mini'), Roots(SHARED, Path('never'))
    dataset.require(roots)
    train, val = (dataset.pairs(split, roots) for split in ('train', 'val'))
    assert 0 < len(train) <= 80
    assert len(val) == 79
    ids = set()
    for pair in val:
        label = dataset.read_label(pair, roots)
        width, height = Image.open(pair.image).size
        assert label.shape == (height, width)
        ids |= set(np.unique(label).tolist())
    assert ids <= {*range(21), 255}
    assert {0, 15, 255} <= ids
