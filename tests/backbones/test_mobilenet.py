"""MobileNets: names, rounding of channels, squeeze-and-excitation by hand, published counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax.backbones import MobileNetV2, MobileNetV3Large
from segjax.backbones.mobilenet import SqueezeExcite, round_channels
from segjax.layers import Conv
from segjax.layers.cost import layer_costs


def _leaves_below(shapes, model, block):
    params = flatten_dict(shapes(model)[1]['params'], sep='/')
    return {n.removeprefix(block + '/') for n in params if n.startswith(block + '/')}


def _conv_norm(*names):
    return {f'{n}/{leaf}' for n in names for leaf in ('0/kernel', '1/scale', '1/bias')}


def test_names_of_version_2_are_those_of_torchvision(shapes):
    model = MobileNetV2()
    assert set(shapes(model)[1]['params']) == {str(i) for i in range(19)}
    assert _leaves_below(shapes, model, '0') == {'0/kernel', '1/scale', '1/bias'}
    first = {'conv/1/kernel', 'conv/2/scale', 'conv/2/bias'}
    assert _leaves_below(shapes, model, '1') == _conv_norm('conv/0') | first
    other = {'conv/2/kernel', 'conv/3/scale', 'conv/3/bias'}
    assert _leaves_below(shapes, model, '17') == _conv_norm('conv/0', 'conv/1') | other


def test_names_of_version_3_are_those_of_torchvision(shapes):
    model = MobileNetV3Large()
    assert set(shapes(model)[1]['params']) == {str(i) for i in range(17)}
    assert _leaves_below(shapes, model, '1') == _conv_norm('block/0', 'block/1')
    assert _leaves_below(shapes, model, '2') == _conv_norm('block/0', 'block/1', 'block/2')
    squeeze = {f'block/2/{fc}/{leaf}' for fc in ('fc1', 'fc2') for leaf in ('kernel', 'bias')}
    expected = _conv_norm('block/0', 'block/1', 'block/3') | squeeze
    assert _leaves_below(shapes, model, '4') == expected


@pytest.mark.parametrize(
    'channels, rounded', [(3, 8), (8, 8), (11.2, 16), (12, 16), (16, 16), (18, 24), (120, 120)]
)
def test_rounding_of_channels_by_hand(channels, rounded):
    assert round_channels(channels) == rounded


def test_squeeze_and_excitation_by_hand():
    x = jnp.asarray([[1.0, 0.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)  # channel means 2 and 2
    kernel = lambda *rows: jnp.asarray(rows).reshape(1, 1, 2, -1)
    params = {
        'fc1': {'kernel': kernel([1.0], [-0.5]), 'bias': jnp.asarray([0.5])},  # 2 - 1 + 0.5
        'fc2': {'kernel': jnp.asarray([[[[1.0, -4.0]]]]), 'bias': jnp.asarray([0.0, 1.0])},
    }
    conv = lambda *args, **kwargs: Conv(*args, **kwargs)
    y = SqueezeExcite(1, conv).apply({'params': params}, x)
    # Hard sigmoid of 1.5 is 4.5 / 6, that of -5 is 0.
    np.testing.assert_allclose(y.ravel(), [0.75, 0, 2.25, 0], rtol=1e-6)


def test_deeplab_takes_the_last_block_of_version_2(shapes):
    features, variables = shapes(MobileNetV2(last_conv=False))
    assert features['c5'].shape[-1] == 320
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params'])) == 1_811_712


def test_width_multiplier(shapes):
    features, _ = shapes(MobileNetV2(0.5))
    assert [features[f'c{k}'].shape[-1] for k in range(1, 6)] == [8, 16, 16, 48, 1280]


def test_deeplabs_models_of_half_width_round_nothing(shapes):
    """Published: 0.88e9 multiply-adds at 513; in multiples of 8 it would be 0.910e9."""
    model = MobileNetV2(0.5, output_stride=16, last_conv=False, round_to=1)
    assert [shapes(model)[0][f'c{k}'].shape[-1] for k in range(1, 6)] == [8, 12, 16, 48, 160]
    backbone = sum(layer.macs for layer in layer_costs(model, (1, 513, 513, 3)))
    head = 160 * 256 + (160 * 256 + 512 * 256 + 256 * 21) * 33**2
    assert round((backbone + head) / 1e9, 3) == 0.867


def test_c2_of_deeplab_is_a_depthwise_output(shapes):
    """slim's layer_4/depthwise_output: 6 x 24 channels at stride 4, of the same weights."""
    features, variables = shapes(MobileNetV2(c2_layer='depthwise'))
    assert features['c2'].shape == (1, 26, 18, 144)
    assert variables == shapes(MobileNetV2())[1]


def test_the_last_convolution_grows_with_the_width(shapes):
    assert shapes(MobileNetV2(1.4))[0]['c5'].shape[-1] == 1792  # 1.4 * 1280


def test_multiply_adds_of_deeplab_mobilenet_v2():
    """2.741e9 at 513 x 513 and output stride 16: image pooling and a 1x1 branch, 21 classes."""
    backbone = layer_costs(MobileNetV2(output_stride=16, last_conv=False), (1, 513, 513, 3))
    head = 320 * 256 + (320 * 256 + 512 * 256 + 256 * 21) * 33**2
    assert round((sum(layer.macs for layer in backbone) + head) / 1e9, 3) == 2.741


def test_multiply_adds_of_torchvisions_lraspp():
    """2.086e9 at 520 x 520: its backbone is dilated and its low features come early."""
    model = MobileNetV3Large(output_stride=16, dilate_first=True, c3_block='first')
    backbone = layer_costs(model, (1, 520, 520, 3))
    head = 960 * 128 * 33**2 + 960 * 128 + (40 + 128) * 21 * 65**2
    assert round((sum(layer.macs for layer in backbone) + head) / 1e9, 3) == 2.086


def test_dilations_of_torchvisions_segmentation_models(samplings):
    """Its dilated MobileNetV3 dilates the convolution that loses its stride, too."""
    found = samplings(MobileNetV3Large(output_stride=16, dilate_first=True))
    assert [found[f'{i}.block.1.0'] for i in (7, 12, 13, 14, 15)] == [
        (2, 1),
        (1, 1),
        (1, 2),
        (1, 2),
        (1, 2),
    ]


def test_c3_is_the_last_or_the_first_block_at_stride_8(draw, fast_jit):
    last, first = MobileNetV3Large(), MobileNetV3Large(c3_block='first')
    image = jnp.asarray(np.random.default_rng(1).normal(size=(1, 16, 16, 3)), jnp.float32)
    variables = draw(last)
    apply = lambda v: [m.apply(v, image, train=False)['c3'] for m in (last, first)]
    by_last, by_first = fast_jit(apply)(variables)
    assert by_last.shape == by_first.shape
    assert not np.allclose(by_last, by_first)
