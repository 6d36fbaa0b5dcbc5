"""Depthwise convolution by shifts against its definition: value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from segjax import ops
from segjax.ops.conv import lax_conv
from segjax.ops.depthwise import depthwise_by_shifts


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def _value_and_gradients(function, x, kernel):
    @jax.jit
    def run(x, kernel):
        y, vjp = jax.vjp(function, x, kernel)
        return y, *vjp(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return run(x, kernel)


@pytest.mark.parametrize(
    'kernel, stride, pads, dilation',
    [
        ((3, 3), 1, ((1, 1), (1, 1)), 1),
        ((3, 3), 2, ((0, 1), (1, 0)), 1),
        ((3, 3), 2, ((0, 0), (0, 0)), 1),  # pixels behind that no window sees
        ((3, 3), 1, ((4, 4), (4, 4)), 4),
        ((3, 3), 2, ((2, 2), (2, 2)), 2),
        ((5, 2), 3, ((2, 2), (0, 1)), 1),
        ((1, 1), 1, ((1, 0), (0, 2)), 1),  # more padding than the kernel reaches
    ],
)
def test_shifts_give_the_definition(kernel, stride, pads, dilation):
    x, k = _normal(2, 9, 8, 3), _normal(*kernel, 1, 3, seed=1)
    shifts = lambda x, k: depthwise_by_shifts(x, k, stride, pads, dilation)
    plain = lambda x, k: lax_conv(x, k, stride, pads, dilation, 3)
    found, expected = (_value_and_gradients(f, x, k) for f in (shifts, plain))
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_sums_of_bfloat16_are_rounded_once():
    x, k = _normal(1, 6, 5, 4).astype(jnp.bfloat16), _normal(3, 3, 1, 4).astype(jnp.bfloat16)
    exact = lambda x, k: ops.depthwise_conv(x.astype(jnp.float32), k.astype(jnp.float32))
    found = _value_and_gradients(ops.depthwise_conv, x, k)
    expected = _value_and_gradients(lambda x, k: exact(x, k).astype(jnp.bfloat16), x, k)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.float32(a), np.float32(b))


def test_no_grouped_convolution_is_left_on_a_cpu():
    x, k = _normal(1, 8, 8, 4), _normal(3, 3, 1, 4)
    run = jax.jit(lambda x, k: _value_and_gradients(ops.depthwise_conv, x, k))
    assert ' convolution(' not in run.lower(x, k).compile().as_text()


def test_exported_for_any_size():
    h, w = export.symbolic_shape('h, w')
    k, image = _normal(3, 3, 1, 2), jax.ShapeDtypeStruct((1, h, w, 2), jnp.float32)
    exported = export.export(jax.jit(lambda x: ops.depthwise_conv(x, k, stride=2, padding=1)))(
        image
    )
    x = _normal(1, 6, 7, 2)
    found, expected = exported.call(x), ops.depthwise_conv(x, k, stride=2, padding=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
