"""From trained variables to metrics and predictions."""

from segjax.evaluate.semantic import Evaluation, Sample, SemanticEvaluation, probabilities

__all__ = ['Evaluation', 'Sample', 'SemanticEvaluation', 'probabilities']
