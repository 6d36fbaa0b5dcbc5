"""Pure functions on arrays: no parameters, no Flax. NHWC throughout."""

from segjax.ops.conv import conv, conv_cost, conv_transpose
from segjax.ops.crop import center_crop, mirror_pad
from segjax.ops.norm import local_response_norm
from segjax.ops.normalize import normalize
from segjax.ops.partition import HEIGHT_AXIS
from segjax.ops.pool import avg_pool, max_pool
from segjax.ops.resize import bilinear_kernel, resize_bilinear

__all__ = [
    'HEIGHT_AXIS',
    'avg_pool',
    'bilinear_kernel',
    'center_crop',
    'conv',
    'conv_cost',
    'conv_transpose',
    'local_response_norm',
    'max_pool',
    'mirror_pad',
    'normalize',
    'resize_bilinear',
]
