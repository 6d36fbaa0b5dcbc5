"""The focal loss: cross-entropy that forgets pixels which are right already."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from segjax.losses.criterion import Criterion, Terms
from segjax.losses.cross_entropy import pixel_losses
from segjax.types import UserError


def focal_loss(
    logits: Float[Array, 'b h w k'],
    label: Int[Array, 'b h w'],
    *,
    gamma: float,
    class_weights: tuple[float, ...] = (),
    weight: Float[Array, 'b h w'] | None = None,
) -> tuple[Float[Array, ' b'], Float[Array, ' b']]:
    """For each image: `sum_x w(x) v(l(x)) (1 - p(x))^gamma (-log p(x))` and `sum_x v(l(x))`.

    p(x) is the softmax of the pixel's own class. Lin et al., "Focal Loss for Dense Object
    Detection", equation 5, with several classes in place of two and v as its alpha; the sums are
    those of `cross_entropy`, which gamma = 0 gives.
    """
    nll, pixel = pixel_losses(logits, label, class_weights)
    # 1 - p without cancellation; kept off 0, where a power below 1 has no finite slope
    wrong = jnp.maximum(-jnp.expm1(-nll), jnp.finfo(nll.dtype).tiny ** 0.5)
    energy = nll * pixel if gamma == 0 else jnp.power(wrong, gamma) * nll * pixel
    energy = energy if weight is None else energy * weight
    return jnp.sum(energy, axis=(1, 2)), jnp.sum(pixel, axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class Focal(Criterion):
    """The focal loss as a field of a task, a mean over the labelled pixels of the batch.

    Attributes:
      gamma: how fast the weight of a pixel falls with its probability; 2 in the paper, 0 for
        cross-entropy.
      class_weights: one number a class; empty for none.
    """

    gamma: float = 2.0
    class_weights: tuple[float, ...] = ()

    def __post_init__(self):
        if self.gamma < 0:
            raise UserError(f'--gamma={self.gamma}: must not be negative.')

    def terms(
        self, logits: Array, label: Array, weight: Array | None, step: Array | int = 0
    ) -> Terms:
        options = {'gamma': self.gamma, 'class_weights': self.class_weights}
        return {'focal': focal_loss(logits, label, weight=weight, **options)}
