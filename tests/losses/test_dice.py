"""Dice by hand, over images and over a batch, and its sum with cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import CrossEntropy, CrossEntropyDice, dice_loss
from segjax.types import UserError

# Foreground probabilities: 3/4 and 1/4 in one image of two pixels, 1/2 and 3/4 in another.
LOG3 = float(np.log(3))
LOGITS = jnp.asarray([[[[0, LOG3], [LOG3, 0]]], [[[0, 0], [0, LOG3]]]], jnp.float32)
LABEL = jnp.asarray([[[1, 0]], [[1, 1]]], jnp.int32)


def loss(label=LABEL, *, smooth=0.0, over='image', background=False, logits=LOGITS):
    total, count = dice_loss(logits, label, smooth=smooth, over=over, background=background)
    return np.asarray(total), np.asarray(count)


def test_each_image_by_hand():
    total, count = loss()  # 2 * 3/4 / (1 + 1), 2 * 5/4 / (5/4 + 2)
    np.testing.assert_allclose(total, [1 - 1.5 / 2, 1 - 2.5 / 3.25], rtol=1e-6)
    assert count.tolist() == [1, 1]
    smooth, _ = loss(smooth=1.0)
    np.testing.assert_allclose(smooth, [1 - 2.5 / 3, 1 - 3.5 / 4.25], rtol=1e-6)


def test_all_pixels_of_the_batch_by_hand():
    total, _ = loss(over='batch', smooth=1.0)  # as the official code: (2 * 2 + 1) / (9/4 + 3 + 1)
    np.testing.assert_allclose(total, [1 - 5 / 6.25] * 2, rtol=1e-6)


def test_the_background_has_a_dice_if_asked():
    total, _ = loss(background=True)
    first = np.mean([1.5 / 2, 2 * 0.75 / (1 + 1)])
    np.testing.assert_allclose(total[0], 1 - first, rtol=1e-6)


def test_classes_are_weighted_by_hand():
    total, _ = dice_loss(
        LOGITS, LABEL, smooth=1.0, over='image', background=True, class_weights=(1.0, 3.0)
    )
    background, foreground = (2 * 0.75 + 1) / (1 + 1 + 1), (2 * 0.75 + 1) / (1 + 1 + 1)
    np.testing.assert_allclose(total[0], 1 - (background + 3 * foreground) / 4, rtol=1e-6)
    background, foreground = 1 / (0.75 + 1), (2 * 1.25 + 1) / (1.25 + 2 + 1)  # the second image
    np.testing.assert_allclose(total[1], 1 - (background + 3 * foreground) / 4, rtol=1e-6)
    with pytest.raises(UserError, match='3 weights of Dice for 2 classes'):
        CrossEntropyDice(dice_weights=(1.0, 2.0, 3.0)).terms(LOGITS, LABEL, None)


def test_an_empty_mask_that_is_predicted_empty_is_right():
    logits = jnp.asarray([[[[50.0, 0.0]]]])
    total, _ = loss(jnp.zeros((1, 1, 1), jnp.int32), logits=logits, smooth=1e-5)
    assert total[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('over', ['image', 'batch'])
def test_ignored_pixels_count_for_nothing(over):
    wide = jnp.concatenate([LOGITS, 7 * LOGITS], axis=2)
    label = jnp.concatenate([LABEL, jnp.full_like(LABEL, 255)], axis=2)
    np.testing.assert_allclose(loss(label, logits=wide, over=over)[0], loss(over=over)[0])


def test_an_image_without_labels_has_loss_and_gradient_zero():
    def total(logits):
        terms = CrossEntropyDice().terms(logits, jnp.full_like(LABEL, 255), None)
        return sum(jnp.sum(energy) for energy, _ in terms.values())

    value, gradient = jax.value_and_grad(total)(LOGITS)
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)
    assert loss(jnp.full_like(LABEL, 255))[1].tolist() == [0, 0]


def test_the_factors_scale_their_terms():
    weight = jnp.asarray([[[2.0, 1.0]], [[1.0, 1.0]]])
    terms = CrossEntropyDice(cross_entropy=0.5, dice=3.0, smooth=0.0).terms(LOGITS, LABEL, weight)
    energy, count = CrossEntropy()(LOGITS, LABEL, weight)
    np.testing.assert_allclose(terms['cross_entropy'][0], 0.5 * energy)
    np.testing.assert_allclose(terms['cross_entropy'][1], count)
    np.testing.assert_allclose(terms['dice'][0], 3 * loss()[0])
    assert set(CrossEntropyDice(dice=0.0).terms(LOGITS, LABEL, None)) == {'cross_entropy'}
    assert set(CrossEntropyDice(cross_entropy=0.0).terms(LOGITS, LABEL, None)) == {'dice'}


def test_only_the_dice_of_a_batch_is_no_sum_over_images():
    batch = CrossEntropyDice(over='batch')
    assert not batch.is_sum_over_images
    assert batch.of_all_pixels().is_sum_over_images
    assert CrossEntropyDice(over='batch', dice=0.0).is_sum_over_images
    assert CrossEntropyDice().is_sum_over_images and CrossEntropy().is_sum_over_images
