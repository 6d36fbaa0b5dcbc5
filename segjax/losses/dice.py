"""The Dice loss, and its sum with cross-entropy.

Milletari et al., "V-Net", section 3, with sums instead of squares in the denominator, and a
smoothing constant: `dice = (2 sum_x p y + s) / (sum_x p + sum_x y + s)`. U-Net++ (Zhou et al.,
DLMIA 2018, equation 2) trains with cross-entropy and Dice; its official code takes
`0.5 * bce - dice` with one Dice over all pixels of the batch and s = 1, the popular code of
4uiiurz1 `0.5 * bce + 1 - dice` with the mean of the images' Dice and s = 1e-5. As printed, the
equation has the logarithm of the foreground alone, from which the background would learn nothing;
that reading is not offered.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from segjax.losses.criterion import Criterion, Terms
from segjax.losses.cross_entropy import CrossEntropy
from segjax.types import UserError


def dice_loss(
    logits: Float[Array, 'b h w k'],
    label: Int[Array, 'b h w'],
    *,
    smooth: float,
    over: Literal['image', 'batch'],
    background: bool,
    class_weights: tuple[float, ...] = (),
) -> tuple[Float[Array, ' b'], Float[Array, ' b']]:
    """`1 - sum_c v_c dice_c / sum_c v_c` of each image, and 1; both 0 where no pixel has a class.

    With `over='batch'` the sums of dice_c run over all images of the batch, and each of them gets
    the same loss.

    Args:
      smooth: s; an empty mask that is predicted empty has a Dice of 1 (of 0 / 0 with s = 0).
      background: whether class 0 is one of the c.
      class_weights: v, one number a class, the background's among them; empty for 1.

    Raises:
      UserError: another number of weights than of classes.
    """
    if class_weights and len(class_weights) != logits.shape[-1]:
        raise UserError(f'{len(class_weights)} weights of Dice for {logits.shape[-1]} classes')
    classes = jnp.arange(logits.shape[-1], dtype=label.dtype).reshape(1, 1, 1, -1)
    hit = (label[..., None] == classes).astype(logits.dtype)
    valid = jnp.any(hit > 0, axis=-1, keepdims=True).astype(logits.dtype)
    first = 0 if background else 1
    y, p = hit[..., first:], (jax.nn.softmax(logits) * valid)[..., first:]
    axes = (1, 2) if over == 'image' else (0, 1, 2)
    both, all_p, all_y = (jnp.sum(x, axis=axes, keepdims=True) for x in (p * y, p, y))
    dice = (2 * both + smooth) / (all_p + all_y + smooth)
    v = np.asarray(class_weights or (1.0,) * logits.shape[-1], np.float32)[first:]
    loss = 1 - dice @ jnp.asarray(v / v.sum())
    labelled = jnp.any(valid > 0, axis=(1, 2, 3)).astype(logits.dtype)
    return labelled * jnp.broadcast_to(loss.reshape(-1), labelled.shape), labelled


@dataclasses.dataclass(frozen=True)
class CrossEntropyDice(Criterion):
    """`cross_entropy * CE + dice * (1 - Dice)`; either may be left out by a factor of 0.

    Attributes:
      cross_entropy: factor of the cross-entropy, a mean over pixels; for one sigmoid channel it is
        the binary cross-entropy. A weight map acts on this term.
      dice: factor of the Dice loss.
      over: Dice of each image, then their mean; or one Dice of all pixels of the batch.
      smooth: s of the Dice; 1 in U-Net++'s code.
      background: whether the background has a Dice, too.
      class_weights: of the cross-entropy, one number a class; empty for none.
      dice_weights: of the classes in the Dice, likewise.
    """

    cross_entropy: float = 0.5
    dice: float = 1.0
    over: Literal['image', 'batch'] = 'image'
    smooth: float = 1.0
    background: bool = False
    class_weights: tuple[float, ...] = ()
    dice_weights: tuple[float, ...] = ()

    def terms(
        self, logits: Array, label: Array, weight: Array | None, step: Array | int = 0
    ) -> Terms:
        found: Terms = {}
        if self.cross_entropy:
            energy, count = CrossEntropy(class_weights=self.class_weights)(logits, label, weight)
            found['cross_entropy'] = self.cross_entropy * energy, count
        if self.dice:
            loss, images = dice_loss(
                logits,
                label,
                smooth=self.smooth,
                over=self.over,
                background=self.background,
                class_weights=self.dice_weights,
            )
            found['dice'] = self.dice * loss, images
        return found

    def of_all_pixels(self) -> Criterion:
        return dataclasses.replace(self, over='image')

    @property
    def is_sum_over_images(self) -> bool:
        return self.over == 'image' or not self.dice
