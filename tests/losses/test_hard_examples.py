"""The hardest pixels of images of four, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import CrossEntropy, hardest
from segjax.types import UserError

# Two classes; the loss of label 0 at logits (0, z) is log(1 + e^z).
Z = jnp.asarray([[[3.0, -1.0], [0.0, 2.0]], [[-4.0, -2.0], [-3.0, -1.0]]])
LOGITS = jnp.stack([jnp.zeros_like(Z), Z], axis=-1)
LABEL = jnp.zeros((2, 2, 2), jnp.int32)
LOSS = np.log1p(np.exp(np.float64(Z)))


def _share(x):
    return jnp.asarray(x, jnp.float32)


def test_each_image_is_ranked_by_itself():
    valid = jnp.ones((2, 2, 2), bool)
    found = hardest(jnp.asarray(LOSS, jnp.float32), valid, _share(0.5))
    expected = [[[True, False], [False, True]], [[False, True], [False, True]]]
    assert found.tolist() == expected


@pytest.mark.parametrize(('share', 'number'), [(0.0, 1), (0.3, 1), (0.6, 2), (0.7, 3), (1.0, 4)])
def test_the_share_is_rounded_and_never_nothing(share, number):
    found = hardest(jnp.asarray(LOSS, jnp.float32), jnp.ones((2, 2, 2), bool), _share(share))
    assert found.sum(axis=(1, 2)).tolist() == [number, number]


def test_void_pixels_are_neither_chosen_nor_counted():
    """The hardest pixel of the first image is void: the half of three that is left is two."""
    valid = jnp.ones((2, 2, 2), bool).at[0, 0, 0].set(False).at[1].set(False)
    found = hardest(jnp.asarray(LOSS, jnp.float32), valid, _share(0.5))
    assert found.tolist() == [[[False, False], [True, True]], [[False] * 2] * 2]


def test_equals_are_taken_together_and_nan_is_not_hidden():
    valid = jnp.ones((1, 2, 2), bool)
    same = jnp.full((1, 2, 2), 0.7)
    assert hardest(same, valid, _share(0.25)).all()
    assert hardest(same.at[0, 1, 1].set(jnp.nan), valid, _share(0.25))[0, 1, 1]


def test_loss_and_gradient_are_those_of_the_hardest_half():
    criterion = CrossEntropy(top_k=0.5)
    total, count = criterion(LOGITS, LABEL, None)
    expected = [LOSS[0, 0, 0] + LOSS[0, 1, 1], LOSS[1, 0, 1] + LOSS[1, 1, 1]]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert count.tolist() == [2, 2]
    slope = jax.grad(lambda x: criterion(x, LABEL, None)[0].sum())(LOGITS)[..., 1]
    kept = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]])
    np.testing.assert_allclose(slope, kept / (1 + np.exp(-np.float64(Z))), rtol=1e-5)


def test_weights_of_classes_and_pixels_decide_what_is_hard():
    """Weighted losses 3 x .31, .69, 2.13, .01 x 3.05: the first two of the ranking count."""
    label, weight = LABEL.at[0, 0, 1].set(1), jnp.ones((2, 2, 2)).at[0, 0, 0].set(0.01)
    total, count = CrossEntropy(class_weights=(1.0, 3.0), top_k=0.5)(LOGITS, label, weight)
    of_one = np.log1p(np.exp(1.0))  # label 1 at logits (0, -1)
    assert float(total[0]) == pytest.approx(3 * of_one + LOSS[0, 1, 1], rel=1e-6)
    assert float(count[0]) == 3 + 1


def test_the_share_falls_linearly_to_top_k():
    criterion = CrossEntropy(top_k=0.25, ramp_steps=30)
    steps = jnp.asarray([0, 10, 20, 30, 1000], jnp.int32)
    counts = jax.vmap(lambda step: criterion(LOGITS, LABEL, None, step)[1][0])(steps)
    assert counts.tolist() == [4, 3, 2, 1, 1]


def test_an_image_without_labels_has_loss_and_gradient_zero():
    void = jnp.full((2, 2, 2), 255, jnp.int32)
    value = jax.value_and_grad(lambda x: CrossEntropy(top_k=0.5)(x, void, None)[0].sum())
    loss, gradient = value(LOGITS)
    assert float(loss) == 0 and not np.any(gradient)
    assert CrossEntropy(top_k=0.5)(LOGITS, void, None)[1].tolist() == [0, 0]


@pytest.mark.parametrize('top_k', [0.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(top_k):
    with pytest.raises(UserError, match='--top_k'):
        CrossEntropy(top_k=top_k)
