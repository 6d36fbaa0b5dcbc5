"""DeepLabV3+: published parameters and multiply-adds, strides, and what its fields change."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from segjax.layers import ASPP
from segjax.layers.cost import layer_costs
from segjax.models import DeepLabV3Plus
from segjax.types import UserError

MOBILE = {'backbone': 'mobilenet_v2', 'decoder': False, 'atrous': False}
DENSE_R101 = {'backbone': 'resnet101', 'separable': False}
VAINF = {'flavor': 'torchvision', 'separable': False}


@pytest.mark.parametrize(
    'fields, count, gmac',
    [
        ({}, 41_055_413, 54.035),
        ({'eval_output_stride': 8}, 41_055_413, 176.852),
        ({'separable': False}, 54_711_461, 86.679),
        ({'backbone': 'xception41'}, 28_108_661, None),
        ({'backbone': 'xception71'}, 43_477_837, None),
        ({'backbone': 'resnet50'}, 26_819_909, None),
        (DENSE_R101, 59_468_085, 97.811),
        (DENSE_R101 | {'eval_output_stride': 32}, 59_468_085, 73.170),
        (MOBILE, 2_113_557, 2.741),
        (MOBILE | {'width': 0.5}, 697_013, 0.867),  # 0.88 in TensorFlow's model zoo
        ({'flavor': 'smp', 'backbone': 'resnet50'}, 26_682_725, None),
        ({'flavor': 'smp', 'backbone': 'mobilenet_v2'}, 4_383_653, None),
        # VainF's README: 17.0 and 62.7 GFLOPs, with what is not counted here
        (VAINF | {'backbone': 'mobilenet_v2'}, 5_225_717, 17.122),
        (VAINF | {'backbone': 'resnet50'}, 39_761_845, 62.380),
    ],
)
def test_published_parameters_and_costs(fields, count, gmac):
    rows = layer_costs(DeepLabV3Plus(21, **fields), (1, 513, 513, 3))
    assert sum(row.params for row in rows) == count
    assert gmac is None or round(sum(row.macs for row in rows) / 1e9, 3) == gmac


def _rows(image_side=129, **fields):
    small = {'backbone': 'mobilenet_v2', 'features': 8, 'width': 0.25}
    rows = layer_costs(DeepLabV3Plus(3, **small | fields), (1, image_side, image_side, 3))
    return {row.path: row for row in rows}


def test_each_part_can_be_left_out():
    whole = set(_rows())
    assert {p.split('/')[0] for p in whole - set(_rows(decoder=False))} == {
        'feature_projection0', 'decoder_conv0', 'decoder_conv1',
    }  # fmt: skip
    assert {'/'.join(p.split('/')[:2]) for p in whole - set(_rows(atrous=False))} == {
        'aspp/aspp1', 'aspp/aspp2', 'aspp/aspp3',
    }  # fmt: skip
    assert {p.rsplit('/', 1)[0] for p in whole - set(_rows(image_pool=False))} == {
        'aspp/image_pooling'
    }
    assert set(_rows(decoder_convs=3)) - whole == {
        f'decoder_conv2/{half}'
        for half in ('depthwise', 'depthwise_bn', 'pointwise', 'pointwise_bn')
    }


def test_the_decoder_reads_the_published_features_of_stride_4():
    """Channels and sides of what feature_projection0 sees, for 129 = 8 x 16 + 1 pixels."""
    wide = {'width': 1.0, 'features': 256}
    for fields, channels in (
        ({'backbone': 'xception65'}, 256),
        ({'backbone': 'resnet50'}, 256),
        ({'backbone': 'mobilenet_v2'}, 144),  # before the block's projection
        ({'backbone': 'mobilenet_v2', 'flavor': 'torchvision'}, 24),
    ):
        row = _rows(**wide | fields)['feature_projection0/conv']
        assert row.input_shape == (1, 33, 33, channels)
        assert row.output_shape[-1] == 48


def _pyramid(train, **fields):
    """Rates of the pyramid, and the side of the map it is given, for 64 pixels."""
    model = DeepLabV3Plus(3, 'mobilenet_v2', features=8, width=0.25, **fields)
    seen = []

    def note(next_fun, args, kwargs, context):
        if isinstance(context.module, ASPP) and context.method_name == '__call__':
            seen.append((context.module.rates, args[0].shape[1]))
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        init = lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=train)
        jax.eval_shape(init)
    return seen[0]


@pytest.mark.parametrize(
    'fields, rates, side',
    [
        ({}, (6, 12, 18), 4),
        ({'output_stride': 8}, (12, 24, 36), 8),
        ({'output_stride': 32}, (3, 6, 9), 2),
        ({'flavor': 'smp'}, (12, 24, 36), 4),
        ({'flavor': 'smp', 'output_stride': 8}, (12, 24, 36), 8),
        ({'rates': (4, 8), 'output_stride': 8}, (8, 16), 8),
        ({'atrous': False}, (), 4),
    ],
)
def test_rates_follow_the_output_stride(fields, rates, side):
    assert _pyramid(False, **fields) == (rates, side)


def test_training_and_evaluation_have_each_their_output_stride(shapes):
    fields = {'flavor': 'tf', 'output_stride': 16, 'eval_output_stride': 8}
    assert _pyramid(True, **fields) == ((6, 12, 18), 4)
    assert _pyramid(False, **fields) == ((12, 24, 36), 8)
    model = DeepLabV3Plus(3, 'mobilenet_v2', width=0.25, features=8)
    size = (1, 64, 64, 3)
    assert shapes(model, size) == shapes(model.clone(eval_output_stride=8), size)


def test_backbones_that_a_flavour_has_not_are_refused():
    model = DeepLabV3Plus(3, 'xception65', 'smp')
    with pytest.raises(UserError, match='--backbone=xception65 does not go with --flavor=smp'):
        model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
