"""SegNet and SegNet-Basic.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for
Image Segmentation", section 3 and figure 2: the 13 convolutions of VGG16, each followed by batch
normalisation and ReLU, whose max poolings remember where each maximum lay; a decoder that is the
encoder turned round, which puts every pixel back at its maximum's place and convolves the sparse
map. No features of the encoder reach the decoder, only those places.

SegNet-Basic (section 3.1) has four convolutions of 7x7 with 64 channels on each side, no ReLU in
the decoder, a 1x1 convolution for the scores, and a local response normalisation of the image.
Released, it is given pixels in 0..255, on which that evens out contrast; on an image of deviation 1
it does next to nothing.

As released, convolutions have biases, though batch normalisation makes them idle. Released batch
normalisations begin with shifts of .001, here of 0. Every image size fits: poolings round up, and
an unpooling gives the size that was pooled.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.layers import BatchNorm, Conv
from segjax.types import SegmentationOutput, UserError

CONVS = {'segnet': (2, 2, 3, 3, 3), 'basic': (1, 1, 1, 1)}  # of each stage, on each side
WIDTHS = {'segnet': (64, 128, 256, 512, 512), 'basic': (64, 64, 64, 64)}


class Stage(nn.Module):
    """Convolutions, each with batch normalisation and, unless told otherwise, ReLU.

    Attributes:
      names: of the layers, 1_2 for conv1_2 and bn1_2.
      widths: channels of each.
      kernel: side of the kernels.
      relu: whether a ReLU follows each.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    kernel: int
    relu: bool
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b h w m']:
        for name, width in zip(self.names, self.widths, strict=True):
            x = Conv(width, self.kernel, dtype=self.dtype, name=f'conv{name}')(x)
            x = BatchNorm(dtype=self.dtype, name=f'bn{name}')(x, train=train)
            x = nn.relu(x) if self.relu else x
        return x


class SegNet(nn.Module):
    """SegNet.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      variant: 'segnet', or 'basic' for SegNet-Basic; see the head of this file.
      widths: channels of the encoder's stages, from fine to coarse; empty for the published ones.
      remat: recompute each stage in the backward pass: less memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.

    Raises:
      UserError: another number of widths than the variant has stages.
    """

    num_classes: int
    variant: Literal['segnet', 'basic'] = 'segnet'
    widths: tuple[int, ...] = ()
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`: every size fits."""
        return size

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        basic, convs = self.variant == 'basic', CONVS[self.variant]
        widths = self._widths()
        x = ops.local_response_norm(image) if basic else image
        places = []
        for k, (count, width) in enumerate(zip(convs, widths, strict=True), start=1):
            names = tuple(f'{k}_{i + 1}' for i in range(count))
            x = self._stage(f'stage{k}', names, (width,) * count)(x, train)
            size = x.shape[1:3]
            x, indices = ops.max_pool_with_indices(x, rounding='ceil')  # b h/2^k w/2^k width
            places.append((indices, size))
        for k in reversed(range(1, len(convs) + 1)):
            indices, size = places[k - 1]
            x = ops.max_unpool(x, indices, size=size)
            out = (widths[k - 1],) * (convs[k - 1] - 1) + (widths[max(k - 2, 0)],)
            if k == 1 and not basic:
                out = out[:-1]  # in its place, the scores
            names = tuple(f'{k}_{convs[k - 1] - i}_D' for i in range(len(out)))
            x = self._stage(f'decoder{k}', names, out, relu=not basic)(x, train)
        x = Conv(self.num_classes, 1 if basic else 3, name='score')(x)
        return SegmentationOutput(x)  # b h w k, float32

    def _widths(self) -> tuple[int, ...]:
        published = WIDTHS[self.variant]
        if self.widths and len(self.widths) != len(published):
            raise UserError(
                f'{len(self.widths)} widths; variant={self.variant} has {len(published)} stages'
            )
        return self.widths or published

    def _stage(
        self, name: str, names: tuple[str, ...], widths: tuple[int, ...], *, relu: bool = True
    ) -> nn.Module:
        stage = nn.remat(Stage, static_argnums=(2,)) if self.remat else Stage
        kernel = 7 if self.variant == 'basic' else 3
        return stage(names, widths, kernel, relu, self.dtype, name=name)
