"""AlexNet without its classifier, twice: as CaffeNet and as torchvision has it.

Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", section 3.5.
`CaffeNet` is the network under FCN-AlexNet: two groups in conv2, conv4 and conv5, normalisation
across channels, but after the pooling, where the paper has it before. `AlexNet` is torchvision's:
neither groups nor such normalisation, and the widths of Krizhevsky, "One weird trick for
parallelizing convolutional neural networks". The first layer has stride 4, so that there is no c1.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.layers import Conv


class CaffeNet(nn.Module):
    """CaffeNet, named conv1 to conv5: c2 is conv1, c3 conv2, c4 conv5 and c5 pool5.

    Attributes:
      padding: pixels around the image, which has to have 39 a side with them; FCN-AlexNet: 100.
      dtype: compute type.
    """

    padding: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        conv = partial(Conv, dtype=self.dtype)
        pool = partial(ops.max_pool, window=3, stride=2, rounding='ceil')
        c2 = nn.relu(conv(96, 11, stride=4, padding=self.padding, name='conv1')(image))
        x = ops.local_response_norm(pool(c2))  # b h/8 w/8 96
        c3 = nn.relu(conv(256, 5, padding=2, groups=2, name='conv2')(x))
        x = ops.local_response_norm(pool(c3))  # b h/16 w/16 256
        x = nn.relu(conv(384, 3, padding=1, name='conv3')(x))
        x = nn.relu(conv(384, 3, padding=1, groups=2, name='conv4')(x))
        c4 = nn.relu(conv(256, 3, padding=1, groups=2, name='conv5')(x))
        return {'c2': c2, 'c3': c3, 'c4': c4, 'c5': pool(c4)}  # c5: b h/32 w/32 256


class AlexNet(nn.Module):
    """torchvision's AlexNet: c2, c3 and c4 are convolutions 1, 2 and 5, c5 the last pooling.

    Parameters are named after torchvision's `features`: `features.0.weight` is `0/kernel`.

    Attributes:
      padding: pixels around the image, which has to have 67 a side with them.
      dtype: compute type.
    """

    padding: int = 2
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        conv = partial(Conv, dtype=self.dtype)
        pool = partial(ops.max_pool, window=3, stride=2)
        c2 = nn.relu(conv(64, 11, stride=4, padding=self.padding, name='0')(image))
        c3 = nn.relu(conv(192, 5, padding=2, name='3')(pool(c2)))  # b h/8 w/8 192
        x = nn.relu(conv(384, 3, padding=1, name='6')(pool(c3)))  # b h/16 w/16 384
        x = nn.relu(conv(256, 3, padding=1, name='8')(x))
        c4 = nn.relu(conv(256, 3, padding=1, name='10')(x))
        return {'c2': c2, 'c3': c3, 'c4': c4, 'c5': pool(c4)}  # c5: b h/32 w/32 256
