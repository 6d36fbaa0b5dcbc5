"""Cross-entropy on four pixels by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import CrossEntropy, cross_entropy
from segjax.types import UserError

LOG3 = float(np.log(3))
# Softmax of the four pixels: (1/2, 1/2), (3/4, 1/4), (3/4, 1/4), (1/4, 3/4).
LOGITS = jnp.asarray([[[[0, 0], [LOG3, 0]], [[LOG3, 0], [0, LOG3]]]], jnp.float32)
LABEL = jnp.asarray([[[0, 0], [1, 255]]], jnp.int32)
NLL = np.log([2, 4 / 3, 4])  # of the three labelled pixels


def _total(logits, label=LABEL, **options):
    total, count = cross_entropy(logits, label, **options)
    return total.sum(), count.sum()


def test_four_pixels_by_hand():
    total, count = cross_entropy(LOGITS, LABEL)
    np.testing.assert_allclose(total, [NLL.sum()], rtol=1e-6)
    assert count.tolist() == [3]


def test_the_gradient_is_probability_minus_one_hot():
    gradient = jax.grad(lambda x: _total(x)[0])(LOGITS)
    expected = [[[-0.5, 0.5], [-0.25, 0.25]], [[0.75, -0.75], [0, 0]]]
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)


@pytest.mark.parametrize('other', [255, 2, 3, 200, -1, 2**31 - 1])
def test_ids_that_are_no_class_change_nothing(other):
    label = LABEL.at[0, 1, 1].set(other)
    value = jax.value_and_grad(lambda x, label: _total(x, label)[0])
    for found, expected in zip(value(LOGITS, label), value(LOGITS, LABEL), strict=True):
        np.testing.assert_array_equal(found, expected)
    # Neither do the logits there.
    moved = LOGITS.at[0, 1, 1].set(jnp.asarray([1e30, -5.0]))
    assert _total(moved, label)[0] == _total(LOGITS)[0]
    np.testing.assert_array_equal(value(moved, label)[1][0, 1, 1], [0, 0])


def test_a_batch_without_labels_has_loss_and_gradient_zero():
    label = jnp.full((1, 2, 2), 255, jnp.int32)
    assert [float(x) for x in _total(LOGITS, label)] == [0, 0]
    gradient = jax.grad(lambda x: _total(x, label)[0])(LOGITS)
    np.testing.assert_array_equal(gradient, np.zeros(LOGITS.shape))


def test_class_weights_give_the_weighted_mean_of_torch():
    total, count = _total(LOGITS, class_weights=(1.0, 3.0))
    assert float(count) == 1 + 1 + 3
    assert float(total / count) == pytest.approx((NLL[0] + NLL[1] + 3 * NLL[2]) / 5)


def test_a_class_of_weight_zero_is_left_out_of_both_sums():
    total, count = _total(LOGITS, class_weights=(0.0, 1.0))
    assert float(count) == 1
    assert float(total) == pytest.approx(NLL[2])


def test_a_weight_map_scales_the_loss_and_not_the_count():
    weight = jnp.asarray([[[1.0, 2.0], [10.0, 1000.0]]])  # the last one lies on an ignored pixel
    total, count = _total(LOGITS, weight=weight)
    assert float(total) == pytest.approx(NLL[0] + 2 * NLL[1] + 10 * NLL[2])
    assert float(count) == 3
    total, count = _total(LOGITS, weight=weight, class_weights=(1.0, 3.0))
    assert float(total) == pytest.approx(NLL[0] + 2 * NLL[1] + 30 * NLL[2])
    assert float(count) == 5


def test_each_image_has_its_own_sums():
    logits = jnp.concatenate([LOGITS, LOGITS[:, ::-1], jnp.zeros_like(LOGITS)])
    label = jnp.concatenate([LABEL, LABEL, jnp.full_like(LABEL, 255)])
    total, count = cross_entropy(logits, label)
    for i in range(3):
        alone, alone_count = cross_entropy(logits[i : i + 1], label[i : i + 1])
        np.testing.assert_allclose(total[i], alone[0], rtol=1e-6)
        assert count[i] == alone_count[0]


def test_extreme_logits_stay_finite():
    logits = jnp.asarray([[[[1e5, -1e5], [-1e5, 1e5]]]], jnp.float32)
    label = jnp.zeros((1, 1, 2), jnp.int32)
    value, gradient = jax.value_and_grad(lambda x: _total(x, label)[0])(logits)
    assert float(value) == 2e5
    np.testing.assert_array_equal(gradient[0, 0], [[0, 0], [-1, 1]])


def test_mean_divides_by_pixels_and_sum_by_images():
    logits, label = jnp.concatenate([LOGITS] * 2), jnp.concatenate([LABEL] * 2)
    total, count = CrossEntropy()(logits, label, None)
    assert float(total.sum() / count.sum()) == pytest.approx(NLL.mean())
    total, count = CrossEntropy(reduction='sum')(logits, label, None)
    assert count.tolist() == [1, 1]
    assert float(total.sum() / count.sum()) == pytest.approx(NLL.sum())


def test_the_criterion_passes_its_weights_on():
    weight = jnp.full((1, 2, 2), 2.0)
    total, count = CrossEntropy(class_weights=(1.0, 3.0))(LOGITS, LABEL, weight)
    assert float(total[0] / count[0]) == pytest.approx(2 * (NLL[0] + NLL[1] + 3 * NLL[2]) / 5)


def test_another_number_of_class_weights_is_refused():
    with pytest.raises(UserError, match='3 class weights for 2 classes'):
        CrossEntropy(class_weights=(1.0, 1.0, 1.0))(LOGITS, LABEL, None)
