"""GoogLeNet: names, table 1's sizes and channels, an inception module by its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax import ops
from segjax.backbones import GoogLeNet
from segjax.backbones.googlenet import INCEPTIONS, ConvUnit, Inception, Widths


@pytest.mark.parametrize('flavor', ['paper', 'torchvision'])
def test_sizes_and_channels_of_table_1(flavor):
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    init = lambda x: GoogLeNet(flavor).init_with_output(jax.random.key(0), x, train=False)[0]
    features = jax.eval_shape(init, image)
    found = [features[f'c{k}'].shape[1:] for k in range(1, 6)]
    assert found == [
        (112, 112, 64),
        (56, 56, 192),
        (28, 28, 480),
        (14, 14, 832),
        (7, 7, 1024),
    ]


def test_names_are_those_of_torchvision(shapes):
    leaves = ('conv/kernel', 'bn/scale', 'bn/bias')
    names = set(flatten_dict(shapes(GoogLeNet())[1]['params'], sep='/'))
    branches = ('branch1', 'branch2/0', 'branch2/1', 'branch3/0', 'branch3/1', 'branch4/1')
    layers = {f'conv{i}' for i in (1, 2, 3)}
    layers |= {f'inception{m}/{b}' for m in INCEPTIONS for b in branches}
    assert names == {f'{layer}/{leaf}' for layer in layers for leaf in leaves}


def test_the_paper_has_biases_and_a_wide_third_branch(shapes):
    _, variables = shapes(GoogLeNet('paper'))
    assert set(variables) == {'params'}
    branch = variables['params']['inception3a']['branch3']['1']['conv']
    assert branch['kernel'].shape == (5, 5, 16, 32)
    assert branch['bias'].shape == (32,)


def test_branches_lie_side_by_side(fast_jit):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 4)), jnp.float32)
    module = Inception(Widths(2, 3, 4, 5, 6, 7), 5, ConvUnit)
    init = fast_jit(module.init_with_output, static_argnums=2)
    y, variables = init(jax.random.key(0), x, False)
    assert y.shape == (1, 5, 6, 2 + 4 + 6 + 7)
    unit = lambda x, p, k: jax.nn.relu(ops.conv(x, p['conv']['kernel'], padding=k // 2))
    params = variables['params']
    np.testing.assert_allclose(y[..., :2], unit(x, params['branch1'], 1), rtol=1e-5, atol=1e-5)
    pooled = ops.max_pool(x, window=3, stride=1, padding=1)
    fourth = unit(pooled, params['branch4']['1'], 1)
    np.testing.assert_allclose(y[..., -7:], fourth, rtol=1e-5, atol=1e-5)
    third = unit(unit(x, params['branch3']['0'], 1), params['branch3']['1'], 5)
    np.testing.assert_allclose(y[..., 6:12], third, rtol=1e-5, atol=1e-5)
