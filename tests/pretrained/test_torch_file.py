"""Files of torch.save: read to the bit without torch, and nothing in them is executed."""

import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from segjax.pretrained.torch_file import load_torch
from segjax.types import UserError
from tests.pretrained import torch_writer as writer


def assert_same(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape, name
        assert arrays[name].tobytes() == array.tobytes(), name


def state_dict(arrays, **options):
    values = OrderedDict((n, writer.tensor(str(i), a)) for i, (n, a) in enumerate(arrays.items()))
    values._metadata = OrderedDict({'': {'version': 1}})  # torch's state dicts carry it
    return values


EVERY = {dtype: writer.example(dtype) for dtype in writer.STORAGES} | {
    'scalar': np.array(7, np.int64),  # num_batches_tracked
    'empty': np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize('order', ['little', 'big'])
def test_every_dtype_in_both_byte_orders(tmp_path, order):
    writer.save_zip(tmp_path / 'a.pth', state_dict(EVERY), order=order)
    assert_same(load_torch(tmp_path / 'a.pth'), EVERY)


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_pickle_protocols(tmp_path, protocol):
    writer.save_zip(tmp_path / 'a.pth', state_dict(EVERY), protocol=protocol, root='vgg16')
    assert_same(load_torch(tmp_path / 'a.pth'), EVERY)


def test_the_format_before_torch_1_6(tmp_path):
    writer.save_legacy(tmp_path / 'a.pth', state_dict(EVERY))
    assert_same(load_torch(tmp_path / 'a.pth'), EVERY)


def test_views_share_a_storage_with_offsets_and_strides(tmp_path):
    elements = np.arange(24, dtype=np.float32)
    storage = writer.Storage('0', elements)
    views = {
        'all': writer.View(storage, 0, (24,), (1,)),
        'transposed': writer.View(storage, 0, (6, 4), (1, 6)),
        'every_other': writer.View(storage, 1, (3, 4), (8, 2)),
        'expanded': writer.View(storage, 5, (2, 3), (0, 1)),
        'parameter': writer.View(storage, 20, (4,), (1,), parameter=True),
    }
    writer.save_zip(tmp_path / 'a.pth', views)
    arrays = load_torch(tmp_path / 'a.pth')
    expected = {
        'all': elements,
        'transposed': elements.reshape(4, 6).T,
        'every_other': elements.reshape(3, 8)[:, 1::2],
        'expanded': np.stack([elements[5:8]] * 2),
        'parameter': elements[20:],
    }
    assert_same(arrays, expected)
    assert np.shares_memory(arrays['all'], arrays['transposed'])
    with pytest.raises(ValueError, match='read-only'):
        arrays['all'][0] = 1


def test_a_checkpoint_around_the_weights_is_opened(tmp_path):
    value = {'state_dict': state_dict({'w': EVERY['float32']}), 'epoch': 3, 'lr': 0.1, 'tag': None}
    writer.save_zip(tmp_path / 'a.pt', value)
    assert_same(load_torch(tmp_path / 'a.pt'), {'w': EVERY['float32']})


def test_networks_trained_in_parallel_have_the_names_of_others(tmp_path):
    writer.save_zip(tmp_path / 'a.pt', state_dict({'module.w': EVERY['float32']}))
    assert_same(load_torch(tmp_path / 'a.pt'), {'w': EVERY['float32']})
    mixed = {'module.w': EVERY['float32'], 'v': EVERY['float32']}
    writer.save_zip(tmp_path / 'b.pt', state_dict(mixed))
    assert_same(load_torch(tmp_path / 'b.pt'), mixed)


def test_milesials_mask_values_among_the_arrays_are_left_out(tmp_path):
    value = state_dict({'w': EVERY['float32']}) | {'mask_values': [0, 1]}
    writer.save_zip(tmp_path / 'a.pth', value)
    assert_same(load_torch(tmp_path / 'a.pth'), {'w': EVERY['float32']})


def test_what_holds_no_weights_is_refused(tmp_path):
    writer.save_zip(tmp_path / 'a.pth', {'epoch': 3})
    with pytest.raises(UserError, match='no state dict but epoch'):
        load_torch(tmp_path / 'a.pth')
    with pytest.raises(UserError, match='there is no weights file'):
        load_torch(tmp_path / 'b.pth')


# --- Villains ------------------------------------------------------------------------------------


def _attacks(marker):
    """Calls that leave a file behind if anything runs them."""
    touch = f'touch {marker}'
    return {
        'posix.system': writer.Call(os.system, (touch,)),
        'builtins.exec': writer.Call(exec, (f'open({str(marker)!r}, "w")',)),
        'subprocess.Popen': writer.Call(subprocess.Popen, (['touch', str(marker)],)),
        'builtins.getattr': writer.Call(getattr, (os, 'system')),
    }


@pytest.mark.parametrize(
    'name', ['posix.system', 'builtins.exec', 'subprocess.Popen', 'builtins.getattr']
)
@pytest.mark.parametrize('protocol', [2, 4])
def test_a_hostile_pickle_does_not_run(tmp_path, name, protocol):
    marker = tmp_path / 'executed'
    attack = _attacks(marker)[name]
    if name == 'builtins.getattr':
        attack.arguments = ('x', 'system')  # a module itself cannot be pickled
    spelt = name.replace('.', r'\.')
    value = {'w': writer.tensor('0', EVERY['float32']), 'x': attack}
    writer.save_zip(tmp_path / 'a.pth', value, protocol=protocol)
    with pytest.raises(UserError, match=rf'asks for {spelt}.*Nothing in it was executed'):
        load_torch(tmp_path / 'a.pth')
    (tmp_path / 'bare.pth').write_bytes(writer.dumps(attack, protocol=protocol))
    with pytest.raises(UserError, match=spelt):
        load_torch(tmp_path / 'bare.pth')
    assert not marker.exists()


def test_the_attack_is_real(tmp_path):
    """The same bytes do run in the standard library's reader."""
    marker = tmp_path / 'executed'
    pickle.loads(writer.dumps(_attacks(marker)['posix.system']))
    assert marker.exists()


def test_whole_modules_are_refused_by_name(tmp_path):
    program = b'\x80\x02ctorch.nn.modules.container\nSequential\n)\x81.'
    with zipfile.ZipFile(tmp_path / 'b.pth', 'w') as archive:
        archive.writestr('b/data.pkl', program)
    with pytest.raises(UserError, match=r'asks for torch\.nn\.modules\.container\.Sequential'):
        load_torch(tmp_path / 'b.pth')


@pytest.mark.parametrize(
    ('geometry', 'problem'),
    [
        ((0, (7,), (1,)), 'reaches beyond'),
        ((6, (1,), (1,)), 'reaches beyond'),
        ((0, (2, 2), (5, 1)), 'reaches beyond'),
        ((-1, (2,), (1,)), 'is not described'),
        ((5, (2,), (-1,)), 'is not described'),
        ((0, (2, 3), (1,)), 'is not described'),
        ((0, (2.0,), (1,)), 'is not described'),
        ((0, (2**50,), (0,)), 'is not described'),
    ],
)
def test_no_view_reaches_beyond_its_storage(tmp_path, geometry, problem):
    storage = writer.Storage('0', EVERY['float32'])
    writer.save_zip(tmp_path / 'a.pth', {'w': writer.View(storage, *geometry)})
    with pytest.raises(UserError, match=problem):
        load_torch(tmp_path / 'a.pth')


def test_a_storage_of_another_length_is_refused(tmp_path):
    writer.save_zip(tmp_path / 'a.pth', state_dict({'w': EVERY['float32']}), data_0=b'\0' * 20)
    with pytest.raises(UserError, match='20 bytes instead of 24'):
        load_torch(tmp_path / 'a.pth')


def test_compressed_archives_are_refused(tmp_path):
    """Nothing can then become longer than the file."""
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', b'\0' * 1_000_000)
    with pytest.raises(UserError, match='longer than the file'):
        load_torch(tmp_path / 'a.pth')
    with zipfile.ZipFile(tmp_path / 'b.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('b/data.pkl', writer.dumps({}))
    with pytest.raises(UserError, match='compressed'):
        load_torch(tmp_path / 'b.pth')


@pytest.mark.parametrize('save', [writer.save_zip, writer.save_legacy])
def test_a_file_cut_anywhere_is_refused(tmp_path, save):
    save(tmp_path / 'whole.pth', state_dict({'w': EVERY['float32'], 'b': EVERY['int64']}))
    content = (tmp_path / 'whole.pth').read_bytes()
    for length in range(0, len(content), 19):
        (tmp_path / 'cut.pth').write_bytes(content[:length])
        with pytest.raises(UserError, match=r'cut\.pth'):
            load_torch(tmp_path / 'cut.pth')


@pytest.mark.filterwarnings('ignore:invalid escape:DeprecationWarning')
def test_flipped_bytes_never_raise_anything_else(tmp_path):
    """Damage is either refused in one message or changes values; it is no crash."""
    writer.save_legacy(tmp_path / 'a.pth', state_dict({'w': EVERY['float32']}))
    content = (tmp_path / 'a.pth').read_bytes()
    for seed in range(300):
        random = np.random.default_rng(seed)
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 3):
            damaged[position] = random.integers(0, 256)
        (tmp_path / 'b.pth').write_bytes(damaged)
        try:
            load_torch(tmp_path / 'b.pth')
        except UserError as error:
            assert 'b.pth' in str(error)


def test_the_tar_format_is_named(tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'storages'.ljust(257, b'\0') + b'ustar' + b'\0' * 250)
    with pytest.raises(UserError, match=r'tar archive.*0\.1\.10'):
        load_torch(tmp_path / 'a.pth')


def test_deep_nesting_is_no_crash(tmp_path):
    """As a dictionary's key, a deep tuple would overflow the stack of Python itself."""
    deep = b'\x80\x02})' + b'\x85' * 200_000 + b'K\x01s.'
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('a/data.pkl', deep)
    with pytest.raises(UserError, match='a tuple as a key'):
        load_torch(tmp_path / 'a.pth')
