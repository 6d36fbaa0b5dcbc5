"""Lovász-softmax by hand, at the corners where it is the Jaccard loss, and over a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import CrossEntropy, CrossEntropyLovasz, lovasz_softmax

LOG3 = float(np.log(3))
# Foreground probabilities 3/4, 1/2, 1/4 on pixels of class 1, 1, 0.
LOGITS = jnp.asarray([[[[0, LOG3], [0, 0], [LOG3, 0]]]], jnp.float32)
LABEL = jnp.asarray([[[1, 1, 0]]], jnp.int32)


def test_three_pixels_by_hand():
    # Class 1: errors 1/4, 1/2, 1/4. Taking in the pixel with 1/2, the Jaccard loss is 1/2; then the
    # first, in a tie of 1/4 with the third: 1; 1. So 1/2 * 1/2 + 1/4 * 1/2 + 0.
    first = 0.5 * 0.5 + 0.25 * 0.5
    # Class 0 is on one pixel. With the pixel of 1/2 the loss is 1 - 1/2, with the next 1 - 1/3 (a
    # pixel of class 1) and 1 - 0, or 1 and 1: of equal errors the order makes no difference.
    second = 0.5 * 0.5 + 0.25 * 0.5
    total, count = lovasz_softmax(LOGITS, LABEL, over='image')
    np.testing.assert_allclose(total, [(first + second) / 2], rtol=1e-6)
    assert count.tolist() == [1]


def test_the_gradient_by_hand():
    # Errors of class 1: 1/4, 1/2, 0; slopes 1/2 for both pixels of class 1, none for the third.
    # Of class 0, on the third pixel: 1/2 for the second, 1/6 for the first, 1/3 for the third.
    logits = LOGITS.at[0, 0, 2, 0].set(40.0)
    gradient = jax.grad(lambda x: lovasz_softmax(x, LABEL, over='image')[0].sum())(logits)
    dp = np.array([0.75 * 0.25, 0.5 * 0.5])  # of a probability by its logit
    expected = -dp * np.array([0.5 + 1 / 6, 0.5 + 0.5]) / 2  # of the mean of two classes
    np.testing.assert_allclose(gradient[0, 0, :2, 1], expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[0, 0, 2], 0, atol=1e-6)


def test_of_certain_predictions_it_is_one_less_the_mean_iou():
    rng = np.random.default_rng(0)
    label, guess = rng.integers(0, 4, (2, 1, 6, 7))
    logits = jnp.asarray(100.0 * np.eye(5)[guess], jnp.float32)  # class 4 does not occur
    total, _ = lovasz_softmax(logits, jnp.asarray(label, jnp.int32), over='image')
    iou = [
        ((label == c) & (guess == c)).sum() / ((label == c) | (guess == c)).sum() for c in range(4)
    ]
    np.testing.assert_allclose(total, [1 - np.mean(iou)], rtol=1e-5)


@pytest.mark.parametrize('over', ['image', 'batch'])
def test_ignored_pixels_count_for_nothing(over):
    value = jax.value_and_grad(lambda x, y: lovasz_softmax(x, y, over=over)[0].sum())
    wide = jnp.concatenate([LOGITS, 9 * LOGITS], axis=2)
    label = jnp.concatenate([LABEL, jnp.full_like(LABEL, 255)], axis=2)
    (found, gradient), (expected, narrow) = value(wide, label), value(LOGITS, LABEL)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, :, :3], narrow, atol=1e-7)
    np.testing.assert_array_equal(gradient[:, :, 3:], 0)


def test_over_a_batch_it_is_the_loss_of_one_wide_picture():
    two = jnp.concatenate([LOGITS, LOGITS[:, :, ::-1]])
    labels = jnp.concatenate([LABEL, LABEL])
    wide = jnp.concatenate([LOGITS, LOGITS[:, :, ::-1]], axis=2)
    both = jnp.concatenate([LABEL, LABEL], axis=2)
    total, count = lovasz_softmax(two, labels, over='batch')
    expected, _ = lovasz_softmax(wide, both, over='image')
    np.testing.assert_allclose(total, [expected[0]] * 2, rtol=1e-6)
    apart, _ = lovasz_softmax(two, labels, over='image')
    assert abs(float(apart.mean()) - float(expected[0])) > 1e-3
    total, count = lovasz_softmax(two, labels.at[1].set(255), over='batch')
    assert (float(total[1]), count.tolist()) == (0, [1, 0])


def test_without_labels_loss_and_gradient_are_zero():
    value = lambda x: lovasz_softmax(x, jnp.full_like(LABEL, 255), over='image')[0].sum()
    total, gradient = jax.value_and_grad(value)(LOGITS)
    assert float(total) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_the_criterion_scales_its_terms():
    weight = jnp.asarray([[[2.0, 1.0, 1.0]]])
    terms = CrossEntropyLovasz(cross_entropy=0.5, lovasz=3.0).terms(LOGITS, LABEL, weight)
    energy, count = CrossEntropy()(LOGITS, LABEL, weight)
    np.testing.assert_allclose(terms['cross_entropy'][0], 0.5 * energy)
    np.testing.assert_allclose(terms['cross_entropy'][1], count)
    np.testing.assert_allclose(
        terms['lovasz'][0], 3 * lovasz_softmax(LOGITS, LABEL, over='image')[0]
    )
    assert set(CrossEntropyLovasz(cross_entropy=0.0).terms(LOGITS, LABEL, None)) == {'lovasz'}


def test_only_that_of_a_batch_is_no_sum_over_images():
    batch = CrossEntropyLovasz(over='batch')
    assert not batch.is_sum_over_images
    assert batch.of_all_pixels().is_sum_over_images
    assert CrossEntropyLovasz(over='batch', lovasz=0.0).is_sum_over_images
    assert CrossEntropyLovasz().is_sum_over_images
