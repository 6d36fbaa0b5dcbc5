"""FCN: the parameter counts of the released networks, its names, and its skips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.layers.conv import bilinear_init
from segjax.models import FCN

NARROW = {'widths': (1, 2, 3, 4, 5), 'fc_features': 6}
EVEN = {'widths': (4,) * 5, 'fc_features': 4}  # of few shapes: quick where numbers are computed

# Trainable parameters of the released networks (FCN-32s, FCN-16s, FCN-8s), closed form.
COUNTS = {
    21: (134_346_581, 134_357_354, 134_362_751),  # PASCAL VOC
    33: (134_395_745, 134_412_674, 134_421_155),  # SIFT Flow, semantic
    40: (134_424_424, 134_444_944, 134_455_224),  # NYUDv2
    59: (134_502_267, 134_532_534, 134_547_697),  # PASCAL-Context
}
DECONVOLUTIONS = {32: 1_806_336, 16: 458_640, 8: 127_008}  # of 21 classes, k x k blobs in Caffe


def _count(shapes, model):
    flat = shapes(model, (1, 32, 32, 3))
    return sum(leaf.size for path, leaf in flat.items() if path.startswith('params/'))


@pytest.mark.parametrize('num_classes', COUNTS)
def test_parameter_counts(num_classes, shapes):
    counts = tuple(_count(shapes, FCN(num_classes, stride)) for stride in (32, 16, 8))
    assert counts == COUNTS[num_classes]


@pytest.mark.parametrize('stride', [32, 16, 8])
def test_learned_upsampling_adds_the_deconvolutions(stride, shapes):
    added = _count(shapes, FCN(21, stride, upsampling='learned')) - _count(shapes, FCN(21, stride))
    assert added == DECONVOLUTIONS[stride]


def test_only_the_last_upsampling_is_fixed_with_skips(shapes):
    added = _count(shapes, FCN(21, 8, upsampling='skips')) - _count(shapes, FCN(21, 8))
    assert added == 2 * 4 * 4 * 21 * 21


def _names(norm):
    layers = [f'vgg16/stage{k}/conv{k}_{i}' for k, i in _convs()] + ['fc6/conv', 'fc7/conv']
    if norm == 'none':
        names = {f'{layer}/{leaf}' for layer in layers for leaf in ('kernel', 'bias')}
    else:
        norms = [f'vgg16/stage{k}/bn{k}_{i}' for k, i in _convs()] + ['fc6/bn', 'fc7/bn']
        names = {f'{layer}/kernel' for layer in layers}
        names |= {f'{layer}/{leaf}' for layer in norms for leaf in ('scale', 'bias')}
    scores = ('score_fr', 'score_pool4', 'score_pool3')
    names |= {f'{layer}/{leaf}' for layer in scores for leaf in ('kernel', 'bias')}
    return names | {f'{up}/kernel' for up in ('upscore2', 'upscore_pool4', 'upscore8')}


def _convs():
    return [(k, i) for k, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1)]


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_names_are_those_of_the_released_network(norm, shapes):
    flat = shapes(FCN(3, 8, norm=norm, upsampling='learned', **NARROW), (1, 32, 32, 3))
    params = {path.removeprefix('params/') for path in flat if path.startswith('params/')}
    assert params == _names(norm)
    statistics = {path.removeprefix('batch_stats/') for path in flat if 'batch_stats' in path}
    scales = {path for path in params if path.endswith('scale')}
    assert len(scales) == (15 if norm == 'batch' else 0)
    expected = {p.replace('scale', leaf) for p in scales for leaf in ('mean', 'var')}
    assert statistics == expected


def test_shapes_of_the_layers(shapes):
    flat = shapes(FCN(7, 8, upsampling='learned', **NARROW), (1, 32, 32, 3))
    expected = {
        'vgg16/stage1/conv1_1': (3, 3, 3, 1),
        'vgg16/stage5/conv5_1': (3, 3, 4, 5),
        'fc6/conv': (7, 7, 5, 6),
        'fc7/conv': (1, 1, 6, 6),
        'score_fr': (1, 1, 6, 7),
        'score_pool4': (1, 1, 4, 7),
        'score_pool3': (1, 1, 3, 7),
        'upscore2': (4, 4, 7, 7),
        'upscore_pool4': (4, 4, 7, 7),
        'upscore8': (16, 16, 7, 7),
    }
    for name, shape in expected.items():
        assert flat[f'params/{name}/kernel'].shape == shape


def test_scores_start_at_zero_and_upsampling_as_interpolation(key):
    model = FCN(3, 8, upsampling='learned', **NARROW)
    ours = ('score_fr', 'score_pool4', 'score_pool3', 'upscore2', 'upscore_pool4', 'upscore8')

    @jax.jit  # of the whole program only these are left
    def initial():
        params = model.init(key, jnp.zeros((1, 32, 32, 3)), train=False)['params']
        return {name: params[name] for name in ours}

    params = initial()
    for name in ours[:3]:
        assert not np.any(params[name]['kernel'])
        assert not np.any(params[name]['bias'])
    for name, side in zip(ours[3:], (4, 4, 16), strict=True):
        expected = bilinear_init(key, (side, side, 3, 3))
        np.testing.assert_array_equal(params[name]['kernel'], expected)


def _coarse(model, variables, image):
    """The logits, and the scores of fc7 from which they were up-sampled."""
    output, found = model.apply(
        variables,
        image,
        train=False,
        capture_intermediates=lambda module, _: module.name == 'score_fr',
        mutable=['intermediates'],
    )
    return output.logits, found['intermediates']['score_fr']['__call__'][0]


def test_without_its_skip_16s_is_32s_but_for_a_second_interpolation(draw):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)
    fine = FCN(3, 16, **EVEN)
    variables = draw(fine, image.shape)
    skip = variables['params']['score_pool4']
    variables['params']['score_pool4'] = jax.tree.map(jnp.zeros_like, skip)
    fine_logits, coarse = _coarse(fine, variables, image)
    shared = {k: v for k, v in variables['params'].items() if k != 'score_pool4'}
    logits, coarse_32s = _coarse(FCN(3, 32, **EVEN), {'params': shared}, image)
    assert coarse.shape == (1, 2, 2, 3)
    np.testing.assert_array_equal(coarse_32s, coarse)
    np.testing.assert_allclose(logits, ops.resize_bilinear(coarse, (64, 64)), atol=1e-6)
    twice = ops.resize_bilinear(ops.resize_bilinear(coarse, (4, 4)), (64, 64))
    np.testing.assert_allclose(fine_logits, twice, atol=1e-6)


def test_scores_of_a_skip_lie_over_the_upsampled_ones_from_the_top_left(draw):
    """Odd sizes: 40 pixels have 3 cells at stride 16 and 2 at stride 32, which become 4."""
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 40, 40, 3)), jnp.float32)
    model = FCN(3, 16, **EVEN)
    variables = draw(model, image.shape)
    logits, coarse = _coarse(model, variables, image)
    fc, _ = _coarse(
        model,
        {
            'params': {
                **variables['params'],
                'score_pool4': jax.tree.map(jnp.zeros_like, variables['params']['score_pool4']),
            }
        },
        image,
    )
    assert coarse.shape == (1, 2, 2, 3)
    doubled = ops.resize_bilinear(coarse, (4, 4))[:, :3, :3]
    expected = ops.resize_bilinear(doubled, (48, 48))[:, :40, :40]
    np.testing.assert_allclose(fc, expected, atol=1e-6)
    assert np.abs(logits - fc).max() > 0  # the skip matters otherwise


def test_learned_upsampling_starts_as_the_fixed_one_inside(draw):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)
    fixed = FCN(3, 32, **EVEN)
    variables = draw(fixed, image.shape)
    kernel = bilinear_init(jax.random.key(0), (64, 64, 3, 3))
    learned = {'params': {**variables['params'], 'upscore32': {'kernel': kernel}}}
    found = FCN(3, 32, upsampling='learned', **EVEN).apply(learned, image, train=False).logits
    expected = fixed.apply(variables, image, train=False).logits
    inner = np.s_[:, 16:-16, 16:-16]  # nearer the border zeros are mixed in
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-5)
    assert np.abs(found - expected).max() > 1e-3


def test_any_size_is_taken():
    assert FCN(3).input_size((37, 500)) == (37, 500)
    assert FCN(3).margin == 0
