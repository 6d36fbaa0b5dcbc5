"""Normalisations in the units of each dtype."""

import numpy as np
import pytest

from segjax.data.normalize import NORMALIZATIONS, fill, statistics, zscore


def test_imagenet_statistics_in_raw_units():
    mean, std = statistics('imagenet', np.uint8)
    np.testing.assert_allclose(mean, [123.675, 116.28, 103.53])
    np.testing.assert_allclose(std, [58.395, 57.12, 57.375])


@pytest.mark.parametrize(('dtype', 'white'), [('uint8', 255), ('uint16', 65535), ('float32', 1)])
def test_unit_and_centered_map_white_to_one(dtype, white):
    for name, black in (('unit', 0), ('centered', -1)):
        mean, std = map(np.array, statistics(name, dtype))
        np.testing.assert_allclose((white - mean) / std, 1)
        np.testing.assert_allclose((0 - mean) / std, black)


@pytest.mark.parametrize('name', NORMALIZATIONS)
@pytest.mark.parametrize('channels', [1, 3])
def test_fill_becomes_zero(name, channels):
    mean, std = map(np.array, statistics(name, 'uint8', channels=channels))
    value = np.array(fill(name, 'uint8', channels=channels))
    assert value.shape == std.shape == (channels,)
    np.testing.assert_array_equal((value - mean) / std, 0)


def test_zscore_by_hand():
    image = np.array([[[0, 5], [2, 5]]], np.uint8)  # means 1 and 5, deviations 1 and 0
    np.testing.assert_allclose(zscore(image), [[[-1, 0], [1, 0]]])
    assert zscore(image).dtype == np.float32
