"""Weights of Caffe: files in both of its formats, names and axes, and files that are no such."""

import itertools
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.backbones import VGG, CaffeNet, GoogLeNet
from segjax.models import FCN
from segjax.pretrained import convert, export_arrays, load_arrays
from segjax.pretrained.caffe_file import load_caffe
from segjax.pretrained.initial import load_weights
from segjax.types import UserError

NARROW = {'widths': (1, 2, 2, 2, 2), 'fc_features': 3, 'padding': 'caffe'}


def varint(value):
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """An int as a varint, bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array, *, old):
    """BlobProto: four sides before 2015, any number since."""
    if old:
        sides = (1,) * (4 - array.ndim) + array.shape
        shape = b''.join(field(i, side) for i, side in enumerate(sides, start=1))
    else:
        shape = field(7, field(1, b''.join(map(varint, array.shape))))
    return shape + field(5, array.astype('<f4').tobytes()) + field(6, b'')  # no gradient


def network(layers, *, old=False):
    """NetParameter of layers with blobs, and of things that a reader steps over."""
    out = field(1, b'a network') + field(5, 1) + varint(77 << 3 | 5) + struct.pack('<f', 1.5)
    for name, arrays in layers.items():
        blobs = b''.join(field(6 if old else 7, blob(a, old=old)) for a in arrays)
        if old:
            out += field(2, field(4, name.encode()) + field(5, 4) + blobs)
        else:
            out += field(100, field(1, name.encode()) + field(2, b'Convolution') + blobs)
    return out + field(100, field(1, b'relu1') + field(2, b'ReLU'))


def layers_of(arrays):
    """'conv1_1.weight', 'conv1_1.bias' -> {'conv1_1': [weight, bias]}."""
    layers = {}
    for name, array in arrays.items():
        layer, _, leaf = name.rpartition('.')
        layers.setdefault(layer, {})[leaf] = array
    return {n: [a for k in ('weight', 'bias') if (a := found.get(k)) is not None]
            for n, found in layers.items()}  # fmt: skip


def drawn(model, side=64):
    """Random variables of a model's shapes."""
    init = lambda key: model.init(key, jnp.zeros((1, side, side, 3)), train=False)
    random = np.random.default_rng(0)
    draw = lambda x: random.normal(size=x.shape).astype(x.dtype)
    return jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0)))


def silent(line):
    raise AssertionError(f'said {line!r}')


def assert_trees(new, old):
    jax.tree.map(np.testing.assert_array_equal, new, old)


EXAMPLE = {
    'conv1': [np.arange(96, dtype=np.float32).reshape(4, 2, 3, 4), np.ones(4, np.float32)],
    'inception_3a/1x1': [np.zeros((2, 3, 1, 1), np.float32)],
    'fc8': [np.arange(300, dtype=np.float32).reshape(3, 100), np.arange(3, dtype=np.float32)],
}


@pytest.mark.parametrize('old', [False, True])
def test_layers_and_blobs(tmp_path, old):
    (tmp_path / 'a.caffemodel').write_bytes(network(EXAMPLE, old=old))
    arrays = load_caffe(tmp_path / 'a.caffemodel')
    names = ['conv1.weight', 'conv1.bias', 'inception_3a/1x1.weight', 'fc8.weight', 'fc8.bias']
    assert list(arrays) == names
    for name, expected in zip(names, itertools.chain(*EXAMPLE.values()), strict=True):
        assert arrays[name].dtype == np.float32 and not arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], expected)


def test_double_data_and_further_blobs(tmp_path):
    data = np.array([1.5, 2.5])
    double = field(7, field(1, varint(2))) + field(8, data.tobytes())
    layer = field(100, field(1, b'bn') + 3 * field(7, double))
    (tmp_path / 'a.caffemodel').write_bytes(layer)
    arrays = load_caffe(tmp_path / 'a.caffemodel')
    assert list(arrays) == ['bn.weight', 'bn.bias', 'bn.2']
    assert arrays['bn.2'].dtype == np.float64 and arrays['bn.2'].tolist() == [1.5, 2.5]


