"""U-Net++: the papers' counts, the triangle, and what pruning leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax.layers.cost import layer_costs
from segjax.models import UNetPlusPlus
from segjax.models.unetplusplus import prune
from segjax.types import UserError

NESTED = {'norm': 'batch', 'up': 'bilinear', 'concat': 'up_last', 'dropout': 0.0}
SMP = {
    'norm': 'batch', 'use_bias': False, 'up': 'nearest', 'concat': 'newest_first', 'dropout': 0.0,
}  # fmt: skip
# depth -> parameters for 1 and 3 channels; giga multiply-accumulates at 96 and 512 pixels
TABLE = {
    1: (100_961, 101_537, 0.489, 13.9),
    2: (511_105, 511_681, 1.249, 35.5),
    3: (2_204_961, 2_205_537, 2.452, 69.7),
    4: (9_041_601, 9_042_177, 4.184, 119.0),
}
NARROW = UNetPlusPlus(2, widths=(3, 4, 5, 6, 7))
OVER = UNetPlusPlus(
    2, widths=(3, 4, 5, 6), backbone='resnet18', backbone_width=4, full_width=3, **SMP
)


def _total(model, shape):
    rows = layer_costs(model, shape)
    return sum(row.params for row in rows), sum(row.macs for row in rows) / 1e9


def _image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize('depth', TABLE)
def test_parameters_and_costs_of_l1_to_l4(depth):
    one, three, small, large = TABLE[depth]
    model = UNetPlusPlus(1, deep_supervision=False, depth=depth)
    assert _total(model, (1, 96, 96, 1)) == (one, pytest.approx(small, abs=5e-4))
    assert _total(model, (1, 512, 512, 1)) == (one, pytest.approx(large, abs=5e-2))
    assert _total(model, (1, 96, 96, 3))[0] == three


@pytest.mark.parametrize(
    'model, channels, count, gmac',
    [
        (UNetPlusPlus(1), 1, 9_041_700, 119.03),  # four heads
        (UNetPlusPlus(1), 3, 9_042_276, 119.18),
        (UNetPlusPlus(1, False, **NESTED), 3, 9_163_329, 137.94),
        (UNetPlusPlus(1, **NESTED), 3, 9_163_428, 137.97),
        (UNetPlusPlus(1, False, backbone='resnet34', **SMP), 3, 26_078_609, 73.53),
        (UNetPlusPlus(1, False, backbone='resnet50', **SMP), 3, 48_985_745, None),
    ],
)
def test_parameters_of_the_variants(model, channels, count, gmac):
    params, macs = _total(model, (1, 512, 512, channels))
    assert params == count
    assert gmac is None or round(macs, 2) == gmac


def test_the_triangle_has_15_nodes_wired_as_equation_1(shapes):
    """Each node's first kernel tells what it joins."""
    flat = shapes(NARROW, (1, 16, 16, 1))
    w = NARROW.widths
    nodes = {
        path.split('/')[1]: leaf.shape
        for path, leaf in flat.items()
        if path.endswith('conv1/kernel')
    }
    assert nodes == {
        f'x_{i}_{j}': (3, 3, (j + 1) * w[i] if j else (1, *w)[i], w[i])
        for i in range(5)
        for j in range(5 - i)
    }
    assert len(nodes) == 15
    ups = {path.split('/')[1]: x.shape for path, x in flat.items() if '/up_' in path}
    assert {n for n in ups if n.startswith('up_')} == {f'up_{n[2:]}' for n in nodes if n[4] != '0'}
    heads = {path.split('/')[1] for path in flat if '/score' in path}
    assert heads == {'score_1', 'score_2', 'score_3', 'score_4'}


def test_every_node_reaches_what_equation_1_says(draw):
    """A node's output changes with the bias of its ancestors, a head's with those of its node."""
    model, image = NARROW, _image(1, 16, 16, 1)
    ancestors = {(0, 0): {(0, 0)}}
    for j in range(5):
        for i in range(5 - j):
            row = {(i, k) for k in range(j)}
            sources = {(i + 1, j - 1)} | row if j else {(i - 1, 0)} & ancestors.keys()
            ancestors[i, j] = {(i, j)}.union(*(ancestors[source] for source in sources))

    @jax.jit
    def outputs(params):
        _, found = model.apply({'params': params}, image, train=False, capture_intermediates=True)
        calls = found['intermediates']
        return {n: calls[n]['__call__'][0] for n in calls if n.startswith(('x_', 'score_'))}

    params = draw(model, image.shape)['params']
    before = outputs(params)
    for i, j in ancestors:
        changed = jax.tree.map(lambda x: x, params)
        changed[f'x_{i}_{j}']['conv2']['bias'] += 1
        after = outputs(changed)
        found = {name for name in before if not np.array_equal(before[name], after[name])}
        reached = {node for node, above in ancestors.items() if (i, j) in above}
        expected = {f'x_{a}_{b}' for a, b in reached}
        assert found == expected | {f'score_{b}' for a, b in reached if a == 0 and b > 0}


