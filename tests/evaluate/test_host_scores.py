"""Scores of whole pictures: by hand, merged, in groups, and through an evaluation."""

import dataclasses

import jax
import numpy as np
import pytest

from segjax.data.cells import make_instances
from segjax.data.pipeline import EvalPipeline
from segjax.evaluate.host_scores import (
    HOST_SCORES,
    BoundaryScores,
    ComponentScores,
    ImageScores,
    IsbiScores,
    Seen,
    TrimapScores,
    WatershedScores,
    inside_components,
    number_objects,
)
from segjax.metrics import isbi
from segjax.metrics.instances import label_components
from segjax.tasks import Semantic
from segjax.train.job import make_job
from segjax.types import UserError
from tests.train.test_gradients import Shallow
from tests.train.test_step import NOWHERE, small

RNG = np.random.default_rng(0)


def seen(label, foreground, image_id=0, group='', objects=None):
    """Foreground probabilities `h w`; by default the connected parts of a label are its objects."""
    p = np.asarray(foreground, np.float32)
    label = np.asarray(label, np.int32)
    known = make_instances(label_components(label == 1) if objects is None else objects)
    return Seen(image_id, group, label, known, np.stack([1 - p, p], axis=-1))


def test_iou_and_dice_of_pictures_by_hand():
    scores = ImageScores()
    scores.update(seen([[1, 1, 0, 255]], [[0.9, 0.2, 0.7, 0.9]], 3, 'a'))
    scores.update(seen([[0, 0]], [[0.1, 0.1]], 1, 'b'))  # nothing, and nothing found
    scores.update(seen([[0, 0]], [[0.1, 0.6]], 2, 'b'))
    assert scores.rows[3] == {'image_iou': 1 / 3, 'image_dice': 0.5}
    expected = {'image_iou': 4 / 9, 'image_dice': 0.5}
    expected |= {'image_iou/a': 1 / 3, 'image_dice/a': 0.5, 'image_iou/b': 0.5, 'image_dice/b': 0.5}
    assert scores.compute() == pytest.approx(expected)


def test_every_class_but_the_background_is_foreground():
    p = np.array([[[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]]], np.float32)
    scores = ImageScores()
    scores.update(Seen(0, '', np.array([[1, 2]], np.int32), None, p))
    assert scores.compute()['image_iou'] == 0.5


def discs():
    """Two discs of radius 6 that overlap by a neck: numbers `h w`."""
    y, x = np.mgrid[:20, :30]
    objects = np.where((y - 9) ** 2 + (x - 9) ** 2 <= 36, 1, 0)
    return np.where(((y - 9) ** 2 + (x - 20) ** 2 <= 36) & (objects == 0), 2, objects)


def test_objects_survive_as_boxes_and_masks():
    np.testing.assert_array_equal(number_objects(make_instances(discs()), (20, 30)), discs())


def test_a_watershed_parts_what_touches_and_components_do_not():
    picture = seen(discs() > 0, discs() > 0, objects=discs())
    joined, parted = ComponentScores().score(picture), WatershedScores().score(picture)
    assert joined['components/ap50'] == pytest.approx(1 / 2)  # one of two, nothing wrong: IoU .5
    assert parted['watershed/ap50'] == 1 and parted['watershed/pq'] > 0.9


def test_boundaries_go_to_the_nearest_inside():
    prediction = np.array([[2, 1, 2, 2, 1, 1, 2, 0, 2]])
    np.testing.assert_array_equal(inside_components(prediction), [[1, 1, 1, 2, 2, 2, 2, 0, 2]])
    np.testing.assert_array_equal(inside_components(np.array([[0, 2]])), [[0, 0]])


def test_a_data_set_without_objects_has_no_such_score():
    with pytest.raises(UserError, match='--scores=watershed: the data set does not know'):
        WatershedScores().score(seen([[1]], [[1]])._replace(instances=None))


def test_the_stack_of_slices_in_the_order_of_their_ids():
    labels, found = RNG.random((3, 16, 16)) < 0.7, RNG.random((3, 16, 16)).astype(np.float32)
    scores = IsbiScores()
    for i in (2, 0, 1):
        scores.update(seen(labels[i], found[i], i))
    computed = scores.compute()
    wrong = found <= 0.5
    dice = 2 * (wrong & ~labels).sum() / (wrong.sum() + (~labels).sum())
    assert computed == {'membrane_dice': pytest.approx(dice), **isbi.evaluate(labels, found)}


@pytest.mark.parametrize('name', sorted(HOST_SCORES))
def test_merging_equals_seeing_all(name):
    pictures = [
        seen(RNG.random((8, 8)) < 0.5, RNG.random((8, 8)), i, 'ab'[i % 2]) for i in range(5)
    ]
    whole, one, other, none = (HOST_SCORES[name]() for _ in range(4))
    for i, picture in enumerate(pictures):
        whole.update(picture)
        (one if i < 2 else other).update(picture)
    for scores in (other, none, one):
        one.merge(scores.arrays)
    assert one.compute() == whole.compute()


def test_bands_of_all_pictures_are_one_confusion_matrix():
    halves = np.repeat([[0, 0, 1, 1]], 4, axis=0)
    wrong = np.repeat([[1, 0, 1, 1]], 4, axis=0)
    trimap, boundary = TrimapScores(), BoundaryScores()
    for i, found in enumerate((halves, wrong)):
        trimap.update(seen(halves, found, i))
        boundary.update(seen(halves, found, i))
    scores = trimap.compute()
    assert scores['trimap_iou/1'] == 1  # what is wrong lies two pixels from the boundary
    assert scores['trimap_iou/2'] == pytest.approx((12 / 16 + 16 / 20) / 2)
    assert scores['trimap_iou/32'] == scores['trimap_iou/2']
    # In the second picture class 1 has a second boundary; class 0, one column, has but one.
    assert boundary.rows[1]['boundary_f1'] == pytest.approx((2 * 0.5 / 1.5 + 1) / 2)
    assert boundary.compute()['boundary_f1'] == pytest.approx((1 + 5 / 6) / 2)


def test_slices_of_different_sizes_are_no_stack():
    scores = IsbiScores()
    scores.update(seen(np.ones((4, 4)), np.ones((4, 4)), 0))
    scores.update(seen(np.ones((4, 5)), np.ones((4, 5)), 1))
    with pytest.raises(UserError, match='one size'):
        scores.compute()


def job_of(**task):
    experiment = dataclasses.replace(small(Shallow()), task=Semantic(**task))
    experiment = dataclasses.replace(experiment, eval=EvalPipeline(round_to=48))
    job = make_job(experiment, NOWHERE, devices=jax.devices()[:1], num_threads=0)
    return job, job.initial_state()


def test_an_evaluation_shows_whole_pictures_without_their_padding():
    job, state = job_of(scores=('image',))
    found = job.evaluate(state)
    plain_job, _ = job_of()
    plain = plain_job.evaluate(state)
    assert set(found.metrics) - set(plain.metrics) == {'image_iou', 'image_dice'}
    assert sorted(found.host['image'].rows) == list(range(len(job.eval_source)))
    assert {name: found.metrics[name] for name in plain.metrics} == plain.metrics
    assert job.evaluate(state, batches=job.eval_batches()).metrics == plain.metrics
