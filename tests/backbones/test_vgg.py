"""VGG11 and VGG16: the paper's layers, its strides, and the options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax.backbones import VGG

NARROW = (2, 3, 4, 5, 6)


def _init_shapes(model, channels=3):
    init = lambda key: model.init(key, jnp.zeros((1, 32, 32, channels)), train=False)
    return jax.eval_shape(init, jax.random.key(0))


def _outputs(model, size, *, train=False):
    variables = _init_shapes(model)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    apply = lambda v, x: model.apply(v, x, train=train, mutable=['batch_stats'])[0]
    return jax.eval_shape(apply, variables, image)


@pytest.mark.parametrize(('depth', 'count'), [(11, 9_220_480), (16, 14_714_688)])
def test_parameters_of_the_paper(depth, count):
    """With 123,642,856 of the classifier 133 and 138 million, as table 2 has them."""
    leaves = jax.tree.leaves(_init_shapes(VGG(depth))['params'])
    assert sum(leaf.size for leaf in leaves) == count
    assert len(leaves) == 2 * (depth - 3)


def test_names_are_those_of_the_released_network():
    names = flatten_dict(_init_shapes(VGG(16, NARROW))['params'], sep='/')
    convs = [
        f'stage{k}/conv{k}_{i}' for k, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)
    ]
    assert set(names) == {f'{c}/{leaf}' for c in convs for leaf in ('kernel', 'bias')}


def test_batch_normalisation_takes_the_place_of_the_bias():
    variables = _init_shapes(VGG(16, NARROW, norm='batch'))
    params = flatten_dict(variables['params'], sep='/')
    assert not [name for name in params if name.startswith('conv') and name.endswith('bias')]
    stage = {'conv1_1/kernel', 'conv1_2/kernel'}
    stage |= {f'bn1_{i}/{leaf}' for i in (1, 2) for leaf in ('scale', 'bias')}
    assert set(flatten_dict(variables['params']['stage1'], sep='/')) == stage
    assert len(jax.tree.leaves(variables['batch_stats'])) == 2 * 13


@pytest.mark.parametrize('norm', ['none', 'batch'])
@pytest.mark.parametrize('size', [(64, 96), (37, 65), (1, 1)])
def test_level_k_has_stride_2_to_the_k_rounded_up(norm, size):
    features = _outputs(VGG(16, NARROW, norm=norm), size)
    for k, width in enumerate(NARROW, start=1):
        h, w = (-(-side // 2**k) for side in size)
        assert features[f'c{k}'].shape == (2, h, w, width)
    assert set(features) == {'c1', 'c2', 'c3', 'c4', 'c5'}


def test_bfloat16_features():
    features = _outputs(VGG(16, NARROW, norm='batch', dtype='bfloat16'), (32, 32), train=True)
    assert {feature.dtype for feature in features.values()} == {jnp.dtype('bfloat16')}


def test_rematerialisation_changes_neither_output_nor_gradient():
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 2, 2, 4)).astype(np.float32))
    model = VGG(16, (4,) * 5)
    rng = np.random.default_rng(1)
    # Positive, so that no ReLU is dead.
    draw = lambda leaf: jnp.asarray(rng.uniform(0, 0.2, leaf.shape).astype(np.float32))
    variables = jax.tree.map(draw, _init_shapes(model, channels=4))

    def value_and_gradient(model):
        total = lambda v: jnp.sum(model.apply(v, x, train=True)['c5'])
        return jax.value_and_grad(total)(variables)  # compiled op by op: both use the same

    plain, recomputed = value_and_gradient(model), value_and_gradient(model.clone(remat=True))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5)
    jax.tree.map(close, recomputed, plain)
    assert np.abs(plain[1]['params']['stage1']['conv1_1']['kernel']).max() > 0


def test_taps_before_the_poolings():
    """What TernausNet joins: c0 to c4, each pooled to what it is in `taps='pooled'`."""
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 64, 3)), jnp.float32)
    pooled, unpooled = VGG(11, NARROW), VGG(11, NARROW, taps='unpooled')
    variables = jax.tree.map(lambda x: jnp.full(x.shape, 0.1), _init_shapes(pooled))
    expected = jax.jit(lambda v: pooled.apply(v, image, train=False))(variables)
    found = jax.jit(lambda v: unpooled.apply(v, image, train=False))(variables)
    assert set(found) == {'c0', 'c1', 'c2', 'c3', 'c4', 'c5'}
    for k, width in enumerate(NARROW):
        before = found[f'c{k}']
        assert before.shape == (1, 32 // 2**k, 64 // 2**k, width)
        b, h, w, c = before.shape
        after = before.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
        np.testing.assert_array_equal(after, expected[f'c{k + 1}'])
    np.testing.assert_array_equal(found['c5'], expected['c5'])
