"""The weights of heads, by hand."""

import numpy as np
import pytest

from segjax.losses import head_weights


def weights(supervision, number=4, step=0, steps=10):
    return [float(w) for w in head_weights(supervision, number, step=step, steps=steps)]


def test_four_heads():
    assert weights('mean') == [0.25] * 4
    assert weights('sum') == [1] * 4
    np.testing.assert_allclose(weights('halving'), np.array([1, 2, 4, 8]) / 15)


def test_the_ramp_ends_at_the_main_head():
    np.testing.assert_allclose(weights('ramp'), [0.25] * 4)
    np.testing.assert_allclose(weights('ramp', step=5), [0.125, 0.125, 0.125, 0.625])
    for step in (10, 11):
        np.testing.assert_allclose(weights('ramp', step=step), [0, 0, 0, 1])


@pytest.mark.parametrize('supervision', ['mean', 'sum', 'halving', 'ramp'])
@pytest.mark.parametrize('step', [0, 3, 99])
def test_one_head_has_the_plain_loss(supervision, step):
    assert weights(supervision, 1, step) == [1]


@pytest.mark.parametrize('supervision', ['mean', 'halving', 'ramp'])
def test_weights_add_up_to_one(supervision):
    assert sum(weights(supervision, 3, 4)) == pytest.approx(1)
