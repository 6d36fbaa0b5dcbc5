"""ResNet: names, the dilations that torchvision applies, training, published multiply-adds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax.backbones import ResNet
from segjax.backbones.atrous import Sampling
from segjax.backbones.resnet import Stage
from segjax.layers import BatchNorm, Conv
from segjax.layers.cost import layer_costs


def _norm(name):
    return {f'{name}/scale', f'{name}/bias'}


def test_names_are_those_of_torchvision(shapes):
    names = set(flatten_dict(shapes(ResNet(50))[1]['params'], sep='/'))
    assert {n for n in names if not n.startswith('layer')} == {'conv1/kernel'} | _norm('bn1')
    first = {f'layer2/0/conv{i}/kernel' for i in (1, 2, 3)} | {'layer2/0/downsample/0/kernel'}
    first = first.union(*(_norm(f'layer2/0/bn{i}') for i in (1, 2, 3)))
    assert {n for n in names if n.startswith('layer2/0')} == first | _norm('layer2/0/downsample/1')
    blocks = [{n.split('/')[1] for n in names if n.startswith(f'layer{k}/')} for k in range(1, 5)]
    assert [len(stage) for stage in blocks] == [3, 4, 6, 3]
    assert blocks[2] == {'0', '1', '2', '3', '4', '5'}


def test_dilations_of_torchvisions_segmentation_models(samplings):
    """`replace_stride_with_dilation=[False, True, True]`, read from torchvision's modules."""
    found = samplings(ResNet(50, output_stride=8))
    assert found['layer2.0.conv2'] == (2, 1)
    assert found['layer3.0.conv2'] == (1, 1)
    assert {found[f'layer3.{i}.conv2'] for i in range(1, 6)} == {(1, 2)}
    assert found['layer4.0.conv2'] == (1, 2)
    assert found['layer4.1.conv2'] == found['layer4.2.conv2'] == (1, 4)


def test_multi_grid_multiplies_the_dilations_of_the_last_stage(samplings):
    found = samplings(ResNet(50, output_stride=16, multi_grid=(1, 2, 4)))
    assert [found[f'layer4.{i}.conv2'] for i in range(3)] == [(1, 1), (1, 4), (1, 8)]
    assert {found[f'layer3.{i}.conv2'] for i in range(1, 6)} == {(1, 1)}


def test_dilating_first_changes_the_first_block_of_a_stage(samplings):
    """segmentation_models.pytorch dilates every convolution of layer4, as its modules show."""
    found = samplings(ResNet(50, output_stride=16, dilate_first=True))
    assert [found[f'layer4.{i}.conv2'] for i in range(3)] == [(1, 2)] * 3


def test_a_grid_that_is_too_short_is_refused(shapes):
    with pytest.raises(ValueError, match='multi_grid'):
        shapes(ResNet(50, multi_grid=(1, 2)))


def test_the_beta_variant_has_its_strides_in_the_last_blocks(samplings):
    """As slim's `stack_blocks_dense` runs it at output stride 16, with DeepLabV3's multi-grid."""
    found = samplings(ResNet(50, output_stride=16, multi_grid=(1, 2, 4), variant='beta'))
    stem = [found.pop(f'conv1_{i}') for i in (1, 2, 3)]
    assert stem == [(2, 1), (1, 1), (1, 1)]
    blocks = {name.removesuffix('.conv2'): sampling for name, sampling in found.items()}
    strided = {name for name, (stride, _) in blocks.items() if stride == 2}
    assert strided == {'layer1.2', 'layer2.3'}
    dilated = {name: dilation for name, (_, dilation) in blocks.items() if dilation > 1}
    assert dilated == {'layer4.0': 2, 'layer4.1': 4, 'layer4.2': 8}


