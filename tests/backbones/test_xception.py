"""Xception: published counts, the schedule of its dilations, and what it returns, by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.backbones import Xception, xception
from segjax.backbones.atrous import Sampling
from segjax.backbones.xception import XceptionModule
from segjax.layers import BatchNorm, Conv, SeparableConv
from segjax.layers.cost import layer_costs

# Of a DeepLabV3+ with separable ASPP and decoder for 21 classes; the released Xception-65's is
# 41,055,413. Beside the backbone: 3,188,101.
DEEPLABV3PLUS = {41: 28_108_661, 65: 41_055_413, 71: 43_477_837}


@pytest.mark.parametrize('depth', DEEPLABV3PLUS)
def test_parameters(depth, shapes):
    params = sum(leaf.size for leaf in jax.tree.leaves(shapes(Xception(depth))[1]['params']))
    assert params == DEEPLABV3PLUS[depth] - 3_188_101


def test_multiply_adds_of_deeplabv3_at_513():
    """64.920e9 at output stride 16: dense ASPP at rates 6, 12 and 18, image pooling, 21 classes."""
    backbone = sum(layer.macs for layer in layer_costs(Xception(65, 16), (1, 513, 513, 3)))
    branches = 2048 * 256 * (1 + 3 * 9) + 5 * 256 * 256 + 256 * 21
    assert round((backbone + branches * 33**2 + 2048 * 256) / 1e9, 3) == 64.920


@pytest.mark.parametrize('depth', [41, 65, 71])
def test_levels_are_the_last_features_at_their_stride(depth, shapes):
    features, variables = shapes(Xception(depth))
    channels = {'c1': 128, 'c2': 256, 'c3': 728, 'c4': 1024, 'c5': 2048}
    assert {name: feature.shape[-1] for name, feature in features.items()} == channels
    for k in range(1, 6):
        assert features[f'c{k}'].shape[1:3] == (-(-101 // 2**k), -(-70 // 2**k))
    middle = [name for name in variables['params'] if name.startswith('middle')]
    assert len(middle) == {41: 8, 65: 16, 71: 16}[depth]


# Stride and dilation of the third convolution in some modules, as TensorFlow's
# `stack_blocks_dense` gives them.
SCHEDULES = {
    32: {'entry3': (2, 1), 'middle1': (1, 1), 'exit1': (2, 1), 'exit2': (1, 1)},
    16: {'entry3': (2, 1), 'middle1': (1, 1), 'exit1': (1, 1), 'exit2': (1, 2)},
    8: {'entry3': (1, 1), 'middle1': (1, 2), 'exit1': (1, 2), 'exit2': (1, 4)},
}


@pytest.mark.parametrize('output_stride', SCHEDULES)
def test_dilations(output_stride, samplings):
    found = samplings(Xception(65, output_stride))
    thirds = {name: found[f'{name}.conv3.depthwise'] for name in SCHEDULES[output_stride]}
    assert thirds == SCHEDULES[output_stride]


def test_multi_grid_is_of_the_last_module(samplings):
    found = samplings(Xception(41, 16, multi_grid=(1, 2, 4)))
    last = [found[f'exit2.conv{i}.depthwise'] for i in (1, 2, 3)]
    assert last == [(1, 2), (1, 4), (1, 8)]
    assert found['exit1.conv2.depthwise'] == (1, 1)


def _module(shortcut, x):
    module = XceptionModule(
        (2, 2, 2),
        shortcut,
        Sampling(1, 1, 1),
        (1, 1, 1),
        SeparableConv,
        partial(Conv, use_bias=False),
        BatchNorm,
    )
    return module, module.init(jax.random.key(0), x, False)


def test_where_the_relus_are():
    """Of negative numbers the pre-activated convolutions see nothing, the last module's do."""
    x = -jnp.ones((1, 4, 4, 2))

    def kernel(path, leaf):
        negative = [key.key for key in path[-3:-1]] == ['conv1', 'depthwise']
        return jnp.full_like(leaf, -1 if negative else 1) if leaf.ndim > 1 else leaf

    for shortcut, seen in (('sum', False), ('none', True)):
        module, variables = _module(shortcut, x)
        variables = jax.tree_util.tree_map_with_path(kernel, variables)
        y, second = module.apply(variables, x, False)
        assert bool(np.any(second)) == seen
        if not seen:
            np.testing.assert_array_equal(y, x)  # what the identity adds, no ReLU has cut


def test_rematerialisation_names_the_same_variables(shapes, monkeypatch):
    monkeypatch.setitem(xception.MIDDLE_FLOWS, 41, 1)
    plain, recomputed = (shapes(Xception(41, width=0.1, remat=remat)) for remat in (False, True))
    assert plain == recomputed
