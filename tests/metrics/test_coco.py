"""COCO's average precision: published numbers, cases done by hand, two programs that count."""

import json
from pathlib import Path

import numpy as np
import pytest

from segjax.metrics.coco import RECALLS, evaluate_detections

DATA = Path(__file__).parents[2] / '..' / 'shared' / 'data' / 'coco_eval'
# pycocotools 2.0.11 under NumPy 2
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

# What cocoapi prints of its own made-up detections (results/val2014_fake_eval_res.txt).
FAKE = {
    'bbox': (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564),
    'segm': (0.320, 0.562, 0.299, 0.387, 0.310, 0.327, 0.268, 0.415, 0.417, 0.469, 0.377, 0.381),
}
# Two people of image 139 of val2017 and three detections, as detectron2 tests with them; what
# pycocotools 2.0.11 says of them.
IMAGE = {'id': 139, 'height': 426, 'width': 640}
PEOPLE = [
    {'bbox': [412.8, 157.61, 53.05, 138.01], 'area': 2913.1104},
    {'bbox': [384.43, 172.21, 15.12, 35.74], 'area': 435.14495},
]
FOUND = [
    ([417.3332824707031, 159.27003479003906, 47.66064453125, 143.00193786621094], 0.9949821829),
    ([383.5909118652344, 172.0777587890625, 17.959075927734375, 36.94813537597656], 0.7685421705),
    ([457.8359069824219, 158.88027954101562, 9.89764404296875, 8.771820068359375], 0.0709275379),
]


def rectangle(box, size=(20, 20)):
    """Run lengths of a rectangle x, y, w, h."""
    from pycocotools import mask

    x, y, w, h = box
    canvas = np.zeros(size, np.uint8, order='F')
    canvas[y : y + h, x : x + w] = 1
    return mask.encode(canvas)


def truth(image, box, category=1, crowd=0):
    own = {'bbox': list(box), 'area': box[2] * box[3], 'segmentation': rectangle(box)}
    return {'image_id': image, 'category_id': category, 'iscrowd': crowd, **own}


def found(image, box, score, category=1):
    own = {'bbox': list(box), 'segmentation': rectangle(box)}
    return {'image_id': image, 'category_id': category, 'score': score, **own}


def evaluate(annotations, detections, *, kind='segm', class_ids=(1, 2), **changes):
    options = {'max_dets': (1, 10, 100), 'backend': 'faster', **changes}
    images = [{'id': i, 'height': 20, 'width': 20} for i in (1, 2)]
    return evaluate_detections(
        images, annotations, detections, kind=kind, class_ids=class_ids, **options
    )


@pytest.mark.skipif(not DATA.is_dir(), reason='no coco_eval in ../shared/data')
@pytest.mark.parametrize('kind', FAKE)
def test_the_numbers_that_cocoapi_prints(kind):
    content = json.loads((DATA / 'instances_val2014_100.json').read_text())
    detections = json.loads((DATA / f'instances_val2014_fake{kind}100_results.json').read_text())
    scores = evaluate_detections(
        content['images'],
        content['annotations'],
        detections,
        kind=kind,
        class_ids=[category['id'] for category in content['categories']],
        max_dets=(1, 10, 100),
        backend='faster',
    )
    assert tuple(round(value, 3) for value in scores.summary().values()) == FAKE[kind]


@pytest.mark.parametrize('backend', ['faster', 'pycocotools'])
def test_three_detections_of_two_people(backend):
    scores = evaluate_detections(
        [IMAGE],
        [p | {'image_id': 139, 'category_id': 1, 'iscrowd': 0} for p in PEOPLE],
        [{'bbox': b, 'score': s, 'image_id': 139, 'category_id': 1} for b, s in FOUND],
        kind='bbox',
        class_ids=[1, 65],
        max_dets=(1, 10, 100),
        backend=backend,
    )
    expected = (0.7505, 1, 1, 0.7, 0.8, np.nan, 0.4, 0.75, 0.75, 0.7, 0.8, np.nan)
    np.testing.assert_allclose(list(scores.summary().values()), expected, atol=5e-5)


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('max_dets', [(1, 10, 100), (5,), (2, 300)])
def test_both_programs_count_the_same(kind, max_dets):
    """Random rectangles, crowds, equal scores, images without objects or detections."""
    rng = np.random.default_rng(0)
    box = lambda: (*rng.integers(0, 12, 2).tolist(), *rng.integers(1, 9, 2).tolist())
    kwargs = {'kind': kind, 'max_dets': max_dets}
    for _ in range(5):
        known = [truth(1, box(), rng.integers(1, 3).item(), i == 3) for i in range(6)]
        guesses = [
            found(i % 2 + 1, box(), rng.integers(1, 4) / 4, rng.integers(1, 3).item())
            for i in range(12)
        ]
        a, b = (evaluate(known, guesses, backend=b, **kwargs) for b in ('faster', 'pycocotools'))
        np.testing.assert_allclose(a.precision, b.precision, atol=1e-12)
        np.testing.assert_array_equal(a.recall, b.recall)


