"""Scores of objects, against loops over sets of pixels."""

import itertools

import numpy as np
import pytest

from segjax.metrics import instances

KEYS = ('ap', 'ap50', 'ap75', 'aji', 'seg', 'pq', 'sq', 'rq')


def random_objects(rng, number, size=(24, 30)):
    objects = np.zeros(size, np.int32)
    for name in rng.permutation(np.arange(1, 100))[:number]:
        top, left = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
        objects[top : top + rng.integers(2, 9), left : left + rng.integers(2, 9)] = name
    return objects


def disturbed(rng, objects):
    """The objects moved a little, some gone, some new, all renamed."""
    moved = np.roll(objects, rng.integers(-1, 2, 2), (0, 1))
    moved[np.isin(moved, rng.choice(np.unique(moved), 2))] = 0
    extra = random_objects(rng, 2)
    return np.where(moved > 0, moved + 100, extra).astype(np.int32)


def pixel_sets(objects):
    return [set(np.flatnonzero(objects == name).tolist()) for name in np.unique(objects) if name]


def iou(a, b):
    return len(a & b) / len(a | b)


def most_pairs(label, prediction, threshold):
    """The largest matching, by trying to give every labelled object each partner, or none."""
    if not label:
        return 0
    first, *rest = label
    best = most_pairs(rest, prediction, threshold)
    for i, other in enumerate(prediction):
        if iou(first, other) >= threshold:
            others = prediction[:i] + prediction[i + 1 :]
            best = max(best, 1 + most_pairs(rest, others, threshold))
    return best


def by_brute_force(label, prediction):
    label, prediction = pixel_sets(label), pixel_sets(prediction)
    total = len(label) + len(prediction)
    found = [most_pairs(label, prediction, k / 100) for k in range(50, 100, 5)]
    precision = [tp / (total - tp) for tp in found]
    both = either = 0
    met = set()
    for cell in label:
        best = max(range(len(prediction)), key=lambda i: iou(cell, prediction[i]))
        if cell & prediction[best]:
            met.add(best)
            both += len(cell & prediction[best])
            either += len(cell | prediction[best])
        else:
            either += len(cell)
    either += sum(len(cell) for i, cell in enumerate(prediction) if i not in met)
    matched = [v for a, b in itertools.product(label, prediction) if (v := iou(a, b)) > 0.5]
    quality, recognition = (sum(matched) / len(matched) if matched else 0), 2 * len(matched) / total
    panoptic = (quality * recognition, quality, recognition)
    seg = sum(iou(a, b) for a in label for b in prediction if 2 * len(a & b) > len(a)) / len(label)
    return (sum(precision) / 10, precision[0], precision[5], both / either, seg, *panoptic)


@pytest.mark.parametrize('seed', range(12))
def test_scores_are_those_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    label = random_objects(rng, 8)
    prediction = disturbed(rng, label)
    found = instances.instance_scores(label, prediction)
    assert tuple(found) == KEYS
    assert tuple(found.values()) == pytest.approx(by_brute_force(label, prediction), abs=1e-12)
    assert 0 < found['aji'] < 1


def test_a_picture_by_hand():
    label, prediction = np.zeros((2, 4, 12), np.int32)
    label[:, :4], label[:, 6:8] = 1, 2  # 16 and 8 pixels
    prediction[:, :3], prediction[:, 9:11] = 5, 9  # 12 of the first; 8 that are nowhere
    found = instances.instance_scores(label, prediction)
    assert found['ap50'] == found['ap75'] == 1 / 3  # one match, one missed, one invented
    assert found['ap'] == pytest.approx(6 / 10 / 3)  # an IoU of .75 reaches six thresholds
    assert found['aji'] == 12 / (16 + 8 + 8)
    assert found['seg'] == 0.75 / 2
    assert (found['pq'], found['sq'], found['rq']) == (0.375, 0.75, 0.5)


def test_the_same_objects_under_other_names_are_perfect():
    rng = np.random.default_rng(0)
    label = random_objects(rng, 7)
    names = np.concatenate([[0], 1 + rng.permutation(200)])
    assert set(instances.instance_scores(label, names[label]).values()) == {1.0}


def test_the_policy_for_empty_maps():
    empty, full = np.zeros((2, 5, 5), np.int32)
    full[1:3, 1:3] = 1
    assert set(instances.instance_scores(empty, empty).values()) == {1.0}
    assert set(instances.instance_scores(empty, full).values()) == {0.0}
    assert set(instances.instance_scores(full, empty).values()) == {0.0}


def test_a_merged_pair_counts_as_one_match_at_most():
    label = np.zeros((4, 9), np.int32)
    label[:, :4], label[:, 5:] = 1, 2
    merged = np.ones((4, 9), np.int32)
    found = instances.instance_scores(label, merged)
    assert found['ap50'] == found['pq'] == 0  # 16 of 36 pixels each
    assert found['aji'] == 32 / 72
    assert found['seg'] == 16 / 36  # both have the one object as their partner


def test_components_by_their_connectivity():
    mask = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 1]], bool)
    four = instances.label_components(mask)
    eight = instances.label_components(mask, connectivity=8)
    np.testing.assert_array_equal(four, [[1, 0, 0], [0, 2, 2], [3, 0, 2]])
    np.testing.assert_array_equal(eight, mask.astype(int))


def discs(centers, radius, size=(60, 80)):
    y, x = np.indices(size)
    found = np.zeros(size, np.int32)
    for number, (cy, cx) in enumerate(centers, start=1):
        found[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return found


def test_the_watershed_splits_touching_discs_at_the_neck():
    label = discs([(20, 20), (20, 38), (45, 60)], 10)
    assert instances.label_components(label > 0).max() == 2
    found = instances.watershed(label > 0)
    assert found.max() == 3
    np.testing.assert_array_equal(found > 0, label > 0)
    assert instances.instance_scores(label, found)['ap'] > 0.9


def test_the_watershed_loses_no_part_however_small():
    mask = discs([(30, 30)], 12) > 0
    mask[30, 44] = True  # in the shadow of the disc's peak
    mask[0, 0] = True
    found = instances.watershed(mask, radius=20)
    assert found.max() == 3 and len(set(found[[30, 30, 0], [30, 44, 0]])) == 3
    np.testing.assert_array_equal(found > 0, mask)
    assert instances.watershed(np.zeros((4, 4), bool)).max() == 0
    assert instances.watershed(np.ones((4, 4), bool)).min() == 1