def test_the_beta_variant_returns_the_last_features_at_their_stride(shapes):
    features, variables = shapes(ResNet(50, variant='beta'))
    channels = {'c1': 128, 'c2': 256, 'c3': 512, 'c4': 1024, 'c5': 2048}
    assert {name: feature.shape[-1] for name, feature in features.items()} == channels
    for k in range(1, 6):
        assert features[f'c{k}'].shape[1:3] == (-(-101 // 2**k), -(-70 // 2**k))
    plain = shapes(ResNet(50))[1]['params']
    count = lambda params: sum(leaf.size for leaf in jax.tree.leaves(params))
    stem = 3 * 3 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128)
    wider = 64 * (64 + 256)  # layer1's first convolution and short cut take 128 channels
    assert count(variables['params']) == count(plain) - (7 * 7 * 3 * 64 + 2 * 64) + stem + wider


def test_c2_of_the_beta_variant_is_what_a_block_adds(draw, fast_jit):
    """Neither cut by a ReLU nor added to the short cut, as DeepLabV3+'s decoder has it."""
    model = ResNet(18, width=4, variant='beta', stages=1)
    image = jnp.asarray(np.random.default_rng(1).normal(size=(1, 21, 18, 3)), jnp.float32)
    features = fast_jit(lambda v: model.apply(v, image, train=False))(draw(model))
    assert features['c2'].shape[1:3] == (6, 5)
    assert np.min(features['c2']) < 0 <= np.min(features['c1'])


def test_multiply_adds_of_torchvisions_fcn_resnet50():
    """142.726e9 at 520 x 520: the dilated backbone and a head on 65 x 65 pixels."""
    backbone = layer_costs(ResNet(50, output_stride=8), (1, 520, 520, 3))
    head = (9 * 2048 * 512 + 512 * 21) * 65**2
    assert round((sum(layer.macs for layer in backbone) + head) / 1e9, 3) == 142.726


BLOCKS = (Sampling(2, 1, 1), Sampling(1, 1, 1))
CONV = partial(Conv, use_bias=False)


def _stage(*, bottleneck, remat=False):
    return Stage(2, BLOCKS, bottleneck, remat, CONV, BatchNorm)


def _gradient_and_statistics(stage, fast_jit):
    """Of a training step on random input, from random variables."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 3)), jnp.float32)
    init = lambda x: stage.init(jax.random.key(0), x, False)
    draw = lambda leaf: rng.uniform(0.2, 1.0, leaf.shape).astype(np.float32)
    variables = jax.tree.map(draw, jax.eval_shape(init, x))

    @fast_jit
    def gradient(params, stats):
        def loss(params):
            given = {'params': params, 'batch_stats': stats}
            y, updates = stage.apply(given, x, True, mutable=['batch_stats'])
            return jnp.sum(jnp.sin(y)), updates['batch_stats']

        return jax.grad(loss, has_aux=True)(params)

    return variables['batch_stats'], *gradient(variables['params'], variables['batch_stats'])


@pytest.mark.parametrize('bottleneck', [False, True])
def test_training_reaches_every_parameter_and_statistic(bottleneck, fast_jit):
    before, gradient, after = _gradient_and_statistics(_stage(bottleneck=bottleneck), fast_jit)
    differs = lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b)))
    assert jax.tree.all(jax.tree.map(differs, before, after))
    assert all(np.all(np.isfinite(g)) and np.any(g) for g in jax.tree.leaves(gradient))


def test_rematerialisation_changes_neither_gradient_nor_statistics(fast_jit):
    plain = _gradient_and_statistics(_stage(bottleneck=False), fast_jit)
    recomputed = _gradient_and_statistics(_stage(bottleneck=False, remat=True), fast_jit)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, plain, recomputed)


def test_frozen_normalisation_leaves_only_kernels_among_the_parameters(shapes):
    _, found = shapes(ResNet(50, norm='frozen'))
    assert set(found) == {'params', 'frozen'}
    assert sum(leaf.size for leaf in jax.tree.leaves(found['params'])) == 23_454_912
