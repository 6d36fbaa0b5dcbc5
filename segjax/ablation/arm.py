"""What an ablation compares. Imports no JAX: the command line answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from segjax.train.experiment import Experiment


class Arm(NamedTuple):
    """One training. Arms of one name differ in their seed and fold alone.

    With one seed, parameters of the same path and shape begin with the same values in every arm
    (Flax draws them by path), and every arm sees the same images in the same order, augmented alike
    (a batch is a function of seed and step).
    """

    name: str
    experiment: Experiment

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.experiment.seed

    @property
    def run(self) -> str:
        """The name of its run directory."""
        fold = f',fold={self.experiment.fold}' if self.experiment.folds else ''
        return f'{self.name},seed={self.seed}{fold}'
