"""Losses: a sum and a count of each image, so that a mean over devices and microbatches is exact.

What is no such sum (a Dice over the pixels of a batch) has no place here; its like over the pixels
of an image has.
"""

from segjax.losses.cross_entropy import CrossEntropy, cross_entropy
from segjax.losses.hard_examples import hardest

__all__ = ['CrossEntropy', 'cross_entropy', 'hardest']
