"""Normalisation by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops


def test_by_hand():
    image = jnp.asarray([0, 100, 255], jnp.uint8).reshape(1, 1, 1, 3)
    y = ops.normalize(image, (10.0, 50.0, 255.0), (2.0, 25.0, 50.0))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y.ravel(), [-5, 2, 0], rtol=1e-6)


def test_one_number_serves_every_channel():
    image = jnp.asarray([0, 510], jnp.uint16).reshape(1, 1, 2)  # a sample, without a batch
    np.testing.assert_allclose(ops.normalize(image, (255.0,), (51.0,)).ravel(), [-5, 5], rtol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.uint8, jnp.uint16, jnp.float32])
def test_every_kind_of_image_becomes_float32(dtype):
    image = jnp.asarray([3, 5], dtype).reshape(1, 1, 2, 1)
    y = ops.normalize(image, (4.0,), (0.5,))
    assert y.dtype == jnp.float32
    assert y.ravel().tolist() == [-2, 2]


@pytest.mark.parametrize(
    'mean, std', [((1.0, 2.0), (1.0, 1.0)), ((1.0,), (1.0, 1.0, 1.0)), ((), ())]
)
def test_numbers_that_do_not_fit_the_channels_are_refused(mean, std):
    with pytest.raises(ValueError, match='do not fit an image of 3 channels'):
        ops.normalize(jnp.zeros((1, 2, 2, 3)), mean, std)
