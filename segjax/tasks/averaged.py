"""One prediction of several networks."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax

from segjax.tasks.semantic import Semantic, Variables
from segjax.types import Array


@dataclasses.dataclass(frozen=True)
class Averaged(Semantic):
    """Semantic segmentation by the mean of the probabilities of networks of one kind.

    Every array of the variables has a leading axis, an entry a network: the trainings of several
    seeds or folds. It predicts; nothing is trained with it.
    """

    def predict(self, model: nn.Module, variables: Variables, image: Array) -> Array:
        number = len(jax.tree.leaves(variables)[0])
        # Written out: convolutions in a loop are slow on a CPU.
        networks = (jax.tree.map(lambda leaf, i=i: leaf[i], variables) for i in range(number))
        return sum(Semantic.predict(self, model, own, image) for own in networks) / number
