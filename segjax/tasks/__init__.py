"""How a model meets a batch: loss, prediction, metrics. The trainer knows only tasks."""

from segjax.tasks.averaged import Averaged
from segjax.tasks.instance import Instance
from segjax.tasks.semantic import Semantic

__all__ = ['Averaged', 'Instance', 'Semantic']
