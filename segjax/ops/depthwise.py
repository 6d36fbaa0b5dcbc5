"""Depthwise convolution as sums of shifted images, for XLA's CPU backend.

That is many times slower with a group for each channel, and its gradients too (README.md, Speed).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], ...]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise_by_shifts(
    x: Float[Array, 'b h w c'],
    kernel: Float[Array, 'kh kw 1 c'],
    stride: int,
    pads: Pads,
    dilation: int,
) -> Float[Array, 'b oh ow c']:
    """`y = sum_{a, b} k[a, b] x[a*dilation :: stride, b*dilation :: stride]` of the padded image.

    Sums are float32, whatever the type of `x`.

    Args:
      stride, dilation: as `ops.conv`.
      pads: zeros in front and behind, of rows and of columns.
    """
    padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    size = _output_size(padded, kernel, stride, dilation)
    return _sum_of_shifts(padded, kernel, stride, dilation, size).astype(x.dtype)


def _output_size(padded: Array, kernel: Array, stride: int, dilation: int) -> tuple[int, ...]:
    return tuple(
        (n - (k - 1) * dilation - 1) // stride + 1
        for n, k in zip(padded.shape[1:3], kernel.shape[:2], strict=True)
    )


def _sum_of_shifts(
    padded: Array, kernel: Array, stride: int, dilation: int, size: tuple[int, ...]
) -> Array:
    (b, _, _, c), (h, w) = padded.shape, size
    y = jnp.zeros((b, h, w, c), jnp.float32)
    for i, j in np.ndindex(kernel.shape[:2]):
        top, left = i * dilation, j * dilation
        end = (b, top + (h - 1) * stride + 1, left + (w - 1) * stride + 1, c)
        shifted = lax.slice(padded, (0, top, left, 0), end, (1, stride, stride, 1))
        y += shifted.astype(jnp.float32) * kernel[i, j].astype(jnp.float32)[None, None]
    return y


def _forward(
    x: Array, kernel: Array, stride: int, pads: Pads, dilation: int
) -> tuple[Array, tuple[Array, Array]]:
    return depthwise_by_shifts(x, kernel, stride, pads, dilation), (x, kernel)  # type: ignore[return-value]


def _backward(
    stride: int, pads: Pads, dilation: int, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _image_gradient(g, kernel, stride, pads, dilation, x.shape[1:3])
    dk = _kernel_gradient(x, g, kernel.shape[:2], stride, pads, dilation)
    return dx.astype(x.dtype), dk.astype(kernel.dtype)


def _image_gradient(
    g: Array, kernel: Array, stride: int, pads: Pads, dilation: int, size: tuple[int, ...]
) -> Array:
    """The same sum with the kernel turned round, over g with `stride - 1` zeros between pixels."""
    spread = [(0, 0, 0), (0, 0, 0)]
    for n, on, k, (front, _) in zip(size, g.shape[1:3], kernel.shape[:2], pads, strict=True):
        reach = (on - 1) * stride + 1
        spread.insert(-1, ((k - 1) * dilation - front, n + front - reach, stride - 1))
    spread_out = lax.optimization_barrier(lax.pad(g, jnp.zeros((), g.dtype), spread))
    return _sum_of_shifts(spread_out, kernel[::-1, ::-1], 1, dilation, size)


def _kernel_gradient(
    x: Array, g: Array, kernel: tuple[int, ...], stride: int, pads: Pads, dilation: int
) -> Array:
    """Row by row of g: the sums `kh kw b ow c` stay in the cache while the rows pass."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    b, oh, ow, c = g.shape

    def add_row(row: Array, sums: list[Array]) -> list[Array]:
        slope, products = lax.dynamic_slice_in_dim(g, row, 1, axis=1), []
        for i in range(kernel[0]):
            line = lax.dynamic_slice_in_dim(padded, row * stride + i * dilation, 1, axis=1)
            for left in range(0, kernel[1] * dilation, dilation):
                taps = lax.slice_in_dim(line, left, left + (ow - 1) * stride + 1, stride, axis=2)
                products.append(taps.astype(jnp.float32) * slope.astype(jnp.float32))
        return [a + product for a, product in zip(sums, products, strict=True)]

    zeros = [jnp.zeros((b, 1, ow, c), jnp.float32)] * (kernel[0] * kernel[1])
    sums = lax.fori_loop(0, oh, add_row, zeros)
    return jnp.stack([jnp.sum(s, axis=(0, 1, 2)) for s in sums]).reshape(*kernel, 1, c)


depthwise_by_shifts.defvjp(_forward, _backward)
