"""From trained variables to metrics and predictions."""

from segjax.evaluate.semantic import Evaluation, Sample, SemanticEvaluation, probabilities
from segjax.evaluate.tiles import Inference

__all__ = ['Evaluation', 'Inference', 'Sample', 'SemanticEvaluation', 'probabilities']
