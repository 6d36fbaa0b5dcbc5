"""Strides traded for dilations: schedules by hand, and the same features on a finer grid."""

import jax
import numpy as np
import pytest

from segjax.backbones import MobileNetV2, MobileNetV3Large, ResNet, Xception, xception
from segjax.backbones.atrous import atrous_sampling

# (stride, its dilation, dilation after it) of ResNet's four stages, whose stem has stride 4.
BY_HAND = {
    (32, False): [(1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)],
    (16, False): [(1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)],
    (8, False): [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)],  # torchvision's segmentation models
    (16, True): [(1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 2, 2)],
    (8, True): [(1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 4, 4)],
}


@pytest.mark.parametrize('output_stride, dilate_first', BY_HAND)
def test_schedules_by_hand(output_stride, dilate_first):
    plan = atrous_sampling(
        (1, 2, 2, 2), stem=4, output_stride=output_stride, dilate_first=dilate_first
    )
    assert plan == BY_HAND[output_stride, dilate_first]


def test_other_output_strides_are_refused():
    with pytest.raises(ValueError, match='8, 16 or 32'):
        atrous_sampling((1, 2), stem=4, output_stride=4)


def _without_squeezing(path, leaf):
    """Squeeze-and-excitation averages over a map, and a dense one has other numbers to average."""
    return np.zeros_like(leaf) if [key.key for key in path[-2:]] == ['fc2', 'kernel'] else leaf


@pytest.mark.parametrize(
    'model, output_strides',
    [
        (ResNet(18, width=4), (8, 16)),
        (ResNet(50, width=4, multi_grid=(1, 2, 4)), (8,)),
        (ResNet(18, width=4, variant='beta'), (8,)),
        (Xception(41, width=0.03), (8,)),
        (MobileNetV2(0.25), (8,)),
        (MobileNetV3Large(), (16,)),
    ],
)
def test_dense_features_subsampled_are_the_strided_ones(
    model, output_strides, draw, fast_jit, monkeypatch
):
    """As DeepLab2's atrous_consistency_test, for every level."""
    monkeypatch.setitem(xception.MIDDLE_FLOWS, 41, 1)
    variables = jax.tree_util.tree_map_with_path(_without_squeezing, draw(model))
    image = np.random.default_rng(1).normal(size=(1, 69, 50, 3)).astype(np.float32)
    apply = lambda m: fast_jit(lambda v, x: m.apply(v, x, train=False))(variables, image)
    features = lambda m: jax.tree.map(np.asarray, apply(m))
    strided = features(model)
    for output_stride in output_strides:
        dense = features(model.clone(output_stride=output_stride))
        for k in range(1, 6):
            every = max(2**k // output_stride, 1)
            found, expected = dense[f'c{k}'][:, ::every, ::every], strided[f'c{k}']
            assert found.shape == expected.shape and expected.std() > 1e-3
            tolerance = 1e-4 * np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
