"""The focal loss on pixels by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import Focal, cross_entropy, focal_loss
from segjax.types import UserError

LOG3 = float(np.log(3))
# The probability of the pixel's class: 3/4, 1/4; the last pixel has no class.
LOGITS = jnp.asarray([[[[LOG3, 0], [LOG3, 0], [0, LOG3]]]], jnp.float32)
LABEL = jnp.asarray([[[0, 1, 255]]], jnp.int32)


def test_pixels_by_hand():
    total, count = focal_loss(LOGITS, LABEL, gamma=2.0)
    expected = 0.25**2 * np.log(4 / 3) + 0.75**2 * np.log(4)
    np.testing.assert_allclose(total, [expected], rtol=1e-6)
    assert count.tolist() == [2]
    weight = jnp.asarray([[[1.0, 10.0, 1000.0]]])
    total, count = focal_loss(LOGITS, LABEL, gamma=1.0, class_weights=(2.0, 3.0), weight=weight)
    expected = 2 * 0.25 * np.log(4 / 3) + 30 * 0.75 * np.log(4)
    np.testing.assert_allclose(total, [expected], rtol=1e-6)
    assert count.tolist() == [5]


def test_the_gradient_by_hand():
    """Of f = -(1 - p)^2 log p by the logit of the own class: f'(p) p (1 - p)."""
    gradient = jax.grad(lambda x: focal_loss(x, LABEL, gamma=2.0)[0].sum())(LOGITS)
    p = np.array([0.75, 0.25])
    slope = (2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p) * p * (1 - p)
    np.testing.assert_allclose(gradient[0, 0, :, 0], [slope[0], -slope[1], 0], rtol=1e-5)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-6)


def test_without_gamma_it_is_the_cross_entropy():
    for found, expected in zip(
        focal_loss(LOGITS, LABEL, gamma=0.0), cross_entropy(LOGITS, LABEL), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0])
def test_sure_pixels_have_a_finite_gradient(gamma):
    logits = jnp.asarray([[[[1e4, -1e4], [-1e4, 1e4], [0.0, 1e4]]]], jnp.float32)
    value = lambda x: focal_loss(x, LABEL.at[0, 0, 1].set(0), gamma=gamma)[0].sum()
    total, gradient = jax.value_and_grad(value)(logits)
    assert float(total) == 2e4  # of the pixel that is surely wrong
    np.testing.assert_allclose(gradient[0, 0], [[0, 0], [-1, 1], [0, 0]], atol=1e-6)


def test_the_criterion():
    total, count = Focal(2.0, (2.0, 3.0)).terms(LOGITS, LABEL, None)['focal']
    expected = focal_loss(LOGITS, LABEL, gamma=2.0, class_weights=(2.0, 3.0))
    assert (float(total[0]), float(count[0])) == (float(expected[0][0]), 5.0)
    assert Focal().is_sum_over_images
    with pytest.raises(UserError, match=r'gamma=-1\.0: must not be negative'):
        Focal(-1.0)
    with pytest.raises(UserError, match='3 class weights for 2 classes'):
        Focal(class_weights=(1.0, 1.0, 1.0)).terms(LOGITS, LABEL, None)
