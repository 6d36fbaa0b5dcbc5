"""Schedules and optimizers by hand, against the rules of Caffe and Torch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segjax.optim import Adam, AdamW, Constant, Poly, Sgd, Step, WarmupCosine
from segjax.types import UserError


def _factor(schedule, step, num_steps):
    return float(jax.jit(lambda s: schedule.factor(s, num_steps))(jnp.asarray(step, jnp.int32)))


@pytest.mark.parametrize(
    'step, rate', [(0, 0.007), (1000, 0.00678965), (15000, 0.00375121), (30000, 0.0)]
)
def test_poly_of_deeplab(step, rate):
    """Base rate .007, power .9, 30000 steps."""
    assert 0.007 * _factor(Poly(), step, 30_000) == pytest.approx(rate, abs=5e-9)


def test_poly_by_hand():
    assert _factor(Poly(power=2.0), 5, 10) == pytest.approx(0.25)
    assert _factor(Poly(power=1.0, end=0.3), 8, 10) == pytest.approx(0.3)
    assert _factor(Poly(), 11, 10) == 0  # past the end: no root of a negative number


@pytest.mark.parametrize('step', [0, 7, 10])
def test_constant(step):
    assert _factor(Constant(), step, 10) == 1


@pytest.mark.parametrize(
    'step, factor', [(0, 1), (59, 1), (60, 0.1), (79, 0.1), (80, 0.01), (90, 0.01)]
)
def test_step_of_the_detection_schedule(step, factor):
    """The 1x schedule: falls at 60,000 and 80,000 of 90,000 steps."""
    assert _factor(Step(), step, 90) == pytest.approx(factor)


@pytest.mark.parametrize('step, factor', [(0, 0.2), (1, 0.4), (2, 0.6), (4, 1), (5, 1), (50, 0.5)])
def test_step_with_a_linear_warm_up(step, factor):
    schedule = Step(boundaries=(0.5,), gamma=0.5, warmup_steps=4, warmup_start=0.2)
    assert _factor(schedule, step, 100) == pytest.approx(factor)


@pytest.mark.parametrize(
    'step, factor',
    [
        (0, 0.1),  # the first of ten steps up
        (4, 0.5),
        (9, 1),
        (10, 1),
        (10 + 30, 0.75),  # a third of the way: (1 + cos 60°) / 2
        (10 + 45, 0.5),
        (10 + 60, 0.25),
        (100, 0),
        (120, 0),
    ],
)
def test_warm_up_then_half_a_cosine(step, factor):
    assert _factor(WarmupCosine(warmup=0.1), step, 100) == pytest.approx(factor, abs=1e-6)


def test_cosine_ends_where_it_is_told():
    schedule = WarmupCosine(warmup=0.0, end=0.2)
    assert _factor(schedule, 0, 51) == pytest.approx(1)
    assert _factor(schedule, 26, 51) == pytest.approx(0.6)  # half way between step 1 and 51
    assert _factor(schedule, 51, 51) == pytest.approx(0.2)


@pytest.mark.parametrize(
    'schedule', [Constant(), Step(), Step(warmup_steps=3), Poly(), WarmupCosine()]
)
def test_factors_are_float32_and_lie_between_0_and_1(schedule):
    steps = jnp.arange(0, 50, dtype=jnp.int32)
    factors = jax.vmap(lambda step: schedule.factor(step, 40))(steps)
    assert factors.dtype == jnp.float32
    assert np.all((factors >= 0) & (factors <= 1))


PATHS = ('vgg16/conv1_1/kernel', 'vgg16/conv1_1/bias', 'vgg16/bn1_1/scale', 'score/kernel')


def _tree(*values):
    return {path: jnp.asarray([v], jnp.float32) for path, v in zip(PATHS, values, strict=True)}


def _run(optimizer, params, gradients, *, num_steps=10):
    """Parameters, in the order of PATHS, after each step with the given gradients."""
    rule = optimizer.build(num_steps)
    state, order, history = rule.init(params), list(params), []
    update = jax.jit(rule.update)
    for gradient in gradients:
        with jax.numpy_dtype_promotion('standard'):  # optax's Adam raises 0.9 to an integer
            updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        history.append([float(params[path][0]) for path in order])
    return history


def _one(optimizer, value, gradients, **options):
    """The same for a single kernel."""
    number = lambda x: {'kernel': jnp.asarray([x], jnp.float32)}
    history = _run(optimizer, number(value), [number(g) for g in gradients], **options)
    return [value for (value,) in history]


def test_three_steps_of_sgd_by_hand():
    """v = .9 v + g + .1 p, p -= .5 v, as Caffe and Torch with a constant rate."""
    optimizer = Sgd(0.5, Constant(), momentum=0.9, weight_decay=0.1)
    # p 1     g 1   v 1.1                           p 0.45
    # p .45   g 2   v .99 + 2 + .045 = 3.035        p -1.0675
    # p -1.0675 g -1  v 2.7315 - 1 - .10675 = 1.62475   p -1.879875
    assert _one(optimizer, 1, [1, 2, -1]) == pytest.approx([0.45, -1.0675, -1.879875])


def test_the_rate_multiplies_the_velocity_after_the_momentum():
    """Torch's rule: a falling rate acts on the whole velocity, not on each gradient."""
    optimizer = Sgd(1.0, Step(boundaries=(0.5,), gamma=0.1), momentum=0.9)
    # v 1, p -1; v .9, the rate is .1: p -1.09
    assert _one(optimizer, 0, [1, 0], num_steps=2) == pytest.approx([-1, -1.09])


