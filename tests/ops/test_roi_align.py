"""RoIAlign: a ramp by hand, then the loop of the C++ kernels, every form, value and gradient."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

#  0  1  2  3  4
#  5  6  7  8  9
# 10 11 12 13 14
# 15 16 17 18 19
# 20 21 22 23 24
RAMP = jnp.arange(25.0).reshape(5, 5, 1)
SETTINGS = ('output_size', 'spatial_scale', 'sampling_ratio', 'aligned', 'form')
roi_align = jax.jit(ops.roi_align, static_argnames=SETTINGS)
FORMS = ['gather', 'matmul']

BOXES = [
    [1, 1, 3, 3],
    [0, 0, 13, 9],
    [2.3, 1.7, 9.9, 4.1],
    [-5, -4, 3, 20],  # beyond two sides
    [12.6, 8.7, 13, 9],  # thin, in the corner: without `aligned` it is made one cell wide
    [-40, -40, 60, 70],  # beyond all sides
    [5, 5, 5, 5],  # empty
    [30, 2, 40, 8],  # outside
    [11, 3, 4, 7],  # turned round
]


def _interpolate(x, y_, x_):
    """One sample of `h w c`, as the C++ kernels."""
    h, w, _ = x.shape
    if not (-1 <= y_ <= h and -1 <= x_ <= w):
        return np.zeros(x.shape[-1])
    y_, x_ = max(y_, 0), max(x_, 0)
    top, left = int(y_), int(x_)
    if top >= h - 1:
        top = y_ = h - 1
    if left >= w - 1:
        left = x_ = w - 1
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    dy, dx = y_ - top, x_ - left
    above = (1 - dx) * x[top, left] + dx * x[top, right]
    below = (1 - dx) * x[bottom, left] + dx * x[bottom, right]
    return (1 - dy) * above + dy * below


def _loop(x, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    """`n p p c`, sample by sample, added up in double precision."""
    x, p = np.asarray(x, float), output_size
    out = np.zeros((len(boxes), p, p, x.shape[-1]))
    for n, box in enumerate(np.asarray(boxes, np.float32)):  # positions as in the kernels
        x1, y1, x2, y2 = box * np.float32(spatial_scale) - np.float32(0.5 * aligned)
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        w, h = np.float32(w / p), np.float32(h / p)
        rows, columns = sampling_ratio or math.ceil(h), sampling_ratio or math.ceil(w)
        for i, j, a, b in np.ndindex(p, p, max(rows, 0), max(columns, 0)):
            y_ = y1 + i * h + np.float32(a + 0.5) * h / rows
            x_ = x1 + j * w + np.float32(b + 0.5) * w / columns
            out[n, i, j] += _interpolate(x, y_, x_) / (rows * columns)
    return out


@pytest.mark.parametrize('form', ['auto', *FORMS])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_a_ramp_by_hand(form, sampling_ratio):
    run = lambda aligned: roi_align(
        RAMP,
        jnp.asarray([[1.0, 1.0, 3.0, 3.0]]),
        output_size=4,
        spatial_scale=1.0,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        form=form,
    )[0, :, :, 0]
    steps = 2.5 * np.arange(4)[:, None] + 0.5 * np.arange(4)
    np.testing.assert_allclose(run(False), 7.5 + steps, rtol=1e-6)
    np.testing.assert_allclose(run(True), 4.5 + steps, rtol=1e-6)


def _map(h=9, w=13, c=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(h, w, c)).astype(np.float32))


@pytest.mark.parametrize('aligned, spatial_scale', [(False, 1.0), (True, 0.25)])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2, 3])
def test_equals_the_loop(sampling_ratio, aligned, spatial_scale):
    boxes, x = np.asarray(BOXES) / spatial_scale, _map()
    settings = {
        'output_size': 3,
        'spatial_scale': spatial_scale,
        'sampling_ratio': sampling_ratio,
        'aligned': aligned,
    }
    expected = _loop(x, boxes, **settings)
    assert (np.abs(expected) > 0).any((1, 2, 3)).sum() >= 5
    for form in FORMS:
        found = roi_align(x, jnp.asarray(boxes, jnp.float32), **settings, form=form)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_samples_are_counted_by_the_size_of_the_box_however_large():
    """Far larger than the map: most samples are zeros, those inside are all there."""
    # No sample falls on -1 or n itself, where a last bit decides.
    boxes = [[-30, -90.2, 33, 70.1], [3, -999.9, 4, 1000.3], [0, 0, 13, 9]]
    settings = {'output_size': 4, 'spatial_scale': 1.0, 'sampling_ratio': 0, 'aligned': True}
    found = roi_align(_map(), jnp.asarray(boxes, jnp.float32), **settings)
    np.testing.assert_allclose(found, _loop(_map(), boxes, **settings), atol=2e-5)


@pytest.mark.parametrize('form, sampling_ratio', [('gather', 2), ('matmul', 2), ('matmul', 0)])
def test_an_area_ends_as_a_map_does(form, sampling_ratio):
    """Values as from the area alone, gradients as well, and none beyond."""
    x, boxes = _map(), jnp.asarray(BOXES, jnp.float32)
    around = jnp.pad(x, ((0, 4), (0, 2), (0, 0)), constant_values=100.0)

    @jax.jit
    def value_and_gradient(x, area):
        run = partial(
            ops.roi_align,
            boxes=boxes,
            output_size=3,
            spatial_scale=1.0,
            sampling_ratio=sampling_ratio,
            area=area,
            form=form,
        )
        y, vjp = jax.vjp(run, x)
        return y, vjp(jnp.cos(y))[0]

    expected, slopes = value_and_gradient(x, None)
    assert slopes[-1, -1].any()
    found, found_slopes = value_and_gradient(around, jnp.asarray([9, 13]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found_slopes[:9, :13], slopes, atol=1e-5)
    assert not found_slopes[9:].any() and not found_slopes[:, 13:].any()


@pytest.mark.parametrize('form, sampling_ratio', [('gather', 2), ('matmul', 2), ('matmul', 0)])
def test_a_box_that_is_no_number_reads_zeros_and_spoils_no_gradient(form, sampling_ratio):
    boxes = jnp.asarray([[jnp.nan, 1, 3, 3], [1, 1, jnp.inf, 3], [1, 1, 3, 3]])
    settings = {'output_size': 2, 'spatial_scale': 1.0, 'sampling_ratio': sampling_ratio}

    @jax.jit
    def value_and_gradient(x):
        y, vjp = jax.vjp(partial(ops.roi_align, boxes=boxes, **settings, form=form), x)
        return y, vjp(jnp.ones_like(y))[0]

    y, dx = value_and_gradient(RAMP)
    assert not y[0].any()
    assert y[2].all()
    assert np.isfinite(y).all() and np.isfinite(dx).all()


MAPS = [(16, 24), (8, 12)]
SCALES = (1 / 4, 1 / 8)


def _pyramid(dtype=jnp.float32):
    rng = np.random.default_rng(1)
    features = [jnp.asarray(rng.normal(size=(*size, 4)), dtype) for size in MAPS]
    corner, side = rng.uniform(-9, 90, (40, 2)), rng.uniform(1, 70, (40, 2))
    boxes = jnp.asarray(np.concatenate([corner, corner + side], -1), jnp.float32)
    levels = jnp.asarray(rng.integers(0, 2, 40), jnp.int32)
    return features, boxes, levels


@pytest.mark.parametrize('form', FORMS)
def test_every_box_reads_its_own_map(form):
    features, boxes, levels = _pyramid()
    run = partial(ops.pyramid_roi_align, output_size=2, spatial_scales=SCALES, form=form)
    found = jax.jit(run)(features, boxes, levels)
    for level, (x, scale) in enumerate(zip(features, SCALES, strict=True)):
        mine = np.asarray(levels) == level
        assert mine.sum() > 5
        expected = _loop(x, np.asarray(boxes)[mine], 2, scale, 2, False)
        np.testing.assert_allclose(found[mine], expected, atol=2e-5)


@pytest.mark.parametrize('sampling_ratio, forms', [(0, ['matmul']), (2, FORMS)])
def test_gradients_of_all_forms_are_the_transpose(sampling_ratio, forms):
    """`<g, A x> = <A^T g, x>` for each map, and the same `A^T g` from each form."""
    features, boxes, levels = _pyramid()
    g = jnp.asarray(np.random.default_rng(2).normal(size=(40, 3, 3, 4)).astype(np.float32))
    found = {}
    for form in forms:
        run = partial(
            ops.pyramid_roi_align,
            boxes=boxes,
            levels=levels,
            output_size=3,
            spatial_scales=SCALES,
            sampling_ratio=sampling_ratio,
            form=form,
        )

        @jax.jit
        def value_and_gradient(features, g, run=run):
            y, vjp = jax.vjp(run, features)
            return y, vjp(g)[0]

        y, found[form] = value_and_gradient(features, g)
        for level, (x, dx) in enumerate(zip(features, found[form], strict=True)):
            mine = np.asarray(levels) == level
            np.testing.assert_allclose(np.vdot(g[mine], y[mine]), np.vdot(dx, x), rtol=1e-3)
    first, *others = found.values()
    for other in others:
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), first, other)


def test_boxes_have_no_gradient():
    total = lambda boxes: roi_align(RAMP, boxes, output_size=2, spatial_scale=1.0).sum()
    assert not jax.grad(total)(jnp.asarray([[1.0, 1.0, 3.0, 3.0]])).any()


@pytest.mark.parametrize('form', ['gather', 'matmul'])
def test_images_of_a_batch_under_vmap(form):
    images = [_pyramid(), _pyramid()]
    features = [jnp.stack([x, -2 * x]) for x in images[0][0]]
    boxes, levels = jnp.stack([images[0][1], images[0][1][::-1]]), images[0][2]
    run = jax.jit(partial(ops.pyramid_roi_align, output_size=2, spatial_scales=SCALES, form=form))
    total = jax.value_and_grad(lambda x, b: jnp.sum(jnp.square(run(x, b, levels))))
    together, one = jax.jit(jax.vmap(total))(features, boxes), jax.jit(total)
    for i in range(2):
        alone = one([x[i] for x in features], boxes[i])
        of_image = jax.tree.map(lambda x, i=i: x[i], together)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), of_image, alone)


@pytest.mark.parametrize('form', FORMS)
def test_bfloat16_is_added_up_in_float32(form):
    features, boxes, levels = _pyramid(jnp.bfloat16)
    run = jax.jit(partial(ops.pyramid_roi_align, output_size=2, spatial_scales=SCALES, form=form))
    y, vjp = jax.vjp(lambda x: run(x, boxes, levels), features)
    assert y.dtype == jax.eval_shape(vjp, y)[0][0].dtype == jnp.bfloat16
    exact = run([x.astype(jnp.float32) for x in features], boxes, levels)
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.03)
