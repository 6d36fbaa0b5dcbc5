"""U-Net over classifiers: the published counts, sizes, and which encoder layers it joins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.layers.cost import layer_costs
from segjax.models import UNetTransfer
from segjax.types import UserError


@pytest.mark.parametrize(
    'fields, count, gmac',
    [
        ({'backbone': 'vgg11'}, 22_927_393, None),
        ({'backbone': 'vgg16'}, 29_306_465, None),
        ({'backbone': 'vgg16', 'deconv': True}, 32_202_337, None),
        ({'backbone': 'resnet34'}, 24_436_369, 31.26),
        ({'backbone': 'resnet50'}, 32_521_105, None),
    ],
)
def test_published_parameters_and_costs(fields, count, gmac):
    rows = layer_costs(UNetTransfer(1, **fields), (1, 512, 512, 3))
    assert sum(row.params for row in rows) == count
    assert gmac is None or round(sum(row.macs for row in rows) / 1e9, 2) == gmac


def test_decoders_join_the_encoder_where_published():
    """Channels into each block at full width, and their strides."""
    for backbone, expected in {
        'vgg11': {'center': 512, 'dec5': 768, 'dec4': 768, 'dec3': 384, 'dec2': 192, 'dec1': 96},
        'vgg16': {'center': 512, 'dec5': 768, 'dec4': 768, 'dec3': 512, 'dec2': 192, 'dec1': 96},
        'resnet34': {'dec5': 768, 'dec4': 384, 'dec3': 192, 'dec2': 128, 'dec1': 32},
    }.items():
        rows = layer_costs(UNetTransfer(1, backbone), (1, 64, 64, 3))
        first = {}
        for row in rows:
            first.setdefault(row.path.split('/')[0], row.input_shape[-1])
        found = {name: width for name, width in first.items() if name in expected}
        assert found == expected
        assert rows[-1].output_shape == (1, 64, 64, 1)


@pytest.mark.parametrize('side, nearest', [(100, '96 and 128'), (31, '32'), (0, '32')])
def test_a_side_that_does_not_fit_is_refused_naming_the_nearest(side, nearest):
    model = UNetTransfer(1, width=2, backbone_width=2)
    assert model.input_size((100, 1)) == (128, 32)
    with pytest.raises(UserError, match=rf'a side of {side} pixels.*fit: {nearest}(\n|$)'):
        model.init(jax.random.key(0), jnp.zeros((1, 32, side, 3)), train=False)


def test_deconv_is_vgg16s():
    with pytest.raises(UserError, match='deconv is a field of the decoder over vgg16, not vgg11'):
        UNetTransfer(1, 'vgg11', True).init(
            jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False
        )


@pytest.mark.parametrize('fields', [('vgg11', False), ('vgg16', True)])
def test_a_pixel_of_the_coarsest_map_lands_on_its_own_square(fields, draw):
    """Transposed convolutions are cropped as Torch crops them, by one row and column in front."""
    model = UNetTransfer(1, *fields, width=1, backbone_width=1)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)
    params = draw(model, image.shape)['params']
    kernel = params['center']['upconv']['kernel']  # each tap says where it is
    places = 1.0 + jnp.arange(kernel.shape[0] ** 2.0).reshape(kernel.shape[:2])
    params['center'] = {
        'conv': jax.tree.map(jnp.zeros_like, params['center']['conv']),
        'upconv': {
            'kernel': jnp.zeros_like(kernel).at[:, :, 0].set(places[:, :, None]),
            'bias': jnp.zeros(kernel.shape[-1]),
        },
    }
    params['center']['conv']['bias'] += 1.0  # the one pixel of the map is 1
    params['center']['conv']['bias'] *= jnp.eye(kernel.shape[2])[0]
    apply = lambda v: model.apply(v, image, train=False, capture_intermediates=True)
    center = jax.jit(apply)({'params': params})[1]['intermediates']['center']['__call__'][0]
    for channel in range(kernel.shape[-1]):
        np.testing.assert_array_equal(center[0, :, :, channel], places[1:3, 1:3])
