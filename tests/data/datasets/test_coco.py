"""COCO's instances: classes and gaps, objects by hand, flaws, folders of one's own."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data import coco_json
from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets.coco import CocoFolder, CocoInstances
from segjax.types import UserError

SHARED = Path(__file__).parents[3] / '..' / 'shared' / 'data'
# pycocotools 2.0.11 under NumPy 2
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

SIZE = (12, 16)
CATEGORIES = [{'id': 9, 'name': 'boat'}, {'id': 2, 'name': 'bicycle'}, {'id': 5, 'name': 'plane'}]


def rectangle(x, y, w, h, category=2, **changes):
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    known = {'bbox': [x, y, w, h], 'area': w * h, 'iscrowd': 0, 'segmentation': [polygon]}
    return {'id': 100 * x + y, 'category_id': category, **known, **changes}


PICTURES = {
    4: [rectangle(1, 2, 6, 3), rectangle(8, 2, 4, 8, 9)],
    1: [],
    7: [
        rectangle(2, 2, 5, 5, 5),
        rectangle(0, 0, 8, 8, 9, iscrowd=1, segmentation={'size': [12, 16], 'counts': [96, 96]}),
        rectangle(3, 3, 0, 4),
        rectangle(9, 3, 2, 2, segmentation=[[9, 3, 9, 3, 9, 3]]),
    ],
}


def write_pictures(folder: Path, pictures=PICTURES):
    folder.mkdir(parents=True, exist_ok=True)
    for number in pictures:
        Image.fromarray(np.full((*SIZE, 3), number, np.uint8)).save(folder / f'{number:03}.png')


def write_annotations(path: Path, pictures=PICTURES, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {'id': n, 'file_name': f'{n:03}.png', 'height': SIZE[0], 'width': SIZE[1]} for n in pictures
    ]
    objects = [{**o, 'image_id': n} for n, known in pictures.items() for o in known]
    content = {'images': images, 'annotations': objects, 'categories': CATEGORIES, **changes}
    path.write_text(json.dumps(content))


@pytest.fixture
def roots(tmp_path):
    folder = tmp_path / 'raw/coco2017'
    for split in ('train', 'val'):
        write_pictures(folder / f'{split}2017')
        write_annotations(folder / f'annotations/instances_{split}2017.json')
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_classes_are_numbered_with_or_without_gaps(roots):
    dense = CocoInstances()
    assert dense.info(roots).class_names == ('background', 'bicycle', 'plane', 'boat')
    assert dense.classes(roots) == {2: 1, 5: 2, 9: 3}
    ids = CocoInstances(numbering='ids')
    names = ids.info(roots).class_names
    assert len(names) == 10 and names[2] == 'bicycle' and names[9] == 'boat'
    assert names[0] == 'background' and names[3] == 'nothing 3'
    assert ids.source('val', roots)[1].instances.classes.tolist() == [2, 9]


def test_objects_by_hand(roots):
    source = CocoInstances().source('train', roots)
    sample = source[1]
    assert len(source) == 3 and sample.image[0, 0, 0] == 4 and sample.label is None
    known = sample.instances
    np.testing.assert_array_equal(known.boxes, [[1, 2, 7, 5], [8, 2, 12, 10]])
    assert known.classes.tolist() == [1, 3] and not known.crowd.any() and known.valid.all()
    assert [mask.shape for mask in known.masks] == [(3, 6), (8, 4)]
    assert all(mask.all() for mask in known.masks)
    assert len(source[0].instances.boxes) == 0  # picture 1


def test_flawed_objects_are_evaluated_but_not_learned(roots):
    source = CocoInstances().source('train', roots)
    known = source[2].instances
    assert known.classes.tolist() == [2, 3] and known.crowd.tolist() == [False, True]
    np.testing.assert_array_equal(known.boxes[1], [8, 0, 16, 12])  # run lengths, down the columns
    annotations = source.annotations(2)
    assert [a['bbox'] for a in annotations] == [
        [2, 2, 5, 5],
        [0, 0, 8, 8],
        [3, 3, 0, 4],
        [9, 3, 2, 2],
    ]
    assert [a['category_id'] for a in annotations] == [2, 3, 1, 1]
    assert annotations[1]['iscrowd'] == 1 and annotations[0]['area'] == 25


def test_check_data_names_the_flawed(roots):
    report = check(CocoInstances(), roots)
    assert not report.problems and report.counts == {'train': 3, 'val': 3}
    assert {text for _, text in report.left_out} == {
        'object 303: its box is 0 wide and 4 high',
        'object 903: it covers no pixel',
    }
    assert report.pixels.tolist() == [5 * SIZE[0] * SIZE[1] // 2 - 75, 18, 25, 32]


@pytest.mark.parametrize(
    ('box', 'message'),
    [
        ([float('nan'), 2, 6, 3], 'nan, 2, 6, 3 is not finite'),
        ([1, 2, float('inf'), 3], '1, 2, inf, 3 is not finite'),
        ([5000, 2, 6, 3], '5000, 2, 6, 3 lies outside the picture'),
        ([1, -3, 6, 3], '1, -3, 6, 3 lies outside the picture'),
    ],
)
def test_boxes_that_nothing_can_match_are_flawed(roots, box, message):
    path = roots.raw_dir / 'coco2017/annotations/instances_train2017.json'
    write_annotations(path, {4: [rectangle(1, 2, 6, 3), rectangle(2, 3, 6, 3, bbox=box)]})
    assert [text for _, text in check(CocoInstances(), roots).left_out if '203' in text] == [
        f'object 203: its box {message}'
    ]
    assert len(CocoInstances().source('train', roots)[0].instances.boxes) == 1


def test_annotations_of_no_picture_are_told(roots, capsys):
    path = roots.raw_dir / 'coco2017/annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'] += [rectangle(1, 2, 6, 3, image_id=99)] * 2
    path.write_text(json.dumps(content))
    coco_json.clear_cache()
    source = CocoInstances().source('train', roots)
    assert sum(len(source.annotations(i)) for i in range(3)) == 6
    assert (
        'train2017.json: 2 annotations are of pictures that it does not' in capsys.readouterr().out
    )


def test_pictures_without_objects_may_be_left_out_of_training(roots):
    dataset = CocoInstances(keep_empty=False)
    assert [len(dataset.source(split, roots)) for split in ('train', 'val')] == [2, 3]


def test_training_on_a_few_is_evaluated_on_the_same(roots):
    few = CocoInstances(num_train=2)
    assert [p.image.name for p in few.pairs('train', roots)] == ['001.png', '004.png']
    assert [len(few.source(split, roots)) for split in ('train', 'val')] == [2, 3]
    assert len(CocoInstances(num_train=9).source('train', roots)) == 3
    with pytest.raises(UserError, match='--num_train=-1'):
        CocoInstances(num_train=-1)


def test_an_object_without_outline_is_its_box(roots):
    path = roots.raw_dir / 'coco2017/annotations/instances_train2017.json'
    known = rectangle(1, 2, 6, 3)
    del known['segmentation'], known['area']
    write_annotations(path, {4: [known]})
    sample = CocoInstances().source('train', roots)[0]
    np.testing.assert_array_equal(sample.instances.boxes, [[1, 2, 7, 5]])
    assert CocoInstances().source('train', roots).annotations(0)[0]['area'] == 18


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'category_id': 3}, 'category 3 is not among'),
        ({'bbox': [1, 2, 3]}, 'not x, y, width, height'),
        ({'iscrowd': 'no'}, "iscrowd 'no' is neither 0 nor 1"),
        ({'segmentation': [[1, 2, 3]]}, 'outline is broken'),
        ({'segmentation': [], 'bbox': [0, 0, float('nan'), 1]}, 'neither an outline nor a box'),
    ],
)
def test_broken_objects_are_named(roots, change, message):
    path = roots.raw_dir / 'coco2017/annotations/instances_train2017.json'
    write_annotations(path, {4: [rectangle(1, 2, 6, 3) | change]})
    with pytest.raises(UserError, match=message):
        CocoInstances().source('train', roots)


def test_absent_data_says_what_to_do(tmp_path):
    roots = Roots(tmp_path, tmp_path / 'data')
    for ask in (CocoInstances().info, lambda roots: CocoInstances().source('train', roots)):
        with pytest.raises(UserError, match=r'images\.cocodataset\.org'):
            ask(roots)


@pytest.mark.parametrize(
    ('annotations', 'images'),
    [
        ('{split}.json', 'images'),
        ('annotations/instances_{split}.json', 'images/{split}'),
        ('{split}/_annotations.coco.json', '{split}'),
    ],
)
def test_folders_of_ones_own(tmp_path, annotations, images):
    for split in ('train', 'val'):
        write_annotations(tmp_path / 'own' / annotations.format(split=split))
        write_pictures(tmp_path / 'own' / images.format(split=split))
    dataset, roots = CocoFolder(folder=str(tmp_path / 'own')), Roots(tmp_path, tmp_path / 'data')
    assert dataset.splits(roots) == ('train', 'val')
    assert len(dataset.source('val', roots)) == 3
    assert dataset.source('train', roots)[1].instances.classes.tolist() == [1, 3]


@pytest.mark.parametrize(
    ('annotations', 'images'),
    [
        ('annotations.json', 'images'),
        ('train.json', 'images'),
        ('annotations/instances_train.json', 'images/train'),
        ('train/_annotations.coco.json', 'train'),
    ],
)
def test_one_file_is_split_by_hash(tmp_path, annotations, images):
    pictures = {n: [rectangle(1, 2, 6, 3)] for n in range(30)}
    write_annotations(tmp_path / 'own' / annotations, pictures)
    write_pictures(tmp_path / 'own' / images, pictures)
    dataset, roots = CocoFolder(folder=str(tmp_path / 'own')), Roots(tmp_path, tmp_path / 'data')
    names = {s: {p.name for p in dataset.pairs(s, roots)} for s in ('train', 'val')}
    assert not names['train'] & names['val'] and len(names['train'] | names['val']) == 30
    assert 2 <= len(names['val']) <= 12
    few = dataclasses.replace(dataset, num_train=3)
    assert {p.name for p in few.pairs('train', roots)} < names['train']
    assert len(few.pairs('train', roots)) == 3
    assert {p.name for p in few.pairs('val', roots)} == names['val']


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    roots = Roots(tmp_path, tmp_path / 'data')
    with pytest.raises(UserError, match='Which folder'):
        CocoFolder().source('train', roots)
    with pytest.raises(UserError, match='no annotation files'):
        CocoFolder(folder=str(tmp_path)).info(roots)
    write_annotations(tmp_path / 'annotations.json')
    with pytest.raises(UserError, match=r'004\.png that .* names is nowhere'):
        CocoFolder(folder=str(tmp_path)).source('train', roots)


@pytest.mark.skipif(not (SHARED / 'coco_mini').is_dir(), reason='no COCO in ../shared/data')
def test_real_annotations():
    dataset, roots = CocoInstances(raw='coco_mini', numbering='ids'), Roots(SHARED, Path('never'))
    assert len(dataset.info(roots).class_names) == 91
    pairs = dataset.pairs('val', roots)
    assert len(pairs) == 79
    dense = CocoInstances(raw='coco_mini')
    assert len(dense.info(roots).class_names) == 81
    label = dense.read_label(pairs[0], roots)
    assert label.shape == Image.open(pairs[0].image).size[::-1] and label.any()
