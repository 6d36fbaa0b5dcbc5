"""The part of the comparison that needs no Torch: what counts as the same."""

import numpy as np
import pytest

from segjax.tools.compare_torch.agreement import difference, require


def test_difference_is_relative_and_over_the_whole_tree():
    expected = {'a': np.array([3.0, 0.0]), 'b': np.array([[4.0]])}
    found = {'a': np.array([3.0, 0.5]), 'b': np.array([[4.0]])}
    assert difference(found, expected) == pytest.approx(0.1)


@pytest.mark.parametrize('apart', [2e-3, float('nan')])
def test_what_differs_is_not_compared(apart):
    require(1e-3, 1e-3, 'logits')
    with pytest.raises(ValueError, match='logits differ from those of Torch'):
        require(apart, 1e-3, 'logits')
