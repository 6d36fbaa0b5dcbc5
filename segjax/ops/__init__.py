"""Pure functions on arrays: no parameters, no Flax. NHWC throughout."""

from segjax.ops.boxes import box_area, clip_boxes, decode_boxes, encode_boxes, pairwise_iou
from segjax.ops.conv import conv, conv_cost
from segjax.ops.conv_matrix import conv_matrix
from segjax.ops.conv_transpose import conv_transpose
from segjax.ops.crop import center_crop, mirror_pad
from segjax.ops.deconvolve import deconvolve
from segjax.ops.label_map import label_map, one_hot
from segjax.ops.mask_targets import cropped_mask_targets, mask_targets
from segjax.ops.matching import Matches, match
from segjax.ops.nms import Kept, classwise_nms, nms
from segjax.ops.norm import local_response_norm
from segjax.ops.normalize import normalize
from segjax.ops.partition import HEIGHT_AXIS
from segjax.ops.paste import paste_binary_masks, paste_masks
from segjax.ops.pool import avg_pool, max_pool
from segjax.ops.pyramid import pyramid_level
from segjax.ops.receptive_field import ReceptiveField, Window, receptive_field
from segjax.ops.resize import bilinear_kernel, resize_bilinear
from segjax.ops.roi_align import pyramid_roi_align, roi_align
from segjax.ops.roi_pool import roi_pool, roi_warp
from segjax.ops.sampling import Sample, sample_balanced
from segjax.ops.separable import depthwise_conv, separable_conv, separable_cost
from segjax.ops.unpool import bed_of_nails, max_pool_with_indices, max_unpool, nearest_unpool

__all__ = [
    'HEIGHT_AXIS',
    'Kept',
    'Matches',
    'ReceptiveField',
    'Sample',
    'Window',
    'avg_pool',
    'bed_of_nails',
    'bilinear_kernel',
    'box_area',
    'center_crop',
    'classwise_nms',
    'clip_boxes',
    'conv',
    'conv_cost',
    'conv_matrix',
    'conv_transpose',
    'cropped_mask_targets',
    'decode_boxes',
    'deconvolve',
    'depthwise_conv',
    'encode_boxes',
    'label_map',
    'local_response_norm',
    'mask_targets',
    'match',
    'max_pool',
    'max_pool_with_indices',
    'max_unpool',
    'mirror_pad',
    'nearest_unpool',
    'nms',
    'normalize',
    'one_hot',
    'pairwise_iou',
    'paste_binary_masks',
    'paste_masks',
    'pyramid_level',
    'pyramid_roi_align',
    'receptive_field',
    'resize_bilinear',
    'roi_align',
    'roi_pool',
    'roi_warp',
    'sample_balanced',
    'separable_conv',
    'separable_cost',
]
