"""U-Net: the paper's numbers, the sizes it takes, and what a valid network is invariant to."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax.layers import Dropout
from segjax.models import UNet
from segjax.types import UserError

MILESIAL = UNet(2, padding='same', norm='batch', concat='skip_first', dropout=0.0)
ZHIXUHAO = UNet(1, padding='same', up='nearest', up_relu=True, concat='skip_first', head_width=2)


def _logits_shape(model, size):
    init = lambda key: model.init_with_output(key, jnp.zeros((1, *size, 1)), train=False)[0]
    return jax.eval_shape(init, jax.random.key(0)).logits.shape[1:3]


@pytest.mark.parametrize(
    'model, channels, count',
    [
        (UNet(2), 1, 31_030_658),  # the paper's
        (UNet(1), 1, 31_030_593),
        (UNet(1), 3, 31_031_745),
        (UNet(2), 3, 31_031_810),
        (UNet(2, padding='same'), 1, 31_030_658),
        (UNet(2, variant='release'), 1, 31_100_354),
        (UNet(2, up='nearest'), 1, 31_030_658),  # the up-convolution read literally
        (UNet(2, up='bilinear'), 1, 31_030_658),
        (MILESIAL, 3, 31_037_698),
        (ZHIXUHAO, 1, 31_031_685),
        (UNet(1, widths=(32, 64, 128, 256, 512), padding='same'), 1, 7_759_521),  # of U-Net++
        (UNet(1, widths=(35, 70, 140, 280, 560), padding='same'), 1, 9_282_246),
        (UNet(1, widths=(35, 70, 140, 280, 560), padding='same'), 3, 9_282_876),
    ],
)
def test_parameter_counts(model, channels, count, shapes):
    flat = shapes(model, (1, 188 if model.margin else 16, 188 if model.margin else 16, channels))
    assert sum(leaf.size for path, leaf in flat.items() if path.startswith('params/')) == count


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_names_and_shapes(norm, shapes):
    flat = shapes(UNet(2, widths=(4, 6, 8), norm=norm), (1, 44, 44, 3))
    convs = {
        'down1': (3, 4),
        'down2': (4, 6),
        'down3': (6, 8),
        'up2': (12, 6),
        'up1': (8, 4),
    }
    expected = {
        'upconv2/kernel': (2, 2, 8, 6),
        'upconv2/bias': (6,),
        'upconv1/kernel': (2, 2, 6, 4),
        'upconv1/bias': (4,),
        'score/kernel': (1, 1, 4, 2),
        'score/bias': (2,),
    }
    for level, (inputs, width) in convs.items():
        expected[f'{level}/conv1/kernel'] = (3, 3, inputs, width)
        expected[f'{level}/conv2/kernel'] = (3, 3, width, width)
        layer, leaves = ('conv', ('bias',)) if norm == 'none' else ('bn', ('scale', 'bias'))
        expected |= {f'{level}/{layer}{i}/{leaf}': (width,) for i in (1, 2) for leaf in leaves}
    params = {p.removeprefix('params/'): x.shape for p, x in flat.items() if 'params/' in p}
    assert params == expected


def test_the_paper_s_sizes():
    assert UNet(2).margin == 92
    assert UNet(2, padding='same').margin == 0
    assert UNet(2).poolings == 4
    sizes = {188: 4, 204: 20, 252: 68, 508: 324, 572: 388, 636: 452, 700: 516}
    for side, output in sizes.items():
        assert UNet(2).input_size((output, 4)) == (side, 188)
    assert UNet(2).input_size((512, 512)) == (700, 700)  # an ISBI picture fits one tile
    assert _logits_shape(UNet(2, widths=(1,) * 5), (572, 188)) == (388, 4)


def test_depth_takes_the_finest_widths():
    shapes = lambda model: jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 140, 140, 1)), train=False)
    )
    shallow = UNet(2, widths=(1, 2, 3, 4, 5), depth=2)
    assert shapes(shallow) == shapes(UNet(2, widths=(1, 2, 3)))
    assert shallow.margin == UNet(2, widths=(1, 2, 3)).margin
    for widths, depth in [((1, 2), 2), ((1, 2), -1), ((1,), 0)]:
        with pytest.raises(UserError, match='widths; there are'):
            shapes(UNet(2, widths=widths, depth=depth))


def _walk(side, depth):
    """Pixels that come out of `side` pixels, by walking through figure 1; None where it fails."""
    for _ in range(depth):
        side -= 4
        if side < 2 or side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    return side if side > 0 else None


@pytest.mark.parametrize('depth', [1, 2, 3, 4, 5])
def test_input_size_is_the_smallest_that_covers(depth):
    model = UNet(2, widths=(1,) * (depth + 1))
    outputs = {side: _walk(side, depth) for side in range(1, 800)}
    accepted = {side: output for side, output in outputs.items() if output}
    assert {side - output for side, output in accepted.items()} == {2 * model.margin}
    for wanted in range(1, 200):
        smallest = min(side for side, output in accepted.items() if output >= wanted)
        assert model.input_size((wanted, 1)) == (smallest, min(accepted))


@pytest.mark.parametrize('padding', ['valid', 'same'])
def test_exactly_the_sides_that_fit_are_accepted(padding):
    depth = 2
    model, accepted = UNet(2, widths=(1,) * (depth + 1), padding=padding), 0
    for side in range(1, 66):
        expected = _walk(side, depth) if padding == 'valid' else side if side % 4 == 0 else None
        if expected is None:
            with pytest.raises(UserError, match=f'a side of {side} pixels'):
                _logits_shape(model, (side, side))
        else:
            accepted += 1
            assert _logits_shape(model, (side, side)) == (expected, expected)
    assert accepted > 4


@pytest.mark.parametrize('side', [1, 5, 16, 17, 31, 32])
def test_same_padding_rounds_up_to_a_multiple(side):
    assert UNet(2, padding='same').input_size((side, 1)) == (-(-side // 16) * 16, 16)


@pytest.mark.parametrize(
    'padding, side, nearest',
    [
        ('valid', 570, '556 and 572'),
        ('valid', 573, '572 and 588'),
        ('valid', 512, '508 and 524'),
        ('valid', 189, '188 and 204'),
        ('valid', 187, '188'),
        ('valid', 20, '188'),
        ('same', 100, '96 and 112'),
        ('same', 17, '16 and 32'),
        ('same', 5, '16'),
    ],
)
def test_a_side_that_does_not_fit_is_refused_naming_the_nearest(padding, side, nearest):
    model = UNet(2, padding=padding)
    good = model.input_size((100, 100))[0]
    with pytest.raises(UserError) as caught:
        _logits_shape(model, (good, side))
    message = str(caught.value)
    assert f'a side of {side} pixels' in message
    assert message.endswith(f'fit: {nearest}')


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_a_valid_network_sees_only_its_own_window(norm, draw):
    """Moved by multiples of 2^depth, the output of a larger input is the output of the crop."""
    model = UNet(2, widths=(4, 4, 4), norm=norm)
    image = np.random.default_rng(0).normal(size=(1, 56, 60, 1)).astype(np.float32)
    variables = draw(model, (1, 44, 44, 1))
    apply = jax.jit(lambda x: model.apply(variables, x, train=False).logits)
    whole = apply(jnp.asarray(image))
    assert whole.shape == (1, 16, 20, 2)
    for top, left in ((0, 0), (4, 8), (12, 16), (8, 0)):
        crop = jnp.asarray(image[:, top : top + 44, left : left + 44])
        expected = whole[:, top : top + 4, left : left + 4]
        np.testing.assert_allclose(apply(crop), expected, atol=1e-5)
    moved = apply(jnp.asarray(image[:, 2:46, 2:46]))  # 2 is no multiple of 4
    assert np.abs(moved - whole[:, 2:6, 2:6]).max() > 1e-3


def test_the_release_keeps_128_channels_at_the_top_and_starts_from_xavier(shapes):
    flat = shapes(UNet(2, variant='release'), (1, 188, 188, 1))
    assert flat['params/upconv1/kernel'].shape == (2, 2, 128, 128)
    assert flat['params/up1/conv1/kernel'].shape == (3, 3, 128 + 64, 64)
    assert flat['params/upconv2/kernel'].shape == (2, 2, 256, 128)
    model = UNet(2, widths=(16, 32), variant='release')
    init = lambda key: model.init(key, jnp.zeros((1, 20, 20, 1)), train=False)['params']
    params = jax.jit(init)(jax.random.key(0))
    fans = {'down2/conv2': 9 * 32, 'up1/conv1': 9 * 48, 'upconv1': 4 * 32}
    for path, fan in fans.items():
        kernel = flatten_dict(params, sep='/')[f'{path}/kernel']
        limit = np.sqrt(3 / fan)  # uniform, of variance 1 / fan
        assert 0.98 * limit < np.abs(kernel).max() < limit
        np.testing.assert_allclose(np.std(kernel), np.sqrt(1 / fan), rtol=0.05)


@pytest.mark.parametrize('model', [UNet(2), UNet(2, variant='release'), UNet(2, up_relu=True)])
def test_relu_after_up_convolutions(model, draw):
    model = model.clone(widths=(4, 6))
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 20, 20, 1)), jnp.float32)
    variables = draw(model, image.shape)
    upconv = variables['params']['upconv1']
    upconv['bias'] = jnp.full_like(upconv['bias'], -100)  # all of its outputs are negative
    before = model.apply(variables, image, train=False).logits
    upconv['bias'] *= 2
    same = np.array_equal(model.apply(variables, image, train=False).logits, before)
    assert same == (model.variant == 'release' or model.up_relu)


@pytest.mark.parametrize('up', ['nearest', 'bilinear'])
def test_up_convolution_read_literally(up, draw):
    """Up-sample, then a 2x2 convolution whose zeros are behind; here it takes the sum of all."""
    model = UNet(1, widths=(1, 1), padding='same', up=up, dropout=0.0)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 6, 1)), jnp.float32)
    variables = draw(model, image.shape)
    variables['params']['upconv1'] = {'kernel': jnp.ones((2, 2, 1, 1)), 'bias': jnp.zeros(1)}
    _, found = model.apply(variables, image, train=False, capture_intermediates=True)
    layers = found['intermediates']
    low = layers['down2']['__call__'][0][0, :, :, 0]
    grown = np.repeat(np.repeat(low, 2, axis=0), 2, axis=1)
    if up == 'bilinear':
        grown = jax.image.resize(low, grown.shape, 'linear')
    grown = np.pad(grown, ((0, 1), (0, 1)))
    expected = grown[:-1, :-1] + grown[1:, :-1] + grown[:-1, 1:] + grown[1:, 1:]
    np.testing.assert_allclose(layers['upconv1']['__call__'][0][0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize('concat', ['up_first', 'skip_first'])
def test_order_of_channels_where_the_paths_join(concat, draw):
    model = UNet(2, widths=(4, 6), concat=concat)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 20, 20, 1)), jnp.float32)
    variables = draw(model, image.shape)
    kernel = variables['params']['up1']['conv1']['kernel']
    of_up = slice(0, 4) if concat == 'up_first' else slice(4, 8)
    variables['params']['up1']['conv1']['kernel'] = kernel.at[:, :, of_up].set(0)
    before = model.apply(variables, image, train=False).logits
    lowest = variables['params']['down2']['conv2']
    lowest['bias'] = lowest['bias'] + 1
    np.testing.assert_array_equal(model.apply(variables, image, train=False).logits, before)
    variables['params']['down1']['conv2']['bias'] += 1
    assert np.abs(model.apply(variables, image, train=False).logits - before).max() > 0


def test_dropout_sits_at_the_end_of_the_contracting_path():
    called = []

    def note(next_fun, args, kwargs, context):
        if isinstance(context.module, Dropout) and context.module.rate:
            called.append(('/'.join(context.module.path), args[0].shape[-1]))
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        _logits_shape(UNet(2, widths=(1, 2, 3, 4, 5)), (188, 188))
        assert called == [('dropout4', 4), ('dropout5', 5)]
        called.clear()
        _logits_shape(UNet(2, widths=(1, 2), dropout_at='convolutions'), (20, 20))
    levels = (('down1', 1), ('down2', 2), ('up1', 1))
    assert called == [(f'{level}/dropout{i}', width) for level, width in levels for i in (1, 2)]
