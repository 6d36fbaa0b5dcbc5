"""Safetensors: what goes in comes out, and whatever is wrong is named."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from segjax.pretrained.safetensors_io import check_match, load_variables, save_variables
from segjax.types import UserError


def assert_same(new, old):
    if isinstance(old, dict):
        assert new.keys() == old.keys()
        for key in old:
            assert_same(new[key], old[key])
    else:
        assert new.dtype == old.dtype and new.shape == old.shape
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_round_trip_of_every_dtype(tmp_path):
    kinds = 'float64 float32 float16 bfloat16 int64 int32 uint32 uint16 int16 uint8 int8 bool'
    variables = {
        'params': {k: {'kernel': np.arange(6).reshape(2, 3).astype(k)} for k in kinds.split()},
        'batch_stats': {'scalar': np.float32(3), 'zero_rows': np.zeros((0, 3), np.float32)},
        'jax': {'x': jnp.ones((2, 2), jnp.bfloat16)},
    }
    path = tmp_path / 'model.safetensors'
    save_variables(path, variables)
    assert_same(load_variables(path), variables)
    assert os.listdir(tmp_path) == ['model.safetensors']


def test_memory_order_and_byte_order_do_not_matter(tmp_path):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    tricky = {'t': x.T, 'f': np.asfortranarray(x), 'big': x.astype('>f4'), 'step': x[:, ::2]}
    save_variables(tmp_path / 'x', tricky)
    for name, array in load_variables(tmp_path / 'x').items():
        np.testing.assert_array_equal(array, tricky[name])


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'model.safetensors'
    save_variables(path, {'x': np.ones(3)})

    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        save_variables(path, {'x': np.zeros(3)})
    np.testing.assert_array_equal(load_variables(path)['x'], np.ones(3))
    assert os.listdir(tmp_path) == ['model.safetensors']


def test_names_that_form_no_tree_are_refused(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(ValueError, match='a/b'):
        save_variables(tmp_path / 'x', {'params': {'a/b': np.ones(1)}})
    for names in (['a', 'a/b'], ['a/b/c', 'a/b']):
        save_file({name: np.ones(1) for name in names}, tmp_path / 'x')
        with pytest.raises(UserError, match='do not form a tree'):
            load_variables(tmp_path / 'x')


@pytest.mark.parametrize('keep', [0, 4, 20, -1])
def test_a_file_cut_off_anywhere_is_named(tmp_path, keep):
    path = tmp_path / 'model.safetensors'
    save_variables(path, {'params': {'x': np.ones((10, 10))}})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=str(path)):
        load_variables(path)


def test_other_kinds_of_files_are_named(tmp_path):
    pickle = tmp_path / 'model.pth'
    pickle.write_bytes(b'\x80\x02}q\x00.' * 100)
    for path in (pickle, tmp_path, tmp_path / 'absent.safetensors'):
        with pytest.raises(UserError, match=str(path)):
            load_variables(path)


def test_a_match_passes_whatever_the_dtype():
    tree = {'params': {'conv': {'kernel': np.ones((3, 3, 1, 2), np.float32)}}}
    check_match(tree, {'params': {'conv': {'kernel': np.ones((3, 3, 1, 2), np.float16)}}})
    check_match({**tree, 'batch_stats': {}}, tree)


def test_a_mismatch_names_everything_both_ways():
    expected = {
        'params': {'a': np.ones((2, 3)), 'b': np.ones(1), 'c': np.ones(4), 'd': np.ones(())}
    }
    given = {'params': {'a': np.ones((3, 2)), 'x': np.ones(7), 'c': np.ones(4), 'd': np.ones(1)}}
    with pytest.raises(UserError) as caught:
        check_match(expected, given, source='file vgg16.safetensors')
    lines = str(caught.value).splitlines()
    assert lines[0] == 'the weights of the file vgg16.safetensors do not fit the model:'
    assert lines[1:-1] == [
        '  missing: params/b (1,)',
        '  unexpected: params/x (7,)',
        '  misshapen: params/a: the model has (2, 3), the file vgg16.safetensors (3, 2)',
        '  misshapen: params/d: the model has (), the file vgg16.safetensors (1,)',
    ]