def test_nesterov_looks_ahead():
    # v 1, step 1 + .9 v = 1.9; v .9, step 0 + .9 v = .81
    optimizer = Sgd(1.0, Constant(), momentum=0.9, nesterov=True)
    assert _one(optimizer, 0, [1, 0]) == pytest.approx([-1.9, -2.71])


def test_two_steps_of_adam_by_hand():
    optimizer = Adam(0.1, Constant())
    # Bias-corrected: after step 1 m = g, v = g^2: the step is the rate whatever the gradient.
    first = 1 - 0.1
    m = (0.9 * 0.1 * 2 + 0.1 * -1) / (1 - 0.9**2)
    v = (0.999 * 0.001 * 4 + 0.001 * 1) / (1 - 0.999**2)
    assert _one(optimizer, 1, [2, -1]) == pytest.approx([first, first - 0.1 * m / v**0.5], rel=1e-5)


def test_adam_adds_decay_to_the_gradient_and_adamw_to_the_step():
    options = {'learning_rate': 0.1, 'schedule': Constant(), 'weight_decay': 0.5}
    # Adam normalises g + decay p = 0 + 1 away: a step of .1; AdamW steps by rate decay p = .1 p.
    assert _one(Adam(**options), 2, [0]) == pytest.approx([1.9])
    assert _one(AdamW(**options), 4, [0]) == pytest.approx([3.8])
    assert _one(AdamW(**options), 4, [1]) == pytest.approx([4 - 0.1 - 0.2])


def test_only_kernels_decay_unless_all_shall():
    params, zeros = _tree(1, 1, 1, 1), [_tree(0, 0, 0, 0)]
    options = {'momentum': 0.0, 'weight_decay': 0.5}
    (found,) = _run(Sgd(0.1, Constant(), **options), params, zeros)
    assert found == pytest.approx([0.95, 1, 1, 0.95])
    (found,) = _run(Sgd(0.1, Constant(), decay_all=True, **options), params, zeros)
    assert found == pytest.approx([0.95] * 4)


def test_multipliers_of_the_learning_rate():
    optimizer = Sgd(
        0.1,
        Constant(),
        momentum=0.0,
        weight_decay=1.0,
        bias_multiplier=2.0,
        multipliers=(('vgg16', 0.1), ('conv1', 0.5)),
    )
    (found,) = _run(optimizer, _tree(1, 1, 1, 1), [_tree(1, 1, 1, 1)])
    # Gradients 2, 1, 1, 2 with the decay of kernels; rates .1 times .05, .1, .1, 1.
    assert found == pytest.approx([1 - 0.01, 1 - 0.01, 1 - 0.01, 1 - 0.2])


def test_a_schedule_runs_while_momentum_builds_up():
    optimizer = Sgd(1.0, Poly(power=1.0), momentum=0.5)
    # rates 1, .75, .5, .25; velocities 1, 1.5, 1.75, 1.875
    expected = -np.cumsum([1, 0.75 * 1.5, 0.5 * 1.75, 0.25 * 1.875])
    assert _one(optimizer, 0, [1, 1, 1, 1], num_steps=4) == pytest.approx(expected)