HOSTILE = {
    'empty': b'',
    'text': b'name: "VGG_ILSVRC_16_layers"\nlayers {\n',
    'cut off': network(EXAMPLE)[:500],
    'no weights': field(1, b'a network'),
    'endless number': b'\xff' * 40,
    'groups': b'\x0b\x0c',
    'longer than the file': varint(100 << 3 | 2) + varint(1 << 60),
    'another shape': field(100, field(7, field(7, field(1, varint(1 << 40))) + field(5, b'1234'))),
    'many axes': field(100, field(7, field(7, field(1, b'\x01' * 40)) + field(5, b'1234'))),
    'half a number': field(100, field(7, field(7, field(1, b'\x01')) + field(5, b'123'))),
    'a number for a layer': field(100, 7),
    'twice': network({'a': EXAMPLE['conv1']}) * 2,
    'format of 2013': field(2, field(1, field(1, b'conv1') + field(50, b'')))
    + network(EXAMPLE, old=True),
}


@pytest.mark.parametrize('content', HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_such_file_is_refused(tmp_path, content):
    (tmp_path / 'a.caffemodel').write_bytes(content)
    with pytest.raises(UserError, match=r'a\.caffemodel is (no|refused)'):
        load_caffe(tmp_path / 'a.caffemodel')


def test_every_file_cut_off_is_read_or_refused(tmp_path):
    whole = network({'a': [np.ones((1, 2, 1, 1), np.float32), np.ones(1, np.float32)]})
    for end in range(len(whole)):
        (tmp_path / 'a.caffemodel').write_bytes(whole[:end])
        try:
            arrays = load_caffe(tmp_path / 'a.caffemodel')
        except UserError:
            continue
        assert all(np.all(array == 1) for array in arrays.values())


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match='no weights file'):
        load_caffe(tmp_path / 'a.caffemodel')


MODELS = {
    'FCN-8s': FCN(4, 8, **NARROW),
    'FCN-8s, learned': FCN(4, 8, upsampling='learned', **NARROW),
    'FCN-32s, learned': FCN(4, 32, upsampling='learned', **NARROW),
    'FCN-AlexNet': FCN(4, 32, backbone='caffenet', padding='caffe', fc_features=2),
    'FCN-GoogLeNet': FCN(4, 32, backbone='googlenet', padding='caffe'),
    'VGG11': VGG(11, NARROW['widths']),
    'CaffeNet': CaffeNet(),
}


@pytest.mark.parametrize('model', MODELS.values(), ids=MODELS)
def test_there_and_back_to_the_bit(model, tmp_path):
    """Through a file, too."""
    variables = drawn(model)
    arrays = export_arrays(model, variables, layout='caffe', channel_order='bgr')
    (tmp_path / 'a.caffemodel').write_bytes(network(layers_of(arrays)))
    read = load_arrays(tmp_path / 'a.caffemodel')
    assert read.keys() == arrays.keys()
    new = convert(model, read, layout='caffe', channel_order='bgr', say=silent)
    assert_trees(new, variables)


def test_names_are_those_of_the_released_networks():
    names = lambda model: {
        n.removesuffix('.weight')
        for n in export_arrays(model, drawn(model), layout='caffe')
        if n.endswith('weight')
    }
    fcn8s = names(MODELS['FCN-8s, learned'])
    convs = {f'conv{k}_{i}' for k, n in zip('12345', (2, 2, 3, 3, 3), strict=True)
             for i in range(1, n + 1)}  # fmt: skip
    heads = {'fc6', 'fc7', 'score_fr', 'score_pool4', 'score_pool3'}
    assert fcn8s == convs | heads | {'upscore2', 'upscore_pool4', 'upscore8'}
    assert 'upscore' in names(MODELS['FCN-32s, learned'])
    assert names(CaffeNet()) == {f'conv{i}' for i in range(1, 6)}
    googlenet = names(GoogLeNet('paper'))
    assert {'conv1/7x7_s2', 'conv2/3x3_reduce', 'conv2/3x3'} <= googlenet
    leaves = ('1x1', '3x3_reduce', '3x3', '5x5_reduce', '5x5', 'pool_proj')
    assert {f'inception_4d/{leaf}' for leaf in leaves} <= googlenet
    assert len(googlenet) == 3 + 9 * 6


