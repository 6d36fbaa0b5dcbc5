"""Otsu's threshold finds the rarer side, bright or dark."""

import numpy as np
import pytest

from segjax.tools.otsu import otsu


@pytest.mark.parametrize('ground, nucleus', [(20, 90), (220, 130)])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_rarer_side(ground, nucleus, channels):
    noise = np.random.default_rng(0).integers(0, 10, (20, 20, channels))
    wanted = np.zeros((20, 20), bool)
    wanted[3:9, 4:12] = True
    image = (np.where(wanted[..., None], nucleus, ground) + noise).astype(np.uint8)
    np.testing.assert_array_equal(otsu(image), wanted)
