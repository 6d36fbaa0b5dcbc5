"""Metrics: integer counts on the device, exact sums on the host."""

from segjax.metrics.confusion import Confusion, confusion

__all__ = ['Confusion', 'confusion']
