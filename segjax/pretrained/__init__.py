"""Where weights come from, and how names map."""

from segjax.pretrained.convert import convert, export_arrays, load_arrays

__all__ = ['convert', 'export_arrays', 'load_arrays']
