"""Plain U-Nets as others publish them, beside a twin that is written with lax and their names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segjax.models import UNet
from segjax.pretrained.convert import convert, export_arrays
from segjax.pretrained.layouts import layout_of
from segjax.types import UserError

DEPTH, WIDTHS, CHANNELS, CLASSES = 2, (4, 6, 8), 3, 2


def conv(arrays, name, x):
    """A same-padded convolution with bias; x is `b c h w`, as theirs."""
    y = lax.conv_general_dilated(x, arrays[f'{name}.weight'], (1, 1), 'SAME')
    return y + arrays[f'{name}.bias'][None, :, None, None]


def block(arrays, name, x, inner_relu):
    x = conv(arrays, f'{name}.block.0', x)
    return jnp.maximum(conv(arrays, f'{name}.block.2', jnp.maximum(x, 0) if inner_relu else x), 0)


def twin(arrays, x, *, inner_relu, up_first):
    """torch_em's UNet2d with norm=None: pool, double; up-sample, 1x1, join."""
    skips = []
    for i in range(DEPTH):
        skips.append(block(arrays, f'encoder.blocks.{i}', x, inner_relu))
        b, c, h, w = skips[-1].shape
        x = skips[-1].reshape(b, c, h // 2, 2, w // 2, 2).max((3, 5))
    x = block(arrays, 'base', x, inner_relu)
    for i in range(DEPTH):
        b, c, h, w = x.shape
        x = jax.image.resize(x, (b, c, 2 * h, 2 * w), 'bilinear')
        joined = [conv(arrays, f'decoder.samplers.{i}.conv', x), skips[-1 - i]]
        joined = jnp.concatenate(joined if up_first else joined[::-1], axis=1)
        x = block(arrays, f'decoder.blocks.{i}', joined, inner_relu)
    return conv(arrays, 'out_conv', x)


def their_arrays():
    """Random values of the names and shapes of their state dict, biases too."""
    shapes = {'out_conv': (CLASSES, WIDTHS[0], 1, 1)}
    paths = [(f'encoder.blocks.{i}', (CHANNELS, *WIDTHS)[i], WIDTHS[i]) for i in range(DEPTH)]
    paths.append(('base', WIDTHS[-2], WIDTHS[-1]))
    for i, (below, width) in enumerate(((8, 6), (6, 4))):
        paths.append((f'decoder.blocks.{i}', 2 * width, width))
        shapes[f'decoder.samplers.{i}.conv'] = (width, below, 1, 1)
    for name, before, after in paths:
        shapes[f'{name}.block.0'] = (after, before, 3, 3)
        shapes[f'{name}.block.2'] = (after, after, 3, 3)
    rng, arrays = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        spread = np.sqrt(2 / np.prod(shape[1:]))
        arrays[f'{name}.weight'] = (rng.normal(size=shape) * spread).astype(np.float32)
        arrays[f'{name}.bias'] = rng.normal(size=shape[:1]).astype(np.float32)
    return arrays


def network(**fields):
    plain = {'padding': 'same', 'up': 'bilinear', 'up_kernel': 1, 'dropout': 0.0}
    return UNet(CLASSES, widths=WIDTHS, **(plain | fields))


@pytest.mark.parametrize('inner_relu', [True, False])
@pytest.mark.parametrize('concat', ['up_first', 'skip_first'])
def test_their_values_give_their_outputs(inner_relu, concat):
    arrays = their_arrays()
    model = network(inner_relu=inner_relu, concat=concat)
    variables = convert(model, arrays, layout=layout_of(arrays))
    image = np.random.default_rng(1).normal(size=(2, 12, 8, CHANNELS)).astype(np.float32)
    found = jax.jit(lambda v, x: model.apply(v, x, train=False).logits)(variables, image)
    expected = twin(
        arrays,
        jnp.asarray(image.transpose(0, 3, 1, 2)),
        inner_relu=inner_relu,
        up_first=concat == 'up_first',
    )
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-4)


def test_all_values_come_back_to_the_bit():
    arrays = their_arrays()
    variables = convert(network(), arrays, layout='torch_em')
    back = export_arrays(network(), variables, layout='torch_em')
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name]) for name in back)


def test_another_up_convolution_or_a_normalised_network_is_refused():
    with pytest.raises(UserError, match='upconv1'):
        convert(network(up_kernel=2), their_arrays(), layout='torch_em')
    with pytest.raises(UserError, match='torch_em'):
        convert(network(norm='batch'), their_arrays(), layout='torch_em')
