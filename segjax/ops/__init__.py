"""Pure functions on arrays: no parameters, no Flax. NHWC throughout."""

from segjax.ops.conv import conv, conv_cost, conv_transpose
from segjax.ops.crop import center_crop, mirror_pad
from segjax.ops.norm import local_response_norm
from segjax.ops.normalize import normalize
from segjax.ops.partition import HEIGHT_AXIS
from segjax.ops.pool import avg_pool, max_pool
from segjax.ops.resize import bilinear_kernel, resize_bilinear
from segjax.ops.unpool import bed_of_nails, max_pool_with_indices, max_unpool, nearest_unpool

__all__ = [
    'HEIGHT_AXIS',
    'avg_pool',
    'bed_of_nails',
    'bilinear_kernel',
    'center_crop',
    'conv',
    'conv_cost',
    'conv_transpose',
    'local_response_norm',
    'max_pool',
    'max_pool_with_indices',
    'max_unpool',
    'mirror_pad',
    'nearest_unpool',
    'normalize',
    'resize_bilinear',
]
