"""Losses: sums and counts, so that a mean over devices and microbatches is exact."""

from segjax.losses.cross_entropy import CrossEntropy, cross_entropy

__all__ = ['CrossEntropy', 'cross_entropy']
