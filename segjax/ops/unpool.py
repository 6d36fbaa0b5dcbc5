"""Up-sampling that only moves pixels, and the pooling whose maxima find back to their places."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int8, Shaped

from segjax.ops.pool import Rounding, max_pool


def nearest_unpool(x: Shaped[Array, 'b h w c'], *, factor: int = 2) -> Shaped[Array, 'b oh ow c']:
    """Repeat every pixel in a square: `y[i, j] = x[i // factor, j // factor]`."""
    b, h, w, c = x.shape
    squares = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, c))
    return squares.reshape(b, h * factor, w * factor, c)


def bed_of_nails(x: Shaped[Array, 'b h w c'], *, factor: int = 2) -> Shaped[Array, 'b oh ow c']:
    """Put every pixel in the first corner of a square of zeros.

    `y[i*factor, j*factor] = x[i, j]`; a convolution of it is a transposed convolution of `x`.
    """
    spread = (0, factor - 1, factor - 1)
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), spread, spread, (0, 0, 0)))


def max_pool_with_indices(
    x: Float[Array, 'b h w c'], *, window: int = 2, rounding: Rounding = 'floor'
) -> tuple[Float[Array, 'b oh ow c'], Int8[Array, 'b oh ow c']]:
    """`max_pool` with `stride = window`, and where in its window each maximum lies.

    The place is `a * window + b` for row a and column b of the window, of equal maxima the first.
    Two bits would do for a window of 2 (Badrinarayanan et al., "SegNet", section 3); a byte is
    an eighth of the flat indices of Torch and knows nothing of the image's size.

    Args:
      rounding: 'ceil' as SegNet, in whose encoder 45 x 60 pixels become 23 x 30.

    Raises:
      ValueError: the places in a window do not fit a byte: `window` is more than 11.
    """
    if window > 11:
        raise ValueError(
            f'a window of {window} has more places than a byte tells apart: at most 11'
        )
    y = max_pool(x, window=window, stride=window, rounding=rounding)
    _, oh, ow, _ = y.shape
    edges = ((0, n * window - side, 0) for n, side in zip((oh, ow), x.shape[1:3], strict=True))
    whole = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    place = jnp.zeros(y.shape, jnp.int8)
    for at in reversed(range(window**2)):  # the first maximum is written last
        here = whole[:, at // window :: window, at % window :: window] == y
        place = jnp.where(here, jnp.int8(at), place)
    return y, place


def max_unpool(
    y: Float[Array, 'b oh ow c'],
    indices: Int8[Array, 'b oh ow c'],
    *,
    size: tuple[int, int],
    window: int = 2,
) -> Float[Array, 'b h w c']:
    """Put every pixel where its window had the maximum, zeros elsewhere.

    `x[i*window + a, j*window + b] = y[i, j]` where `indices[i, j] = a * window + b`: "SegNet",
    section 3; Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
    section 2.1.

    Args:
      indices: of `max_pool_with_indices` with the same window.
      size: of the result: height and width of what was pooled, rounded up or down.

    Raises:
      ValueError: no pooling of an image of `size` gives that many pixels.
    """
    b, oh, ow, c = y.shape
    for n, pooled in zip(size, (oh, ow), strict=True):
        if pooled not in (n // window, -(-n // window)):
            raise ValueError(f'{oh}x{ow} windows of {window} do not come from {size[0]}x{size[1]}')
    place = jnp.arange(window**2, dtype=jnp.int8).reshape(1, 1, window, 1, window, 1)
    here = indices[:, :, None, :, None] == place
    x = jnp.where(here, y[:, :, None, :, None], jnp.zeros((), y.dtype))
    x = x.reshape(b, oh * window, ow * window, c)
    edges = ((0, n - side, 0) for n, side in zip(size, x.shape[1:3], strict=True))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
