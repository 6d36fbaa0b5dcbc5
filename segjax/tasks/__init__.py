"""How a model meets a batch: loss, prediction, metrics. The trainer knows only tasks."""

from segjax.tasks.averaged import Averaged
from segjax.tasks.semantic import Semantic

__all__ = ['Averaged', 'Semantic']
