"""Pixelwise cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from segjax.losses.criterion import Criterion, Terms
from segjax.losses.hard_examples import hardest
from segjax.types import UserError


def pixel_losses(
    logits: Float[Array, 'b h w k'], label: Int[Array, 'b h w'], class_weights: tuple[float, ...]
) -> tuple[Float[Array, 'b h w'], Float[Array, 'b h w']]:
    """`-log softmax(logits)[l]` and `v[l]` of each pixel; both are 0 where l is no class.

    Raises:
      UserError: another number of weights v than of classes; none is 1 for all.
    """
    if class_weights and len(class_weights) != logits.shape[-1]:
        raise UserError(f'{len(class_weights)} class weights for {logits.shape[-1]} classes')
    classes = jnp.arange(logits.shape[-1], dtype=label.dtype).reshape(1, 1, 1, -1)
    # A pixel without a class hits nothing: its loss and gradient are 0.
    hit = label[..., None] == classes
    nll = -jnp.sum(jnp.where(hit, jax.nn.log_softmax(logits), jnp.zeros((), logits.dtype)), axis=-1)
    if not class_weights:
        return nll, jnp.any(hit, axis=-1).astype(logits.dtype)
    v = jnp.asarray(class_weights, logits.dtype).reshape(1, 1, 1, -1)
    return nll, jnp.sum(jnp.where(hit, v, jnp.zeros_like(v)), axis=-1)


def cross_entropy(
    logits: Float[Array, 'b h w k'],
    label: Int[Array, 'b h w'],
    *,
    class_weights: tuple[float, ...] = (),
    weight: Float[Array, 'b h w'] | None = None,
    share: Float[Array, ''] | None = None,
) -> tuple[Float[Array, ' b'], Float[Array, ' b']]:
    """For each image: `sum_x w(x) v(l(x)) (-log softmax(logits(x))[l(x)])` and `sum_x v(l(x))`.

    The sums run over the pixels x whose label l(x) is one of the k classes; every other id is left
    out of both. The quotient of the two sums over a batch is the mean that Torch's
    `cross_entropy(weight=v, ignore_index=255)` gives.

    Args:
      class_weights: v, one number a class; empty for 1.
      weight: w, a weight map; it scales the loss and does not enter the count.
      share: both sums run over this share of an image's pixels only, the hardest; None for all.
    """
    nll, pixel = pixel_losses(logits, label, class_weights)
    energy = nll * pixel if weight is None else nll * pixel * weight
    if share is not None:
        chosen = hardest(energy, pixel > 0, share)
        energy, pixel = (jnp.where(chosen, x, jnp.zeros_like(x)) for x in (energy, pixel))
    return jnp.sum(energy, axis=(1, 2)), jnp.sum(pixel, axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Criterion):
    """Cross-entropy as a field of a task.

    Attributes:
      class_weights: one number a class, e.g. the median-frequency weights that check_data prints;
        empty for none.
      reduction: 'mean' over the valid pixels of the batch, or 'sum' over the pixels of an image, as
        Caffe without normalisation (FCN's released recipes: learning rates of 1e-10).
      top_k: share of an image's labelled pixels that is learned from, those with the greatest loss
        (online hard example mining); 1 for all.
      ramp_steps: steps in which the share falls from 1 to `top_k`; DeepLab's
        `hard_example_mining_step`.
    """

    class_weights: tuple[float, ...] = ()
    reduction: Literal['mean', 'sum'] = 'mean'
    top_k: float = 1.0
    ramp_steps: int = 0

    def __post_init__(self):
        if not 0 < self.top_k <= 1:
            raise UserError(f'--top_k={self.top_k}: a share of the pixels, above 0 and up to 1.')

    def __call__(
        self, logits: Array, label: Array, weight: Array | None, step: Array | int = 0
    ) -> tuple[Array, Array]:
        """The loss of each image and what a batch divides the sum by, after `step` steps."""
        share = self._share(step) if self.top_k < 1 else None
        total, count = cross_entropy(
            logits, label, class_weights=self.class_weights, weight=weight, share=share
        )
        return total, count if self.reduction == 'mean' else jnp.ones_like(count)

    def terms(
        self, logits: Array, label: Array, weight: Array | None, step: Array | int = 0
    ) -> Terms:
        return {'cross_entropy': self(logits, label, weight, step)}

    def of_all_pixels(self) -> Criterion:
        return dataclasses.replace(self, top_k=1.0)

    def _share(self, step: Array | int) -> Array:
        """Linear in `step`, from 1 to `top_k`."""
        done = jnp.minimum(step / self.ramp_steps, 1.0) if self.ramp_steps else 1.0
        return jnp.asarray(1 - done * (1 - self.top_k), jnp.float32)
