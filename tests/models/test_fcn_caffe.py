"""FCN as released: the maps' sizes, where they lie over the image, and the frozen up-sampling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.layers.conv import bilinear_init
from segjax.models import FCN
from segjax.models.fcn import CROP, TRUNKS, interpolate

NARROW = {'padding': 'caffe', 'widths': (1, 2, 3, 4, 5), 'fc_features': 6}

# Sides of pool1 to pool5, score_fr, upscore32 (32s), upscore2, upscore16 (16s), upscore_pool4 and
# upscore8 (8s), computed from the layers of the released files by Caffe's formulas.
SIDES = {
    500: ((349, 175, 88, 44, 22), 16, 544, 34, 560, 70, 568),
    375: ((287, 144, 72, 36, 18), 12, 416, 26, 432, 54, 440),
    224: ((211, 106, 53, 27, 14), 8, 288, 18, 304, 38, 312),
    513: ((356, 178, 89, 45, 23), 17, 576, 36, 592, 74, 600),
}

# Trainable parameters of FCN-32s, FCN-16s, FCN-8s, closed form; deconvolutions are frozen.
COUNTS = {
    21: (134_346_581, 134_357_354, 134_362_751),
    33: (134_395_745, 134_412_674, 134_421_155),
    40: (134_424_424, 134_444_944, 134_455_224),
    59: (134_502_267, 134_532_534, 134_547_697),
}


def _outputs(model, side, width=None):
    """Shapes of everything the modules return, and of the logits."""
    image = jax.ShapeDtypeStruct((1, side, width or side, 3), jnp.float32)
    keep = lambda module, _: module.name in ('vgg16', 'score_fr') or 'upscore' in str(module.name)

    def run(image):
        variables = model.init(jax.random.key(0), image, train=False)
        return model.apply(
            variables, image, train=False, capture_intermediates=keep, mutable=['intermediates']
        )

    output, found = jax.eval_shape(run, image)
    return output.logits, {k: v['__call__'][0] for k, v in found['intermediates'].items()}


@pytest.mark.parametrize('side', SIDES)
def test_sizes_of_all_maps(side):
    pools, score, up32, up2, up16, up4, up8 = SIDES[side]
    last = {32: {'upscore32': up32}, 16: {'upscore2': up2, 'upscore16': up16}}
    last[8] = {'upscore2': up2, 'upscore_pool4': up4, 'upscore8': up8}
    for stride, ups in last.items():
        logits, found = _outputs(FCN(2, stride, upsampling='learned', **NARROW), side, 375)
        assert tuple(found['vgg16'][f'c{k}'].shape[1] for k in range(1, 6)) == pools
        assert found['score_fr'].shape[1:3] == (score, 12)
        assert {k: v.shape[1] for k, v in found.items() if k in ups} == ups
        assert logits.shape == (1, side, 375, 2)


@pytest.mark.parametrize('stride', [32, 16, 8])
def test_any_size_is_taken(stride):
    for size in ((1, 1), (31, 500), (97, 33)):
        for upsampling in ('bilinear', 'learned'):
            logits, _ = _outputs(FCN(2, stride, upsampling=upsampling, **NARROW), *size)
            assert logits.shape == (1, *size, 2)


@pytest.mark.parametrize('num_classes', COUNTS)
def test_parameter_counts(num_classes, shapes):
    def count(stride):
        flat = shapes(FCN(num_classes, stride, padding='caffe'), (1, 32, 32, 3))
        assert not [path for path in flat if 'upscore' in path]  # frozen: no parameters
        return sum(leaf.size for leaf in flat.values())

    assert tuple(count(stride) for stride in (32, 16, 8)) == COUNTS[num_classes]


def test_both_paddings_take_the_same_weights(shapes):
    caffe, same = (FCN(21, padding=padding) for padding in ('caffe', 'same'))
    assert shapes(caffe, (1, 32, 32, 3)) == shapes(same, (1, 32, 32, 3))


def test_crops_lay_all_maps_over_the_same_points():
    """Cell i of pool k is centred on 2^k (i + 1/2) - 1/2 - 99; fc6 sees seven cells of pool5."""
    center = {k: np.array([2**k, (2**k - 1) / 2 - 99]) for k in (3, 4, 5)}  # slope and offset
    fc6 = center[5] + [0, 3 * 32]
    np.testing.assert_array_equal(fc6, [32, 12.5])

    def upsampled(cells, s):
        """Output s i + s - 1/2 of a transposed convolution with stride s is over its input i."""
        slope, offset = cells
        return np.array([slope / s, offset - slope / s * (s - 0.5)])

    def cropped(cells, name):
        return cells + np.array([0, (CROP | {'upscore32': TRUNKS['vgg'].crop})[name] * cells[0]])

    pixels = [1, 0]
    np.testing.assert_allclose(cropped(upsampled(fc6, 32), 'upscore32'), pixels)
    fused4 = upsampled(fc6, 2)
    np.testing.assert_allclose(cropped(center[4], 'score_pool4'), fused4)
    np.testing.assert_allclose(cropped(upsampled(fused4, 16), 'upscore16'), pixels)
    fused3 = upsampled(fused4, 2)
    np.testing.assert_allclose(cropped(center[3], 'score_pool3'), fused3)
    np.testing.assert_allclose(cropped(upsampled(fused3, 8), 'upscore8'), pixels)


@pytest.mark.parametrize('stride', [2, 16])
def test_interpolation_is_the_bilinear_transposed_convolution(stride):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), jnp.float32)
    kernel = bilinear_init(jax.random.key(0), (2 * stride, 2 * stride, 2, 2))
    found = interpolate(x, stride)
    assert found.shape == (2, 4 * stride, 5 * stride, 2)
    np.testing.assert_allclose(found, ops.conv_transpose(x, kernel, stride=stride), atol=1e-5)
    half = stride // 2
    inner = np.s_[:, stride:-stride, stride:-stride]
    resized = ops.resize_bilinear(x, (3 * stride, 4 * stride))
    np.testing.assert_allclose(
        found[inner], resized[:, half : -half or None, half : -half or None], atol=1e-5
    )


def _random_image(*size):
    return jnp.asarray(np.random.default_rng(0).normal(size=(1, *size, 3)), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _logits(model, params, image):
    return model.apply({'params': params}, image, train=False).logits


def test_without_its_skip_16s_is_32s_but_for_a_second_interpolation(draw):
    image = _random_image(32, 64)
    fine = FCN(3, 16, **NARROW)
    params = draw(fine, image.shape)['params']
    params['score_pool4'] = jax.tree.map(jnp.zeros_like, params['score_pool4'])
    shared = {k: v for k, v in params.items() if k != 'score_pool4'}

    @jax.jit
    def run(params):
        keep = lambda module, _: module.name == 'score_fr'
        output, found = FCN(3, 32, **NARROW).apply(
            {'params': params},
            image,
            train=False,
            capture_intermediates=keep,
            mutable=['intermediates'],
        )
        return output.logits, found['intermediates']['score_fr']['__call__'][0]

    logits, coarse = run(shared)
    assert np.ptp(coarse) > 0.1
    once = interpolate(coarse, 32)[:, 19 : 19 + 32, 19 : 19 + 64]
    np.testing.assert_allclose(logits, once, atol=1e-5)
    twice = interpolate(interpolate(coarse, 2), 16)[:, 27 : 27 + 32, 27 : 27 + 64]
    np.testing.assert_allclose(_logits(fine, params, image), twice, atol=1e-5)
    assert np.abs(twice - once).max() < 0.5 * np.ptp(once)  # and nowhere far from it


def test_learned_upsampling_starts_as_the_frozen_one(draw):
    image = _random_image(32, 40)
    frozen = FCN(3, 8, **NARROW)
    params = draw(frozen, image.shape)['params']
    expected = _logits(frozen, params, image)
    for name, side in (('upscore2', 4), ('upscore_pool4', 4), ('upscore8', 16)):
        params[name] = {'kernel': bilinear_init(jax.random.key(0), (side, side, 3, 3))}
    found = _logits(FCN(3, 8, upsampling='learned', **NARROW), params, image)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_skips_are_scaled_before_they_are_scored(draw):
    """A smaller kernel does the same; the bias is not scaled."""
    image = _random_image(32, 40)
    plain, scaled = (FCN(3, 8, **NARROW, **s) for s in ({}, {'skip_scale': (0.01, 0.0001)}))
    params = draw(plain, image.shape)['params']
    found = _logits(scaled, params, image)
    assert np.abs(_logits(plain, params, image) - found).max() > 0.01
    for name, scale in (('score_pool4', 0.01), ('score_pool3', 0.0001)):
        params[name] = {**params[name], 'kernel': params[name]['kernel'] * scale}
    np.testing.assert_allclose(found, _logits(plain, params, image), atol=1e-5)


def test_gradients_reach_every_layer_after_the_backbone(draw):
    image = _random_image(32, 40)
    model = FCN(3, 8, dropout=0.0, **NARROW)
    params = draw(model, image.shape)['params']
    backbone = {'vgg16': params.pop('vgg16')}

    @jax.jit
    @jax.grad
    def gradient(params):
        output = model.apply({'params': params | backbone}, image, train=True)
        return jnp.sum(jnp.square(output.logits - 1))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all() and np.any(leaf), path


def test_rematerialisation_changes_no_variable(shapes):
    plain, recomputing = (FCN(3, 8, remat=remat, **NARROW) for remat in (False, True))
    assert shapes(recomputing, (1, 32, 32, 3)) == shapes(plain, (1, 32, 32, 3))
