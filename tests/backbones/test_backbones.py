"""All backbones but VGG16: published counts of parameters and multiply-adds, shapes, types."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from segjax.backbones import (
    AlexNet,
    CaffeNet,
    GoogLeNet,
    MobileNetV2,
    MobileNetV3Large,
    ResNet,
)
from segjax.layers.cost import layer_costs


def dense(*widths):
    """Parameters of fully connected layers in a row, from channels in to channels out."""
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


ALEXNET_CLASSIFIER = (6 * 6 * 256, 4096, 4096, 1000)

# Backbone, the widths of its 1000-way classifier, published parameters of both together, published
# 10^9 multiply-adds of both for a 224 x 224 image (torchvision's table of weights; '-': none).
PUBLISHED = {
    'resnet18': (ResNet(18), (512, 1000), 11_689_512, 1.814),
    'resnet34': (ResNet(34), (512, 1000), 21_797_672, 3.664),
    'resnet50': (ResNet(50), (2048, 1000), 25_557_032, 4.089),
    'resnet101': (ResNet(101), (2048, 1000), 44_549_160, 7.801),
    'mobilenet_v2': (MobileNetV2(), (1280, 1000), 3_504_872, 0.301),
    'mobilenet_v3_large': (MobileNetV3Large(), (960, 1280, 1000), 5_483_032, 0.217),
    'alexnet': (AlexNet(), ALEXNET_CLASSIFIER, 61_100_840, 0.714),
    'caffenet': (CaffeNet(), ALEXNET_CLASSIFIER, 60_965_224, '-'),
    'googlenet': (GoogLeNet(), (1024, 1000), 6_624_904, 1.498),
    'inception_v1': (GoogLeNet('paper'), (1024, 1000), 6_998_552, '-'),
}
MODELS = {name: row[0] for name, row in PUBLISHED.items()}


@pytest.mark.parametrize('name', PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    model, classifier, params, macs = PUBLISHED[name]
    costs = layer_costs(model, (1, 224, 224, 3))
    assert sum(layer.params for layer in costs) + dense(*classifier) == params
    if macs != '-':
        weights = dense(*classifier) - sum(classifier[1:])  # a bias multiplies nothing
        assert round((sum(layer.macs for layer in costs) + weights) / 1e9, 3) == macs


# Keys of torchvision's state dicts; each norm has one more than here, num_batches_tracked.
KEYS = {
    'resnet50': 320 - 2,  # less weight and bias of the classifier
    'resnet101': 626 - 2,
    'mobilenet_v2': 314 - 2,
    'mobilenet_v3_large': 319 - 11,  # of lraspp_mobilenet_v3_large less its head
    'alexnet': 2 * 5,
    'googlenet': 57 * (1 + 5),
}


@pytest.mark.parametrize('name', KEYS)
def test_as_many_arrays_as_torchvision(name, shapes):
    _, variables = shapes(MODELS[name])
    norms = len(jax.tree.leaves(variables.get('batch_stats', {}))) // 2
    assert len(jax.tree.leaves(variables)) + norms == KEYS[name]


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'mobilenet_v2', 'mobilenet_v3_large'])
def test_level_k_has_stride_2_to_the_k_rounded_up(name, shapes):
    features, _ = shapes(MODELS[name])
    assert sorted(features) == ['c1', 'c2', 'c3', 'c4', 'c5']
    for k in range(1, 6):
        assert features[f'c{k}'].shape[1:3] == (-(-101 // 2**k), -(-70 // 2**k))


@pytest.mark.parametrize('name', ['resnet18', 'mobilenet_v3_large', 'caffenet', 'inception_v1'])
def test_bfloat16_features_and_float32_variables(name, shapes):
    features, variables = shapes(MODELS[name].clone(dtype='bfloat16'))
    assert {feature.dtype for feature in features.values()} == {jnp.dtype('bfloat16')}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
