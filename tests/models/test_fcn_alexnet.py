"""FCN-AlexNet against the layers of its released file, one after the other, in NumPy."""

import jax
import numpy as np
import pytest

from segjax import ops
from segjax.models import FCN
from segjax.pretrained import convert

# Of the released file: kernels `o i h w`, two groups in conv2, conv4 and conv5; here narrow fc6.
SHAPES = {
    'conv1': (96, 3, 11, 11),
    'conv2': (256, 48, 5, 5),
    'conv3': (384, 256, 3, 3),
    'conv4': (384, 192, 3, 3),
    'conv5': (256, 192, 3, 3),
    'fc6': (16, 256, 6, 6),
    'fc7': (16, 16, 1, 1),
    'score_fr': (4, 16, 1, 1),
}


@pytest.fixture(scope='module')
def arrays():
    """As a .caffemodel would hold them."""
    random = np.random.default_rng(0)
    drawn = {}
    for name, shape in SHAPES.items():
        kernel = random.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
        drawn[f'{name}.weight'] = kernel.astype(np.float32)
        drawn[f'{name}.bias'] = 0.1 * random.normal(size=shape[0]).astype(np.float32)
    return drawn


def windows(x, kernel, stride):
    """`c h w` to `c oh ow kernel kernel`."""
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
    return view[:, ::stride, ::stride]


def conv(x, arrays, name, *, stride=1, padding=0, groups=1):
    """Convolution `c h w`."""
    kernel, bias = arrays[f'{name}.weight'], arrays[f'{name}.bias']
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    parts = zip(np.split(x, groups), np.split(kernel, groups), strict=True)
    summed = [
        np.tensordot(k, windows(part, k.shape[-1], stride), ((1, 2, 3), (0, 3, 4)))
        for part, k in parts
    ]
    return np.concatenate(summed) + bias[:, None, None]


def pool(x):
    """3x3 with stride 2; the number of windows is rounded up, the last hangs over the edge."""
    over = [(0, (n - 3) % 2) for n in x.shape[1:]]
    return windows(np.pad(x, ((0, 0), *over), constant_values=-np.inf), 3, 2).max((3, 4))


def lrn(x):
    """Five channels, alpha 1e-4, beta .75."""
    squares = np.pad(x * x, ((2, 2), (0, 0), (0, 0)))
    total = sum(squares[i : i + len(x)] for i in range(5))
    return x / (1 + 1e-4 / 5 * total) ** 0.75


def upscore(x):
    """The transposed convolution with the kernel of 63 and stride 32, a class by itself."""
    c, h, w = x.shape
    out = np.zeros((c, 32 * h + 31, 32 * w + 31))
    for i, j in np.ndindex(h, w):
        out[:, 32 * i :, 32 * j :][:, :63, :63] += x[:, i, j, None, None] * TENT
    return out


TENT = np.outer(*2 * [1 - np.abs(np.arange(63) - 31) / 32])


def released(image, arrays):
    """voc-fcn-alexnet for a picture `c h w` in BGR: scores `c h w`."""
    relu = lambda x: np.maximum(x, 0)
    x = relu(conv(image, arrays, 'conv1', stride=4, padding=100))
    x = relu(conv(lrn(pool(x)), arrays, 'conv2', padding=2, groups=2))
    x = relu(conv(lrn(pool(x)), arrays, 'conv3', padding=1))
    x = relu(conv(x, arrays, 'conv4', padding=1, groups=2))
    x = pool(relu(conv(x, arrays, 'conv5', padding=1, groups=2)))
    x = relu(conv(relu(conv(x, arrays, 'fc6')), arrays, 'fc7'))
    x = upscore(conv(x, arrays, 'score_fr'))
    return x[:, 18 : 18 + image.shape[1], 18 : 18 + image.shape[2]]


def test_it_computes_what_the_released_file_says(arrays):
    model = FCN(4, 32, backbone='caffenet', padding='caffe', fc_features=16)
    variables = convert(model, arrays, layout='caffe', channel_order='bgr')
    image = 50 * np.random.default_rng(1).normal(size=(40, 33, 3)).astype(np.float32)
    found = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, image[None]).logits[0]
    expected = released(image[..., ::-1].transpose(2, 0, 1), arrays).transpose(1, 2, 0)
    scale = np.sqrt(np.mean(np.square(expected)))
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
    assert np.ptp(expected) > scale


def test_the_tent_is_our_odd_kernel():
    np.testing.assert_allclose(TENT, ops.bilinear_kernel(32, odd=True), atol=1e-7)