def test_the_rate_that_is_reported_is_the_rate_that_is_taken():
    optimizer = Sgd(0.3, WarmupCosine(warmup=0.3), momentum=0.0)
    values = [0.0, *_one(optimizer, 0, [1] * 10)]
    for step in range(10):
        rate = optimizer.rate(jnp.asarray(step, jnp.int32), 10)
        assert values[step] - values[step + 1] == pytest.approx(float(rate), abs=1e-6)


def test_gradients_are_clipped_to_a_global_norm_before_the_decay():
    options = {'momentum': 0.0, 'clip_norm': 1.0}
    params, gradient = _tree(0, 0, 0, 0), _tree(3, 0, 0, 4)
    (found,) = _run(Sgd(1.0, Constant(), **options), params, [gradient])
    assert found == pytest.approx([-0.6, 0, 0, -0.8])
    (found,) = _run(Sgd(1.0, Constant(), **options), params, [_tree(0.3, 0, 0, 0.4)])
    assert found == pytest.approx([-0.3, 0, 0, -0.4])  # a small one is left
    decaying = Sgd(1.0, Constant(), weight_decay=1.0, **options)
    (found,) = _run(decaying, _tree(10, 0, 0, 0), [_tree(0, 0, 0, 0)])
    assert found == pytest.approx([0, 0, 0, 0])  # the decay of 10 is not clipped


def test_frozen_parameters_are_named_by_pattern():
    optimizer = Sgd(0.1, frozen=(r'^vgg16/conv1', 'scale$'))
    assert [optimizer.is_frozen(path) for path in PATHS] == [True, True, True, False]
    assert not any(Sgd(0.1).is_frozen(path) for path in PATHS)
    assert not optimizer.is_frozen('decoder/vgg16/conv1_1/kernel')


@pytest.mark.parametrize(
    'optimizer',
    [
        Sgd(0.1, weight_decay=0.01, clip_norm=1.0),
        Adam(0.1, Step(warmup_steps=2), weight_decay=0.01),
        AdamW(0.1, WarmupCosine(), weight_decay=0.01),
    ],
)
def test_a_quadratic_is_minimised_and_types_are_kept(optimizer):
    params = _tree(1, -2, 3, -4)
    rule = optimizer.build(100)
    state = rule.init(params)

    @jax.jit
    def step(params, state):
        updates, state = rule.update(params, state, params)  # the gradient of |p|^2 / 2
        return optax.apply_updates(params, updates), state

    start = jax.tree.map(lambda x: (x.shape, x.dtype), (params, state))
    for _ in range(100):
        with jax.numpy_dtype_promotion('standard'):  # optax's Adam raises 0.9 to an integer
            params, state = step(params, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), (params, state)) == start
    assert float(optax.tree.norm(params)) < 0.5


@pytest.mark.parametrize(
    'step, ema, expected',
    [
        (0, 0.999, 1.9),  # 1/10 old + 9/10 new
        (8, 0.999, 1.5),  # 9/18 old
        (10**6, 0.999, 1.001),
        (0, 0.05, 1.95),  # never more than asked for
    ],
)
def test_the_moving_average_by_hand(step, ema, expected):
    optimizer, number = Sgd(1.0, ema=ema), lambda x: {'params': {'kernel': jnp.asarray([x])}}
    found = optimizer.average(number(1.0), number(2.0), jnp.asarray(step, jnp.int32))
    assert float(found['params']['kernel'][0]) == pytest.approx(expected)


def test_the_average_of_what_never_moves_is_the_same_bits():
    variables = {'batch_stats': jnp.asarray([0.1, 1 / 3, 7e-9])}
    average = variables
    for step in range(20):
        average = Sgd(1.0, ema=0.9).average(average, variables, jnp.asarray(step, jnp.int32))
    np.testing.assert_array_equal(average['batch_stats'], variables['batch_stats'])


@pytest.mark.parametrize('ema', [1.0, -0.1, 10.0])
def test_a_decay_of_the_average_that_is_none_is_refused(ema):
    with pytest.raises(UserError, match='ema'):
        Sgd(1.0, ema=ema)


def test_the_rate_grows_with_the_batch():
    """Detection's 0.02 for 16 pictures."""
    optimizer = Sgd(learning_rate=0.02, for_batch=16)
    assert optimizer.scaled(8).learning_rate == pytest.approx(0.01)
    assert optimizer.scaled(64).scaled(8).learning_rate == pytest.approx(0.08)
    assert Sgd(learning_rate=0.02).scaled(8).learning_rate == 0.02
