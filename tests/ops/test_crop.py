"""Cropping and mirroring against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from segjax import ops


def test_mirror_pad_does_not_repeat_the_border_by_hand():
    line = jnp.asarray([1, 2, 3, 4]).reshape(1, 1, 4, 1)
    padded = ops.mirror_pad(line, (0, 0), (3, 5))
    assert padded.ravel().tolist() == [4, 3, 2, 1, 2, 3, 4, 3, 2, 1, 2, 3]


@pytest.mark.parametrize(
    'rows, columns',
    [((0, 0), (0, 0)), ((2, 1), (0, 3)), ((4, 4), (5, 5)), ((13, 7), (92, 40)), ((9, 0), (0, 31))],
)
@pytest.mark.parametrize('size', [(5, 4), (2, 3), (1, 6)])
def test_mirror_pad_equals_numpy_for_pads_of_any_length(size, rows, columns):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.pad(x, ((0, 0), rows, columns, (0, 0)), mode='reflect')
    np.testing.assert_array_equal(ops.mirror_pad(jnp.asarray(x), rows, columns), expected)


def test_center_crop_by_hand():
    ramp = jnp.arange(25).reshape(1, 5, 5)
    assert ops.center_crop(ramp, (3, 1))[0].tolist() == [[7], [12], [17]]
    # An odd remainder is cut off behind.
    assert ops.center_crop(ramp, (2, 4))[0].tolist() == [[5, 6, 7, 8], [10, 11, 12, 13]]
    assert ops.center_crop(ramp, (5, 5))[0].tolist() == ramp[0].tolist()


def test_center_crop_undoes_mirror_pad():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32))
    padded = ops.mirror_pad(x, (6, 6), (3, 3))
    np.testing.assert_array_equal(ops.center_crop(padded, (4, 5)), x)


def test_mirroring_exported_for_any_size():
    """Before and behind, by amounts that depend on the size, and on both sides of it."""
    image = jnp.arange(90.0).reshape(1, 5, 9, 2)

    def pad(x):
        h, w = x.shape[1:3]
        return ops.mirror_pad(x, (3, -(-h // 8) * 8 - h), (0, -(-w // 4) * 8 - w))

    any_size = jax.ShapeDtypeStruct((1, *export.symbolic_shape('h, w'), 2), jnp.float32)
    exported = export.export(jax.jit(pad))(any_size)
    for part in (image, image[:, :1, :4]):
        np.testing.assert_array_equal(exported.call(part), pad(part))
