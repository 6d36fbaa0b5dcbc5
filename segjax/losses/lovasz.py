"""The Lovász-softmax loss, a surrogate of the mean IoU, and its sum with cross-entropy.

Berman, Rannen Triki, Blaschko, "The Lovász-Softmax Loss: A Tractable Surrogate for the Optimization
of the Intersection-Over-Union Measure in Neural Networks", section 3.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from segjax.losses.criterion import Criterion, Terms
from segjax.losses.cross_entropy import CrossEntropy


def _jaccard_slopes(
    errors: Float[Array, 'k n'], hit: Bool[Array, 'k n'], valid: Bool[Array, '1 n']
) -> Float[Array, 'k n']:
    """How much each error adds to the Jaccard loss of its class; equation 9 and algorithm 1.

    Pixels are taken in by falling errors: the slope of one is what the Jaccard loss of those taken
    in, as errors, grows by. Pixels without a class come last and have none.
    """
    ranked = jnp.argsort(jnp.where(valid, errors, -1.0), axis=1, descending=True)
    sorted_hit = jnp.take_along_axis(hit, ranked, axis=1)
    inside = jnp.cumsum(sorted_hit, axis=1)  # int32
    outside = jnp.cumsum(~sorted_hit, axis=1)
    total = inside[:, -1:]
    loss = 1 - (total - inside) / (total + outside)
    slopes = jnp.diff(loss, axis=1, prepend=0.0)
    back = jnp.put_along_axis(jnp.zeros_like(slopes), ranked, slopes, axis=1, inplace=False)
    return jnp.where(valid, back, 0.0)


def _of_pixels(p: Float[Array, 'n k'], label: Int[Array, ' n']) -> tuple[Array, Array]:
    """The mean over the classes that occur, and 1; both are 0 where none does."""
    hit = label[None, :] == jnp.arange(p.shape[-1], dtype=label.dtype)[:, None]  # k n
    valid = jnp.any(hit, axis=0, keepdims=True)
    errors = jnp.where(hit, 1 - p.T, p.T)
    slopes = lax.stop_gradient(_jaccard_slopes(errors, hit, valid))
    present = jnp.any(hit, axis=1)
    losses = jnp.where(present, jnp.sum(errors * slopes, axis=1), 0.0)
    labelled = jnp.any(valid).astype(p.dtype)
    return jnp.sum(losses) / jnp.maximum(jnp.sum(present), 1).astype(p.dtype), labelled


def lovasz_softmax(
    logits: Float[Array, 'b h w k'],
    label: Int[Array, 'b h w'],
    *,
    over: Literal['image', 'batch'],
) -> tuple[Float[Array, ' b'], Float[Array, ' b']]:
    """The loss of each image, and 1; both are 0 where no pixel has a class.

    For each class that occurs, the Lovász extension of the Jaccard loss `1 - IoU` at the errors
    `m(x) = |[l(x) = c] - softmax(logits(x))[c]|`; then the mean of these classes. Where the
    probabilities are 0 and 1 it is 1 less the mean IoU of the classes that occur. With
    `over='batch'` all pixels of the batch are ranked together, and each image gets the same loss.
    """
    b, k = logits.shape[0], logits.shape[-1]
    p, label = jax.nn.softmax(logits).reshape(b, -1, k), label.reshape(b, -1)
    if over == 'image':
        return jax.vmap(_of_pixels)(p, label)
    loss, _ = _of_pixels(p.reshape(-1, k), label.reshape(-1))
    labelled = jnp.any((label >= 0) & (label < k), axis=1).astype(p.dtype)
    return loss * labelled, labelled


@dataclasses.dataclass(frozen=True)
class CrossEntropyLovasz(Criterion):
    """`cross_entropy * CE + lovasz * Lovász-softmax`; either may be left out by a factor of 0.

    Attributes:
      cross_entropy: factor of the cross-entropy, a mean over pixels. A weight map acts on this
        term.
      lovasz: factor of the Lovász-softmax.
      over: rank the pixels of each image, then take the mean of the images; or all pixels of the
        batch, which is nearer to the IoU of a data set.
      class_weights: of the cross-entropy, one number a class; empty for none.
    """

    cross_entropy: float = 1.0
    lovasz: float = 1.0
    over: Literal['image', 'batch'] = 'image'
    class_weights: tuple[float, ...] = ()

    def terms(
        self, logits: Array, label: Array, weight: Array | None, step: Array | int = 0
    ) -> Terms:
        found: Terms = {}
        if self.cross_entropy:
            energy, count = CrossEntropy(class_weights=self.class_weights)(logits, label, weight)
            found['cross_entropy'] = self.cross_entropy * energy, count
        if self.lovasz:
            loss, images = lovasz_softmax(logits, label, over=self.over)
            found['lovasz'] = self.lovasz * loss, images
        return found

    def of_all_pixels(self) -> Criterion:
        return dataclasses.replace(self, over='image')

    @property
    def is_sum_over_images(self) -> bool:
        return self.over == 'image' or not self.lovasz
