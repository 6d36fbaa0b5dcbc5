"""From trained variables to metrics and predictions."""

from segjax.evaluate.instance import InstanceEvaluation, InstanceSample
from segjax.evaluate.semantic import Evaluation, Sample, SemanticEvaluation, probabilities
from segjax.evaluate.tiles import Inference

__all__ = [
    'Evaluation',
    'Inference',
    'InstanceEvaluation',
    'InstanceSample',
    'Sample',
    'SemanticEvaluation',
    'probabilities',
]
