"""Predictions as files: a folder of them, and a page to look at them."""

from segjax.gallery.folder import Gallery
from segjax.gallery.page import Entry

__all__ = ['Entry', 'Gallery']