def test_one_class_of_two_is_found():
    """A mask of IoU 4/5 counts up to that threshold: 7 of 10; the other class has no detection."""
    known = [truth(1, (0, 0, 5, 4)), truth(2, (3, 3, 4, 4), 2)]
    scores = evaluate(known, [found(1, (0, 0, 4, 4), 0.9)])
    assert scores.ap(place=0) == pytest.approx(0.7)
    assert scores.ap(place=1) == 0
    assert scores.ap() == pytest.approx(0.35)
    assert scores.ap(threshold=0.5) == pytest.approx(0.5)
    assert scores.ap(threshold=0.5, area='small') == pytest.approx(0.5)
    assert np.isnan(scores.ap(area='large'))
    np.testing.assert_allclose(scores.curve(threshold=0.75), np.full(len(RECALLS), 0.5))


def test_nothing_found_is_zero_and_nothing_there_is_no_number():
    nothing = evaluate([truth(1, (0, 0, 4, 4))], [])
    assert nothing.summary()['ap'] == nothing.summary()['ar100'] == 0
    empty = evaluate([], [found(1, (0, 0, 4, 4), 0.9)])
    assert all(np.isnan(value) for value in empty.summary().values())
    assert np.isnan(empty.curve(threshold=0.5)).all()


@pytest.mark.parametrize('backend', ['faster', 'pycocotools'])
@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_every_kind_of_emptiness(kind, backend):
    """Of two classes the second has neither objects nor detections: it is in no mean."""
    known, guess = [truth(1, (0, 0, 4, 4))], [found(1, (0, 0, 4, 4), 0.9)]
    count = lambda *parts, **changes: evaluate(*parts, kind=kind, backend=backend, **changes)
    right = count(known, guess)
    assert right.ap() == pytest.approx(1) == right.ap(place=0) and np.isnan(right.ap(place=1))
    np.testing.assert_allclose(right.curve(threshold=0.5), 1)
    assert count(known, []).ap() == count(known, [], max_dets=(5,)).ar(max_dets=5) == 0
    assert count(known, []).ap(threshold=0.75, place=0) == 0
    assert np.isnan(count([], guess).ap()) and np.isnan(count([], []).ap())
    assert np.isnan([*count([], []).summary().values()]).all()
    assert np.isnan(count([truth(1, (0, 0, 4, 4), crowd=1)], guess).ap())
    elsewhere = count(known, [found(1, (0, 0, 4, 4), 0.9, 2)])  # of a class that is not there
    assert elsewhere.ap() == elsewhere.ap(place=0) == 0 and np.isnan(elsewhere.ap(place=1))


def test_more_detections_than_the_limit_do_not_count():
    """The right one has the lowest score."""
    known = [truth(1, (0, 0, 4, 4))]
    guesses = [found(1, (10 + i, 10, 4, 4), 0.9 - i / 10) for i in range(3)]
    guesses.append(found(1, (0, 0, 4, 4), 0.1))
    assert evaluate(known, guesses, max_dets=(3,)).ap() == 0
    assert evaluate(known, guesses, max_dets=(4,)).ap() == pytest.approx(0.25)


def test_crowds_forgive():
    """Detections inside a crowd are neither right nor wrong."""
    known = [truth(1, (0, 0, 4, 4)), truth(1, (8, 0, 12, 20), crowd=1)]
    guesses = [found(1, (9, 5, 3, 3), 0.95), found(1, (0, 0, 4, 4), 0.9)]
    assert evaluate(known, guesses).ap() == pytest.approx(1)


def test_the_order_of_the_classes_is_that_asked_for():
    known = [truth(1, (0, 0, 5, 4), 1), truth(2, (3, 3, 4, 4), 2)]
    scores = evaluate(known, [found(2, (3, 3, 4, 4), 0.9, 2)], class_ids=(2, 1))
    assert scores.ap(place=0) == pytest.approx(1) and scores.ap(place=1) == 0


def test_what_is_given_is_not_changed():
    known, guesses = [truth(1, (0, 0, 4, 4))], [found(1, (0, 0, 4, 4), 0.9)]
    before = set(known[0]), set(guesses[0])
    evaluate(known, guesses)
    assert (set(known[0]), set(guesses[0])) == before
