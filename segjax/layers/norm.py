"""The one batch normalisation of segjax, and its frozen forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from segjax.layers.axis import bound_axis


class BatchNorm(nn.Module):
    """Batch normalisation over batch, height and width, with statistics of the whole global batch.

    `y = scale (x - mean) / sqrt(var + epsilon) + bias`; in training mean and var are the batch's
    and running averages are kept in `batch_stats`, otherwise the running averages are used. Ioffe
    and Szegedy, "Batch Normalization", algorithms 1 and 2. Statistics are float32, the variance is
    the biased one and is taken about the mean: `E[x^2] - E[x]^2` cancels where the mean is large.

    Attributes:
      momentum: decay of the running averages (Torch's momentum 0.1 is 0.9 here).
      epsilon: added to the variance.
      dtype: of the output.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c']:
        features = (x.shape[-1],)
        scale = self.param('scale', nn.initializers.ones, features, jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, features, jnp.float32)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, features, jnp.float32)
        running_var = self.variable('batch_stats', 'var', jnp.ones, features, jnp.float32)
        x = x.astype(jnp.float32)
        if train:
            mean = self._mean(x)
            var = self._mean(jnp.square(x - mean.reshape(1, 1, 1, -1)))
            if not self.is_initializing():
                running_mean.value += (1 - self.momentum) * (mean - running_mean.value)
                running_var.value += (1 - self.momentum) * (var - running_var.value)
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        y = x * factor.reshape(1, 1, 1, -1) + shift.reshape(1, 1, 1, -1)
        return y.astype(self.dtype)

    def _mean(self, x: Array) -> Array:
        mean = jnp.mean(x, axis=(0, 1, 2))
        axis = bound_axis()
        return mean if axis is None else lax.pmean(mean, axis)


class FrozenBatchNorm(nn.Module):
    """`y = scale (x - mean) / sqrt(var + epsilon) + bias` with four constant vectors.

    They lie in a collection of their own, `frozen`, and not among the parameters: they come with
    pretrained weights and are never trained, as detection models have it, whose batches are small.

    Attributes:
      epsilon: added to the variance; 0 in torchvision's published Mask R-CNN, version 1.
      dtype: of the output.
    """

    epsilon: float = 1e-5
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c']:
        del train
        ones, zeros = (lambda f=f: f((x.shape[-1],), jnp.float32) for f in (jnp.ones, jnp.zeros))
        scale = self.variable('frozen', 'scale', ones).value
        bias = self.variable('frozen', 'bias', zeros).value
        mean = self.variable('frozen', 'mean', zeros).value
        var = self.variable('frozen', 'var', ones).value
        factor = scale * lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        y = x.astype(jnp.float32) * factor.reshape(1, 1, 1, -1) + shift.reshape(1, 1, 1, -1)
        return y.astype(self.dtype)


def by_running_averages(loss: Callable, *, where: Callable[[tuple[str, ...]], bool]) -> Callable:
    """`loss`, in which each `BatchNorm` normalises by its running averages, and keeps them.

    Scales and biases are still trained. Chen et al., "Rethinking Atrous Convolution for Semantic
    Image Segmentation", section 4.1: fine-tuned so at output stride 8, where batches are small.

    Args:
      where: whether it holds for the layer at this path of the network.
    """

    def keep(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if isinstance(layer, BatchNorm) and context.method_name == '__call__' and where(layer.path):
            kwargs = {**kwargs, 'train': False}
        return next_fun(*args, **kwargs)

    @wraps(loss)
    def kept(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(keep):
            return loss(*args, **kwargs)

    return kept
