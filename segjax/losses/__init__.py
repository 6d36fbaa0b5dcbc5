"""Losses: a sum and a count of each image, so that a mean over devices and microbatches is exact.

The one that is no such sum, a Dice over the pixels of a batch, says so (`is_sum_over_images`), and
microbatches are refused.
"""

from segjax.losses.criterion import Criterion
from segjax.losses.cross_entropy import CrossEntropy, cross_entropy
from segjax.losses.dice import CrossEntropyDice, dice_loss
from segjax.losses.hard_examples import hardest
from segjax.losses.supervision import head_weights

__all__ = [
    'Criterion',
    'CrossEntropy',
    'CrossEntropyDice',
    'cross_entropy',
    'dice_loss',
    'hardest',
    'head_weights',
]
