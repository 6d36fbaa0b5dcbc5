"""A network as one file that JAX runs without segjax."""

from segjax.export.archive import LEAST_SIDE, detector, pruned, recipe, write_archive

__all__ = ['LEAST_SIDE', 'detector', 'pruned', 'recipe', 'write_archive']
