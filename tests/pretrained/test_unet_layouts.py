"""U-Nets of other projects: their outputs from their weights, and the weights back to the bit.

The numbers are the projects' own (`segjax/tools/unet_golden.py`), for weights that follow from
names and shapes.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models import UNet, UNetPlusPlus, UNetTransfer
from segjax.models.unetplusplus import prune
from segjax.pretrained import convert, export_arrays
from segjax.pretrained.initial import load_weights
from segjax.pretrained.layouts import layout_of
from segjax.tools import torchvision_golden, unet_golden
from segjax.types import UserError
from tests.pretrained import torch_writer as writer

FILE = Path(__file__).with_name('unet_golden.npz')
NESTED = {'norm': 'batch', 'up': 'bilinear', 'concat': 'up_last', 'dropout': 0.0}
SMP = {
    'norm': 'batch', 'use_bias': False, 'up': 'nearest', 'concat': 'newest_first', 'dropout': 0.0,
}  # fmt: skip
MODELS = {
    'milesial': UNet(2, padding='same', norm='batch', concat='skip_first', dropout=0.0),
    'nested_unet': UNetPlusPlus(1, **NESTED),
    'ternausnet11': UNetTransfer(1, 'vgg11'),
    'ternausnet16': UNetTransfer(1, 'vgg16'),
    'ternausnet16_deconv': UNetTransfer(1, 'vgg16', True),
    'smp_unet_resnet18': UNetTransfer(1, 'resnet18'),
    'smp_unet_resnet34': UNetTransfer(1, 'resnet34'),
    'smp_unetplusplus_resnet18': UNetPlusPlus(1, False, backbone='resnet18', **SMP),
    'smp_unetplusplus_resnet34': UNetPlusPlus(1, False, backbone='resnet34', **SMP),
}
LAYOUTS = {'milesial': 'milesial', 'nested': '4uiiurz1', 'ternausnet': 'ternausnet', 'smp': 'smp'}
QUICK = {'milesial', 'nested_unet', 'ternausnet11', 'smp_unet_resnet18'}  # to compile


def layout(network):
    return next(name for start, name in LAYOUTS.items() if network.startswith(start))


def shapes(network):
    """Names and shapes of the project's state dict."""
    with np.load(FILE) as file:
        return {n: tuple(shape) for n, shape in json.loads(str(file[f'{network}/shapes'])).items()}


def ones(network):
    return {name: np.ones(shape, np.float32) for name, shape in shapes(network).items()}


def silent(line):
    raise AssertionError(f'said {line!r}')


def check_outputs(network):
    model, arrays = MODELS[network], unet_golden.values(shapes(network))
    variables = convert(model, arrays, layout=layout(network), say=silent)
    image = jnp.asarray(torchvision_golden.picture())[None]
    found = jax.jit(lambda v: model.apply(v, image, train=False))(variables)
    with np.load(FILE) as file:
        outputs = file[f'{network}/outputs']
    heads = (*found.aux, found.logits)
    assert len(heads) == len(outputs)
    for logits, (*expected, scale) in zip(heads, outputs, strict=True):
        *values, root = torchvision_golden.sample(np.asarray(logits[0]))
        np.testing.assert_allclose(root, scale, rtol=1e-4)
        np.testing.assert_allclose(values, expected, atol=1e-4 * scale)


@pytest.mark.parametrize('network', sorted(QUICK))
def test_outputs_equal_theirs(network):
    check_outputs(network)


@pytest.mark.slow
@pytest.mark.parametrize('network', sorted(MODELS.keys() - QUICK))
def test_outputs_of_larger_networks_equal_theirs(network):
    check_outputs(network)


@pytest.mark.parametrize('network', MODELS)
def test_every_array_has_its_place_in_both_directions(network):
    """None is missing, none left over, and TernausNet's second names are there again."""
    model, arrays = MODELS[network], ones(network)
    assert layout_of(arrays) == layout(network)
    variables = convert(model, arrays, layout=layout(network), say=silent)
    back = export_arrays(model, variables, layout=layout(network))
    expected = {n: a.shape for n, a in arrays.items() if not n.endswith('num_batches_tracked')}
    assert {name: array.shape for name, array in back.items()} == expected


def test_all_values_come_back_to_the_bit():
    arrays = unet_golden.values(shapes('ternausnet11'))
    model = MODELS['ternausnet11']
    variables = convert(model, arrays, layout='ternausnet', say=silent)
    back = export_arrays(model, variables, layout='ternausnet')
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name]) for name in back)


