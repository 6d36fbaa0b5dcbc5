"""Deconvolution proper: the inverse problem, which a transposed convolution does not solve."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from segjax.ops.conv import Padding, conv
from segjax.ops.conv_matrix import conv_matrix

SMALL = 256  # unknowns up to which the matrix is built and taken apart: a 16x16 image
# Smallest singular value, as a share of the largest, of a kernel that counts as invertible.
WORST_OF_SMALL = 1e-5  # float32 outputs are then enough for two digits of the input
WORST_OF_LARGE = 1e-3  # the normal equations square it, and float32 holds seven digits


def deconvolve(
    y: Float[Array, 'b oh ow m'], kernel: Float[Array, 'kh kw c m'], *, padding: Padding = 'same'
) -> Float[Array, 'b h w c']:
    """The input that a convolution has made `y` of: `conv(x, kernel, padding=padding) = y`.

    `x = argmin |M x - y|^2`, M being `conv_matrix`: up to 256 unknowns by M's pseudo-inverse,
    beyond by conjugate gradients on the normal equations `M' M x = M' y`, where M is a convolution,
    M' its transpose, and no matrix is built (Hestenes and Stiefel, "Methods of conjugate gradients
    for solving linear systems", section 10).

    What a kernel removes, nobody restores: it counts as invertible if M's smallest singular value
    is at least 1e-5 of its largest. For an image too large for that, at least 1e-3, and two things
    stand for M: the matrix of its first corner, and the kernel's discrete Fourier transform, to
    whose singular values over all frequencies those of M tend as images grow. Noise in `y` is
    amplified by up to the inverse of that share.

    It looks at values to decide, so it is not for `jit`.

    Args:
      padding: as `y` was made, with stride 1.

    Raises:
      ValueError: the kernel is not invertible; or `y` has fewer numbers than there are unknowns,
        as with 'valid'.
    """
    kh, kw, c, m = kernel.shape
    h, w = _input_size(y.shape[1:3], (kh, kw), padding)
    if y[0].size < h * w * c:
        raise ValueError(
            f'{y.shape[1]}x{y.shape[2]}x{m} numbers do not determine {h}x{w}x{c} unknowns: '
            f"only a convolution with padding='same' or more can be undone"
        )
    if h * w * c <= SMALL:
        u, s, vt = _decompose(kernel, (h, w), padding, WORST_OF_SMALL)
        x = (np.asarray(y, np.float64).reshape(len(y), -1) @ u / s) @ vt
        return jnp.asarray(x.reshape(len(y), h, w, c), y.dtype)
    side = max(int((SMALL / c) ** 0.5), 1)
    _decompose(kernel, (min(h, side), min(w, side)), padding, WORST_OF_LARGE)
    _check_frequencies(kernel, (h + kh - 1, w + kw - 1))
    return _by_conjugate_gradients(y, kernel, (h, w), padding)


def _input_size(
    output: tuple[int, ...], kernel: tuple[int, int], padding: Padding
) -> tuple[int, int]:
    if padding == 'same':
        return output[0], output[1]
    p = 0 if padding == 'valid' else padding
    return output[0] + kernel[0] - 1 - 2 * p, output[1] + kernel[1] - 1 - 2 * p


def _decompose(
    kernel: Array, size: tuple[int, int], padding: Padding, worst: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`M = u diag(s) v'` in float64, the smallest s large enough."""
    matrix = np.asarray(conv_matrix(kernel, size, padding=padding), np.float64)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    if s[-1] <= worst * s[0]:
        raise ValueError(
            f'the kernel is not invertible: on {size[0]}x{size[1]} pixels its singular values '
            f'range from {s[-1]:.1e} to {s[0]:.1e}, and below {worst:.0e} of the largest an input '
            'leaves no trace in the output'
        )
    return u, s, vt


def _check_frequencies(kernel: Array, size: tuple[int, int]) -> None:
    """Whether every frequency of an image of `size` passes the kernel."""
    spectrum = np.fft.fft2(np.asarray(kernel, np.float64), size, axes=(0, 1))
    s = np.linalg.svd(spectrum, compute_uv=False)
    weakest = np.unravel_index(np.argmin(s[..., -1]), size)
    if s[weakest][-1] <= WORST_OF_LARGE * s.max():
        rows, columns = (np.fft.fftfreq(n)[i] for n, i in zip(size, weakest, strict=True))
        raise ValueError(
            f'the kernel is not invertible: of the frequency ({rows:.3f}, {columns:.3f}) cycles '
            f'a pixel it passes {s[weakest][-1]:.1e}, and {s.max():.1e} of others; what is below '
            f'{WORST_OF_LARGE:.0e} of the largest is lost'
        )


def _by_conjugate_gradients(
    y: Array, kernel: Array, size: tuple[int, int], padding: Padding
) -> Array:
    """The normal equations, and once more for what is left of y: that squares the error."""
    x = jnp.zeros((len(y), *size, kernel.shape[2]), y.dtype)
    forward = lambda x: conv(x, kernel, padding=padding)
    transpose = lambda y: jax.linear_transpose(forward, x)(y)[0]
    solve = jax.jit(
        lambda rest: cg(lambda x: transpose(forward(x)), transpose(rest), tol=1e-6, maxiter=2000)[0]
    )
    for _ in range(2):
        x += solve(y - forward(x))
    return x
