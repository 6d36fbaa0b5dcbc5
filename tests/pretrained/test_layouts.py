"""Converted encoders compute what torchvision computes, stage by stage, and come back to the bit.

The numbers are torchvision's own (`segjax/tools/torchvision_golden.py`), for weights that follow
from names and shapes. Classifiers are left out: they are most of the bytes and no encoder's.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.backbones import (
    VGG,
    AlexNet,
    CaffeNet,
    GoogLeNet,
    MobileNetV2,
    MobileNetV3Large,
    ResNet,
)
from segjax.models import FCN
from segjax.pretrained import convert, export_arrays
from segjax.tools import torchvision_golden as golden
from segjax.types import UserError

FILE = Path(__file__).with_name('torchvision_golden.npz')
ENCODERS = {
    'vgg11': VGG(11),
    'vgg16': VGG(16),
    'alexnet': AlexNet(),
    'googlenet': GoogLeNet(),
    'resnet18': ResNet(18),
    'resnet34': ResNet(34),
    'resnet50': ResNet(50),
    'resnet101': ResNet(101),
    'mobilenet_v2': MobileNetV2(),
    'mobilenet_v3_large': MobileNetV3Large(),
}
QUICK = {'vgg11', 'vgg16', 'alexnet', 'googlenet', 'resnet18', 'mobilenet_v3_large'}  # to compile
KEYS = {'vgg11': 22, 'vgg16': 32, 'resnet50': 320, 'resnet101': 626, 'mobilenet_v2': 314}


def shapes(network):
    """Names and shapes of torchvision's state dict."""
    with np.load(FILE) as file:
        return {n: tuple(shape) for n, shape in json.loads(str(file[f'{network}/shapes'])).items()}


def state_dict(network, *, values):
    """The arrays of torchvision's state dict but for large classifiers."""
    small = {n: s for n, s in shapes(network).items() if not n.startswith(('classifier', 'fc'))}
    return (
        golden.weights(small) if values else {n: np.ones(s, np.float32) for n, s in small.items()}
    )


def silent(line):
    raise AssertionError(f'said {line!r}')


@pytest.mark.parametrize('network', KEYS)
def test_the_golden_file_has_the_known_number_of_names(network):
    assert len(shapes(network)) == KEYS[network]


@pytest.mark.parametrize('network', sorted(QUICK))
def test_features_equal_torchvisions(network):
    check_features(network)


@pytest.mark.slow
@pytest.mark.parametrize('network', sorted(ENCODERS.keys() - QUICK))
def test_features_of_larger_networks_equal_torchvisions(network):
    check_features(network)


@pytest.mark.parametrize('network', ['vgg16', 'googlenet', 'resnet50', 'mobilenet_v2'])
def test_every_array_of_torchvision_has_its_place(network):
    """None is missing here, none left over there: convert refuses both."""
    arrays = state_dict(network, values=False)
    variables = convert(ENCODERS[network], arrays, layout='torchvision', say=silent)
    back = export_arrays(ENCODERS[network], variables, layout='torchvision')
    spare = ('aux1', 'aux2')  # GoogLeNet's auxiliary classifiers
    expected = {n for n in arrays if not n.endswith('num_batches_tracked')}
    expected = {n for n in expected if not n.startswith(spare)}
    assert back.keys() == expected
    assert all(back[name].shape == arrays[name].shape for name in expected)


def check_features(network):
    model, arrays = ENCODERS[network], state_dict(network, values=True)
    variables = convert(model, arrays, layout='torchvision', say=silent)
    back = export_arrays(model, variables, layout='torchvision')
    assert len(back) == len(jax.tree.leaves(variables))
    assert all(np.array_equal(back[name], arrays[name]) for name in back)
    image = jnp.asarray(golden.picture())[None]
    features = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, image)
    with np.load(FILE) as file:
        for name in golden.FEATURES[network]:
            *expected, scale = file[f'{network}/{name}']
            found = golden.sample(np.asarray(features[name][0]))
            np.testing.assert_allclose(found[-1], scale, rtol=1e-4, err_msg=name)
            np.testing.assert_allclose(found[:-1], expected, atol=1e-4 * scale, err_msg=name)


def test_networks_that_torchvision_has_not_are_refused():
    with pytest.raises(UserError, match='knows no model with the arrays params/conv1'):
        convert(CaffeNet(), state_dict('alexnet', values=False), layout='torchvision')
    with pytest.raises(UserError, match=r'missing: conv1\.conv\.bias'):
        arrays = state_dict('googlenet', values=False)
        convert(GoogLeNet('paper'), arrays, layout='torchvision')


def test_alexnets_classifier_becomes_fc6_and_fc7_of_fcn():
    """Also the order of fc6's inputs: `c h w`, flattened."""
    model = FCN(4, 32, backbone='alexnet', fc_features=8)
    small = {n: s for n, s in shapes('alexnet').items() if not n.startswith('classifier')}
    wide = {1: (8, 256 * 36), 4: (8, 8), 6: (1000, 8)}
    small |= {f'classifier.{i}.weight': shape for i, shape in wide.items()}
    small |= {f'classifier.{i}.bias': shape[:1] for i, shape in wide.items()}
    arrays, said = golden.weights(small), []
    params = convert(model, arrays, layout='torchvision', say=said.append)['params']
    assert said == [
        'These layers start from their initial values: score_fr (the file has another shape, '
        '(1000, 8)).'
    ]
    kernel = params['fc6']['conv']['kernel']
    flat = arrays['classifier.1.weight'].reshape(8, 256, 6, 6)
    np.testing.assert_array_equal(kernel, flat.transpose(2, 3, 1, 0))
    back = export_arrays(model, {'params': params}, layout='torchvision')
    assert back.keys() == arrays.keys()
    for name in back.keys() - {'classifier.6.weight', 'classifier.6.bias'}:
        np.testing.assert_array_equal(back[name], arrays[name])


def test_mobilenet_without_its_last_convolution():
    model = MobileNetV2(last_conv=False)
    convert(model, state_dict('mobilenet_v2', values=False), layout='torchvision', say=silent)
