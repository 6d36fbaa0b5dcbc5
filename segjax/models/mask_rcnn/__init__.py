"""Mask R-CNN and Faster R-CNN, a file a part of the paper's figure."""

from segjax.models.mask_rcnn.mask_rcnn import FasterRCNN, Heads, MaskRCNN, Proposals

__all__ = ['FasterRCNN', 'Heads', 'MaskRCNN', 'Proposals']