def test_a_picture_of_one_channel_sums_the_kernels_of_the_colours():
    model, arrays = MODELS['ternausnet11'], unet_golden.values(shapes('ternausnet11'))
    grey = convert(model, arrays, layout='ternausnet', channels=1, say=silent)
    kernel = grey['params']['vgg11']['stage1']['conv1_1']['kernel']
    theirs = arrays['encoder.0.weight'].sum(axis=1)
    np.testing.assert_array_equal(kernel[:, :, 0], theirs.transpose(1, 2, 0))


@pytest.mark.parametrize(
    'model',
    [
        UNetTransfer(1, 'vgg11'),
        UNetTransfer(1, 'vgg16'),
        UNetTransfer(1, 'resnet18'),
        UNetPlusPlus(1, depth=2, backbone='resnet18', **SMP),  # needs its first stages alone
    ],
    ids=lambda model: f'{type(model).__name__}-{model.backbone}',
)
def test_encoders_start_from_torchvision(model, tmp_path):
    """Everything but the encoder is new, and said to be."""
    backbone = model.backbone
    with np.load(FILE.with_name('torchvision_golden.npz')) as file:
        theirs = json.loads(str(file[f'{backbone}/shapes']))
    arrays = {
        name: np.ones(shape, np.float32)
        for name, shape in theirs.items()
        if not name.startswith(('classifier', 'fc'))
    }
    said = []
    init = lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False)
    expected = jax.eval_shape(init)
    variables = load(tmp_path, arrays, expected, said.append)
    new = [part for part in variables['params'] if part != backbone]
    assert len(said) == 1 and all(part in said[0] for part in new)
    assert backbone not in said[0]
    encoder = variables['params'][backbone]
    first = encoder['conv1'] if backbone == 'resnet18' else encoder['stage1']['conv1_1']
    assert np.unique(first['kernel']) == 3  # the sum of three ones


def load(folder, arrays, expected, say):
    """`load_weights` of a file that holds `arrays`; new layers become zeros."""
    tensors = {n: writer.tensor(str(i), a) for i, (n, a) in enumerate(arrays.items())}
    writer.save_legacy(folder / 'weights.pth', tensors)
    zeros = lambda: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), expected)
    return load_weights(f'{folder}/weights.pth', expected, initial=zeros, say=say)


def test_the_layout_of_a_file_is_found_and_another_head_is_new(tmp_path):
    model = UNetTransfer(3, 'resnet18')
    init = lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    said = []
    expected = jax.eval_shape(init)
    variables = load(tmp_path, ones('smp_unet_resnet18'), expected, said.append)
    assert said == [
        'These layers start from their initial values: score (the file has another shape, '
        '(1, 16, 3, 3)).'
    ]
    assert not variables['params']['score']['kernel'].any()
    assert variables['params']['dec5']['conv1']['kernel'].all()


def test_supervised_heads_are_new_over_a_network_that_has_one():
    """segmentation_models' U-Net++ gets the heads that it lacks, and can be pruned then."""
    model = UNetPlusPlus(1, backbone='resnet18', **SMP)
    said = []
    arrays = ones('smp_unetplusplus_resnet18')
    variables = convert(model, arrays, layout='smp', say=said.append)
    assert 'full_1/conv1' in said[0] and 'score_3' in said[0]
    assert 'full_4' not in said[0] and 'score_4' not in said[0]
    small, kept = prune(model, variables, 2)
    back = export_arrays(small, kept, layout='smp')
    assert {n for n in back if n.startswith('decoder')} >= {
        'decoder.blocks.x_0_1.conv1.0.weight',
        'decoder.blocks.x_1_1.conv1.0.weight',
        'decoder.blocks.x_0_0.conv1.0.weight',
        'decoder.blocks.x_0_2.conv2.1.running_var',
    }


def test_networks_that_a_project_has_not_are_refused():
    for model, name in (
        (UNet(2, (4, 4), padding='same', norm='batch'), 'milesial'),
        (UNetPlusPlus(1, widths=(4,) * 5), '4uiiurz1'),  # transposed convolutions
        (UNetTransfer(1, 'vgg11', width=2, backbone_width=2), 'smp'),
    ):
        with pytest.raises(UserError, match=f"the layout '{name}' knows no model"):
            convert(model, {}, layout=name)
