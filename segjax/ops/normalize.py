"""Raw pixels to the numbers that a network is fed, on the device."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def normalize(
    image: Num[Array, '*b h w c'], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, '*b h w c']:
    """`(image - mean) / std` in float32.

    Args:
      image: raw values: uint8, uint16 or float.
      mean, std: one number for all channels or one for each, in the image's own units.

    Raises:
      ValueError: `mean` has neither one entry nor one for each channel.
    """
    channels = image.shape[-1]
    if len(mean) not in (1, channels) or len(mean) != len(std):
        raise ValueError(f'mean {mean} and std {std} do not fit an image of {channels} channels')
    shape = (1,) * (image.ndim - 1) + (len(mean),)
    shift = jnp.asarray(mean, jnp.float32).reshape(shape)
    scale = jnp.asarray([1 / s for s in std], jnp.float32).reshape(shape)
    return (image.astype(jnp.float32) - shift) * scale
