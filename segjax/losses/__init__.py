"""Losses: a sum and a count of each image, so that a mean over devices and microbatches is exact.

Those that are no such sums, Dice and Lovász over the pixels of a batch, say so
(`is_sum_over_images`), and microbatches are refused.
"""

from segjax.losses.criterion import Criterion
from segjax.losses.cross_entropy import CrossEntropy, cross_entropy
from segjax.losses.dice import CrossEntropyDice, dice_loss
from segjax.losses.focal import Focal, focal_loss
from segjax.losses.hard_examples import hardest
from segjax.losses.lovasz import CrossEntropyLovasz, lovasz_softmax
from segjax.losses.smooth_l1 import smooth_l1
from segjax.losses.supervision import head_weights

__all__ = [
    'Criterion',
    'CrossEntropy',
    'CrossEntropyDice',
    'CrossEntropyLovasz',
    'Focal',
    'cross_entropy',
    'dice_loss',
    'focal_loss',
    'hardest',
    'head_weights',
    'lovasz_softmax',
    'smooth_l1',
]
