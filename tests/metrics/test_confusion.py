"""The confusion matrix and its scores: by hand, against published code's semantics, invariants."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax.metrics import Confusion, confusion


def _gather(labels, predictions, num_classes):
    """One evaluator over maps of different sizes."""
    total = Confusion(num_classes)
    for label, prediction in zip(labels, predictions, strict=True):
        label, prediction = (jnp.asarray(x, jnp.int32)[None] for x in (label, prediction))
        total.update(np.asarray(confusion(label, prediction, num_classes=num_classes)))
    return total


def _random(seed, shape=(3, 4, 5), k=4):
    rng = np.random.default_rng(seed)
    label = rng.choice([*range(k), 255], shape).astype(np.int32)
    return label, rng.integers(0, k, shape).astype(np.int32)


def test_four_pixels_by_hand():
    label = jnp.asarray([[[0, 0], [1, 255]]], jnp.int32)
    prediction = jnp.asarray([[[0, 1], [1, 1]]], jnp.int32)
    counts = confusion(label, prediction, num_classes=2)
    assert counts.dtype == jnp.int32
    assert counts.tolist() == [[[1, 1], [0, 1]]]


def test_counts_equal_a_loop():
    label, prediction = _random(0)
    counts = confusion(jnp.asarray(label), jnp.asarray(prediction), num_classes=4)
    expected = np.zeros((3, 4, 4), int)
    for b, i, j in np.ndindex(label.shape):
        if label[b, i, j] < 4:
            expected[b, label[b, i, j], prediction[b, i, j]] += 1
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize('other', [255, 4, 17, -1, -100, 2**31 - 1, -(2**31)])
def test_ids_that_are_no_class_count_nowhere(other):
    label, prediction = _random(1)
    found = confusion(
        jnp.asarray(np.where(label == 255, np.int32(other), label)),
        jnp.asarray(prediction),
        num_classes=4,
    )
    expected = confusion(jnp.asarray(label), jnp.asarray(prediction), num_classes=4)
    np.testing.assert_array_equal(found, expected)
    assert int(found.sum()) == (label != 255).sum()


def test_scores_by_hand():
    scores = Confusion(3)
    #                           predicted as 0  1  2
    scores.update(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 8]]))
    np.testing.assert_allclose(scores.iou, [6 / 9, 3 / 6, 1])
    np.testing.assert_allclose(scores.accuracy, [6 / 8, 3 / 4, 1])
    np.testing.assert_allclose(scores.share, [8 / 20, 4 / 20, 8 / 20])
    assert scores.compute() == {
        'mean_iou': pytest.approx((6 / 9 + 3 / 6 + 1) / 3),
        'pixel_accuracy': pytest.approx(17 / 20),
        'mean_accuracy': pytest.approx((0.75 + 0.75 + 1) / 3),
        'fw_iou': pytest.approx(0.4 * 6 / 9 + 0.2 * 3 / 6 + 0.4),
    }


def test_an_absent_class_is_left_out_and_one_only_predicted_counts_as_zero():
    scores = Confusion(4)
    scores.update(np.array([[4, 0, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(scores.iou, [1, 0.5, 0, np.nan])
    np.testing.assert_array_equal(scores.accuracy, [1, 0.5, np.nan, np.nan])
    computed = scores.compute()
    assert computed['mean_iou'] == pytest.approx((1 + 0.5 + 0) / 3)
    assert computed['mean_accuracy'] == pytest.approx(0.75)
    assert computed['fw_iou'] == pytest.approx(0.5 * 1 + 0.5 * 0.5)


def test_without_a_labelled_pixel_there_is_no_score():
    computed = Confusion(3).compute()
    assert set(computed) == {'mean_iou', 'pixel_accuracy', 'mean_accuracy', 'fw_iou'}
    assert all(np.isnan(value) for value in computed.values())


def test_scores_are_those_of_fcn_score_py():
    """score.py of the released FCN code, in one line each: hist, nanmean, freq > 0."""
    labels, predictions = _random(2, (6, 9, 7), k=5)
    labels[labels == 3] = 255  # class 3 occurs in predictions only
    predictions[predictions == 4] = 0
    labels[labels == 4] = 0  # class 4 occurs nowhere
    n, a, b = 5, labels.ravel(), predictions.ravel()
    known = (a >= 0) & (a < n)
    hist = np.bincount(n * a[known] + b[known], minlength=n * n).reshape(n, n).astype(float)
    with np.errstate(invalid='ignore'):
        acc = np.diag(hist) / hist.sum(1)
        iou = np.diag(hist) / (hist.sum(1) + hist.sum(0) - np.diag(hist))
    freq = hist.sum(1) / hist.sum()
    assert _gather(labels, predictions, 5).compute() == {
        'mean_iou': pytest.approx(np.nanmean(iou)),
        'pixel_accuracy': pytest.approx(np.diag(hist).sum() / hist.sum()),
        'mean_accuracy': pytest.approx(np.nanmean(acc)),
        'fw_iou': pytest.approx((freq[freq > 0] * iou[freq > 0]).sum()),
    }


def test_the_documented_example_of_hugging_face_evaluate():
    """The docstring of `mean_iou`: num_labels 10, ignore_index 255."""
    predictions = [
        [[1, 2], [3, 4], [5, 255]],
        [[2, 7], [9, 2], [3, 6]],
        [[2, 2, 3], [8, 2, 4], [3, 255, 2]],
    ]
    labels = [
        [[0, 3], [5, 4], [6, 255]],
        [[1, 7], [9, 2], [3, 6]],
        [[1, 2, 2], [8, 2, 1], [3, 255, 1]],
    ]
    scores = _gather(labels, predictions, 10)
    computed = scores.compute()
    assert computed['mean_iou'] == pytest.approx(0.4775)
    assert computed['mean_accuracy'] == pytest.approx(0.5916666666666666)
    assert computed['pixel_accuracy'] == pytest.approx(0.5263157894736842)
    np.testing.assert_allclose(scores.iou, [0, 0, 0.375, 0.4, 0.5, 0, 0.5, 1, 1, 1])


def test_any_split_into_batches_gives_the_same_counts():
    labels, predictions = _random(3, (8, 6, 5))
    whole = confusion(jnp.asarray(labels), jnp.asarray(predictions), num_classes=4)
    for size in (1, 3, 8):
        scores = Confusion(4)
        for i in range(0, 8, size):
            part = slice(i, i + size)
            label, prediction = jnp.asarray(labels[part]), jnp.asarray(predictions[part])
            scores.update(np.asarray(confusion(label, prediction, num_classes=4)))
        np.testing.assert_array_equal(scores.counts, np.asarray(whole).sum(0))


def test_merging_is_associative_and_commutative():
    parts = [_gather(*_random(seed), 4) for seed in (4, 5, 6)]

    def merged(order):
        total = Confusion(4)
        for i in order:
            total.merge(parts[i])
        return total

    right = Confusion(4)
    right.merge(parts[1])
    right.merge(parts[2])
    nested = merged([0])
    nested.merge(right)
    np.testing.assert_array_equal(nested.counts, merged([0, 1, 2]).counts)
    np.testing.assert_array_equal(merged([2, 0, 1]).counts, merged([0, 1, 2]).counts)
    assert nested.compute() == merged([1, 2, 0]).compute()


def test_counts_beyond_32_bits_are_exact():
    scores, image = Confusion(2), np.array([[2**31 - 1, 1], [0, 0]], np.int32)
    for _ in range(3):
        scores.update(np.stack([image, image]))
    assert scores.counts.tolist() == [[6 * (2**31 - 1), 6], [0, 0]]
    assert scores.counts.dtype == np.int64
