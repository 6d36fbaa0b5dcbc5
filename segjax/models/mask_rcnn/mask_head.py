"""From the features of a region to the mask of its object: He et al., "Mask R-CNN", section 3.

Mask and class are decoupled: there is a mask for each class, and the class head says which of them
is looked at. Only that one is computed.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from segjax.backbones.resnet import HE_NORMAL_OUT
from segjax.layers import ConvTranspose
from segjax.models.mask_rcnn.anchors import Flavor
from segjax.models.mask_rcnn.layers import ConvTower, FullyConnected

MaskLoss = Literal['sigmoid', 'softmax']


def mask_channels(num_classes: int, loss: MaskLoss, agnostic: bool, flavor: Flavor) -> int:
    """How many masks a region has.

    Sigmoid: one for each class, in torchvision for the background too; one in all if they are
    class-agnostic. Softmax: the background is one of the classes that compete for a pixel.
    """
    if agnostic:
        return 1 if loss == 'sigmoid' else 2
    without_background = loss == 'sigmoid' and flavor == 'detectron2'
    return num_classes - 1 if without_background else num_classes


class OneMask(nn.Module):
    """The last 1x1 convolution, of all `channels` or for each region of the one that is asked for.

    Attributes:
      channels: masks of a region.
      flavor: for the first values.
    """

    channels: int
    flavor: Flavor = 'torchvision'
    dtype: str = 'float32'

    @nn.compact
    def __call__(
        self, x: Float[Array, 'n h w c'], channel: Int[Array, 'n'] | None = None
    ) -> Float[Array, 'n h w m']:
        init = HE_NORMAL_OUT if self.flavor == 'torchvision' else nn.initializers.normal(0.001)
        kernel = self.param('kernel', init, (1, 1, x.shape[-1], self.channels), jnp.float32)[0, 0]
        bias = self.param('bias', nn.initializers.zeros, (self.channels,), jnp.float32)
        x = x.astype(self.dtype)
        if channel is None:
            return jnp.einsum('nhwc,cm->nhwm', x, kernel.astype(self.dtype)) + bias.astype(
                self.dtype
            ).reshape(1, 1, 1, -1)
        # By a product with 0 and 1, whose gradient is added up in a fixed order.
        chosen = jax.nn.one_hot(channel, self.channels, dtype=jnp.float32)
        kernels = (chosen @ kernel.T).astype(self.dtype)
        y = jnp.einsum('nhwc,nc->nhw', x, kernels)
        return (y + (chosen @ bias).astype(self.dtype)[:, None, None])[..., None]


class MaskHead(nn.Module):
    """Mask logits of regions: `n m m 1` of the class asked for, or `n m m k` where classes compete.

    Attributes:
      num_classes: with the background.
      kind: 'fcn': convolutions, then a transposed one that doubles the side; 'mlp': two fully
        connected layers and a third for all pixels at once (table 2e); 'res5': only the transposed
        convolution, behind the shared last stage of a C4 network (figure 4, left).
      loss, agnostic: see `mask_channels`.
      features: of the convolutions.
      fc_features: of the fully connected layers.
      norm: 'batch' normalises the convolutions.
    """

    num_classes: int
    kind: Literal['fcn', 'mlp', 'res5'] = 'fcn'
    loss: MaskLoss = 'sigmoid'
    agnostic: bool = False
    features: int = 256
    fc_features: int = 1024
    norm: Literal['none', 'batch'] = 'none'
    flavor: Flavor = 'torchvision'
    dtype: str = 'float32'

    @nn.compact
    def __call__(
        self, x: Float[Array, 'n p p c'], classes: Int[Array, 'n'], *, train: bool
    ) -> Float[Array, 'n m m k']:
        channels = mask_channels(self.num_classes, self.loss, self.agnostic, self.flavor)
        # Where each class has a mask, the last channels are those of the classes 1 to k - 1.
        wanted = None
        if self.loss == 'sigmoid':
            first = channels - self.num_classes
            wanted = jnp.zeros_like(classes) if self.agnostic else jnp.maximum(classes + first, 0)
        if self.kind == 'mlp':
            return self._mlp(x, channels, wanted)
        if self.kind == 'fcn':
            tower = ConvTower(self.features, 4, self.norm, dtype=self.dtype, name='tower')
            x = tower(x, train=train)
        up = ConvTranspose(
            self.features, 2, kernel_init=HE_NORMAL_OUT, dtype=self.dtype, name='conv5_mask'
        )
        x = nn.relu(up(x))
        predictor = OneMask(channels, self.flavor, self.dtype, name='mask_fcn_logits')
        return predictor(x, wanted).astype(jnp.float32)

    def _mlp(self, x: Array, channels: int, wanted: Array | None) -> Array:
        side = 2 * x.shape[1]
        for name in ('mask_fc1', 'mask_fc2'):
            x = nn.relu(FullyConnected(self.fc_features, dtype=self.dtype, name=name)(x))
        x = FullyConnected(side * side * channels, dtype=self.dtype, name='mask_fc_logits')(x)
        x = x.reshape(-1, side, side, channels).astype(jnp.float32)
        if wanted is None:
            return x
        return jnp.sum(x * jax.nn.one_hot(wanted, channels)[:, None, None], axis=-1, keepdims=True)


def mask_probabilities(
    logits: Float[Array, 'n m m k'], classes: Int[Array, 'n'], loss: MaskLoss, agnostic: bool
) -> Float[Array, 'n m m']:
    """Of the pixels of regions to be of the object, whose class is `classes`."""
    if loss == 'sigmoid':
        return jax.nn.sigmoid(logits[..., 0])
    wanted = jnp.ones_like(classes) if agnostic else classes
    of_class = jax.nn.one_hot(wanted, logits.shape[-1])[:, None, None]
    return jnp.sum(jax.nn.softmax(logits) * of_class, axis=-1)