def test_axes_and_colours():
    """A kernel of Caffe is `o i h w` over BGR; fc6 reads `c h w`, flattened or not."""
    model = MODELS['FCN-AlexNet']
    arrays = export_arrays(model, drawn(model), layout='caffe', channel_order='bgr')
    assert arrays['conv2.weight'].shape == (256, 48, 5, 5)  # grouped
    flat = {n: a.reshape(len(a), -1) if n.startswith('fc') else a for n, a in arrays.items()}
    flat |= {n: a.reshape(-1) for n, a in arrays.items() if n.endswith('bias')}
    params = convert(model, flat, layout='caffe', channel_order='bgr', say=silent)['params']
    kernel = params['caffenet']['conv1']['kernel']
    np.testing.assert_array_equal(kernel[3, 5, :, 7], arrays['conv1.weight'][7, ::-1, 3, 5])
    kernel = params['fc6']['conv']['kernel']
    np.testing.assert_array_equal(kernel[2, 4, 9, 1], arrays['fc6.weight'][1, 9, 2, 4])


def test_a_classifier_with_its_own_head_becomes_an_fcn(tmp_path):
    """--weights=FILE.caffemodel: BVLC's CaffeNet has fc8, FCN-AlexNet its own scores."""
    model = MODELS['FCN-AlexNet']
    variables = drawn(model)
    arrays = export_arrays(model, variables, layout='caffe', channel_order='bgr')
    arrays = {n: a for n, a in arrays.items() if not n.startswith('score')}
    arrays = {n: a.reshape(len(a), -1) if n == 'fc6.weight' else a for n, a in arrays.items()}
    arrays |= {'fc8.weight': np.ones((1000, 2)), 'fc8.bias': np.ones(1000)}
    (tmp_path / 'a.caffemodel').write_bytes(network(layers_of(arrays), old=True))
    said = []
    found = load_weights(
        str(tmp_path / 'a.caffemodel'), variables, initial=lambda: variables, say=said.append
    )
    assert said == ['These layers start from their initial values: score_fr.']
    assert_trees(found, variables)


def test_a_released_network_by_name(tmp_path, monkeypatch):
    """--weights=fcn32s with the file in the cache, for evaluation: nothing may be new."""
    model = FCN(4, 32, **NARROW)
    variables = drawn(model)
    arrays = export_arrays(model, variables, layout='caffe', channel_order='bgr')
    arrays |= {'upscore.weight': np.ones((4, 4, 64, 64), np.float32)}
    file = tmp_path / 'fcn32s-heavy-pascal.caffemodel'
    file.write_bytes(network(layers_of(arrays)))
    monkeypatch.setenv('SEGJAX_WEIGHTS_DIR', str(tmp_path))
    said = []
    assert_trees(load_weights('fcn32s', variables, say=said.append), variables)
    assert said == [f'{file} is taken as it is: its publisher names no SHA-256.']


def test_frozen_layers_of_the_released_network_are_left():
    """FCN-8s at once has two factors and three transposed convolutions that are constants."""
    model = MODELS['FCN-8s']
    variables = drawn(model)
    arrays = export_arrays(model, variables, layout='caffe')
    frozen = {'scale_pool4.weight': np.full(2, 0.01), 'upscore8.weight': np.ones((4, 4, 16, 16))}
    new = convert(model, arrays | frozen, layout='caffe', say=silent)
    assert_trees(new, variables)
    with pytest.raises(UserError, match=r'unexpected: score_pool3\.weight'):
        convert(FCN(4, 16, **NARROW), arrays, layout='caffe')


def test_networks_that_caffe_has_not_are_refused():
    with pytest.raises(UserError, match="'caffe' knows no model"):
        convert(VGG(16, NARROW['widths'], norm='batch'), {}, layout='caffe')