@pytest.mark.parametrize('concat', ['up_first', 'up_last', 'newest_first'])
def test_order_of_channels_where_a_node_joins(concat, draw):
    """Zeros for the channels that belong to U and to X^{0,1} in X^{0,2}: it sees X^{0,0} alone."""
    model = UNetPlusPlus(1, False, 2, (2, 3, 4), concat=concat)
    image = _image(1, 8, 8, 1)
    apply = jax.jit(lambda v: model.apply(v, image, train=False).logits)
    variables = draw(model, image.shape)
    place = {'up_first': 1, 'up_last': 0, 'newest_first': 2}[concat]  # of X^{0,0}
    kernel = np.zeros((3, 3, 6, 2), np.float32)
    kernel[:, :, 2 * place : 2 * place + 2] = 1
    variables['params']['x_0_2']['conv1']['kernel'] = jnp.asarray(kernel)
    before = apply(variables)
    for node in ('x_0_1', 'x_1_1'):
        variables['params'][node]['conv2']['bias'] += 1
        np.testing.assert_array_equal(apply(variables), before)
    variables['params']['x_0_0']['conv2']['bias'] += 1
    assert np.abs(apply(variables) - before).max() > 0


@pytest.mark.parametrize(
    'model',
    [
        pytest.param(NARROW, id='published'),
        pytest.param(NARROW.clone(depth=2, **NESTED), id='nested'),
        pytest.param(OVER.clone(depth=2), id='resnet18'),
    ],
)
def test_pruned_networks_equal_the_supervised_heads(model, draw):
    image = _image(2, 32, 32, 3)
    variables = draw(model, image.shape)
    heads = jax.jit(lambda v: model.apply(v, image, train=False))(variables)
    heads = (*heads.aux, heads.logits)
    sizes = []
    for depth, expected in enumerate(heads, start=1):
        small, kept = prune(model, variables, depth)
        assert small.depth == depth and not small.deep_supervision
        found = jax.jit(lambda v, m=small: m.apply(v, image, train=False))(kept)
        assert found.aux == ()
        np.testing.assert_allclose(found.logits, expected, rtol=0, atol=1e-6)
        fresh = jax.eval_shape(lambda m=small: m.init(jax.random.key(0), image, train=False))
        assert jax.tree.map(jnp.shape, kept) == jax.tree.map(lambda x: x.shape, fresh)
        sizes.append(sum(leaf.size for leaf in jax.tree.leaves(kept)))
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize('depth', TABLE)
def test_what_pruning_leaves_has_the_table_s_parameters_and_costs(depth, shapes):
    model = UNetPlusPlus(1)
    init = lambda key: model.init(key, jnp.zeros((1, 96, 96, 1)), train=False)
    small, kept = prune(model, jax.eval_shape(init, jax.random.key(0)), depth)
    one, _, at_96, _ = TABLE[depth]
    assert sum(leaf.size for leaf in jax.tree.leaves(kept)) == one
    assert _total(small, (1, 96, 96, 1)) == (one, pytest.approx(at_96, abs=5e-4))


def test_xla_computes_less_for_a_pruned_network(draw):
    """Its own count of operations falls as the table's does: 12, 30 and 59 percent of L4."""
    model = UNetPlusPlus(1, widths=(8, 16, 32, 64, 128))
    variables = draw(model, (1, 96, 96, 1))

    def flops(depth):
        small, kept = prune(model, variables, depth)
        apply = jax.jit(lambda v, x: small.apply(v, x, train=False).logits)
        return apply.lower(kept, _image(1, 96, 96, 1)).cost_analysis()['flops']

    whole = flops(4)
    for depth, share in ((1, 0.117), (2, 0.298), (3, 0.586)):
        assert flops(depth) / whole == pytest.approx(share, abs=0.03)


def test_what_cannot_be_pruned_is_said():
    image = jnp.zeros((1, 16, 16, 1))
    alone = NARROW.clone(deep_supervision=False)
    variables = jax.eval_shape(lambda: alone.init(jax.random.key(0), image, train=False))
    with pytest.raises(UserError, match=r'head 2 was never trained.*depth=2 by itself'):
        prune(alone, variables, 2)
    same, kept = prune(alone, variables, 4)
    assert same == alone and kept == variables
    for depth in (0, 5):
        with pytest.raises(UserError, match=r'can be pruned to 1\.\.4'):
            prune(NARROW, variables, depth)


def test_shared_parameters_start_alike_in_every_arm():
    """With and without deep supervision, and trained at a smaller depth by themselves."""
    image = jnp.zeros((1, 4, 4, 3))
    init = lambda model: flatten_dict(model.init(jax.random.key(3), image, train=False), sep='/')
    model = UNetPlusPlus(3, depth=2, widths=(3, 3, 3))
    whole = init(model)
    for arm in (model.clone(deep_supervision=False), model.clone(depth=1)):
        for path, value in init(arm).items():
            np.testing.assert_array_equal(value, whole[path], err_msg=path)


@pytest.mark.parametrize(
    'model, side, nearest',
    [(NARROW, 100, '96 and 112'), (NARROW, 5, '16'), (OVER, 80, '64 and 96'),
     (NARROW.clone(depth=1), 33, '32 and 34')],
)  # fmt: skip
def test_a_side_that_does_not_fit_is_refused_naming_the_nearest(model, side, nearest):
    fits = model.input_size((side, 1))
    assert fits == (int(nearest.split()[-1]), model.unit)
    with pytest.raises(UserError, match=rf'a side of {side} pixels.*fit: {nearest}(\n|$)'):
        jax.eval_shape(
            lambda: model.init(jax.random.key(0), jnp.zeros((1, fits[0], side, 3)), train=False)
        )


@pytest.mark.parametrize(
    'model, message',
    [
        (UNetPlusPlus(1, depth=5), 'depth=5 needs 6 widths; there are 5'),
        (OVER.clone(depth=5, widths=(4,) * 5), 'over resnet18 the depth of U-Net.. is 4'),
    ],
)
def test_fields_that_do_not_go_together_are_refused(model, message):
    with pytest.raises(UserError, match=message):
        model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 1)), train=False)
