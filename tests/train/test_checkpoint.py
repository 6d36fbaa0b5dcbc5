"""Checkpoints: bitwise round trips, and every kind of damage that must not pass unnoticed."""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from segjax.train.checkpoint import Checkpointer
from segjax.train.hashing import state_sha256
from segjax.types import UserError

ROOT = Path(__file__).parents[2]


class State(NamedTuple):
    params: Any
    opt_state: Any
    step: Any
    key: Any


def make_state(step: int) -> State:
    """A state in which everything depends on the step, with all the dtypes that occur."""
    random = np.random.default_rng(step)
    params = {
        'conv': {'kernel': jnp.asarray(random.normal(size=(3, 3, 2, 4)), jnp.float32)},
        'head': {'bias': jnp.asarray(random.normal(size=5), jnp.bfloat16)},
        'empty': {},
        'nothing': jnp.zeros((0, 3)),
    }
    return State(
        params,
        optax.adamw(1e-3).init(params),
        jnp.int32(step),
        jax.random.key_data(jax.random.key(step)),
    )


def abstract(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)


LIKE = abstract(make_state(0))


def save_steps(directory, *steps, keep=9) -> Checkpointer:
    checkpointer = Checkpointer(directory, keep=keep)
    for step in steps:
        checkpointer.save(step, make_state(step))
    checkpointer.wait()
    assert checkpointer.failed == ''
    return checkpointer


def assert_restores(checkpointer, which, step):
    restored_step, restored = checkpointer.restore(which, like=LIKE)
    assert restored_step == step
    assert state_sha256(restored) == state_sha256(make_state(step))


def assert_nothing_unfinished(directory):
    assert not [p.name for p in directory.iterdir() if p.name.startswith('.')]


# Round trips


def test_round_trip_is_bitwise_and_keeps_structure(tmp_path):
    state = make_state(7)
    checkpointer = save_steps(tmp_path, 7)

    step, restored = checkpointer.restore(like=LIKE)

    assert step == 7
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for new, old in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert new.dtype == old.dtype and new.shape == old.shape
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_nan_and_negative_zero_survive_bit_by_bit(tmp_path):
    bits = np.array([0x7FC00001, 0x80000000, 0xFF800000, 0x00000001], np.uint32)
    state = {'x': jnp.asarray(bits.view(np.float32))}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        _, restored = checkpointer.restore(like=state)
    np.testing.assert_array_equal(np.asarray(restored['x']).view(np.uint32), bits)


def test_numpy_leaves_come_back_as_numpy(tmp_path):
    state = {'x': np.arange(3, dtype=np.float64)}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        state['x'][:] = -1  # the caller goes on; the checkpoint must not notice
        _, restored = checkpointer.restore(like=state)
    assert isinstance(restored['x'], np.ndarray)
    np.testing.assert_array_equal(restored['x'], np.arange(3.0))


def test_arrays_come_back_on_the_sharding_asked_for(tmp_path):
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec('data'))
    whole = NamedSharding(mesh, PartitionSpec())
    x = jnp.arange(64.0).reshape(16, 4)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {'x': jax.device_put(x, rows)})
        for sharding in (whole, rows, jax.sharding.SingleDeviceSharding(jax.devices()[3])):
            like = {'x': jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)}
            _, restored = checkpointer.restore(like=like)
            assert restored['x'].sharding == sharding
            np.testing.assert_array_equal(restored['x'], x)


def test_without_a_sharding_arrays_are_uncommitted_and_go_anywhere(tmp_path):
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    batch = jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec('data')))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {'x': jnp.arange(8.0)})
        for like in ({'x': jax.ShapeDtypeStruct((8,), jnp.float32)}, {'x': jnp.zeros(8)}):
            _, restored = checkpointer.restore(like=like)
            np.testing.assert_array_equal(jnp.multiply(restored['x'], batch), np.arange(8.0))


def test_state_may_be_donated_right_after_save(tmp_path):
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros(1_000_000)
    with Checkpointer(tmp_path, keep=9) as checkpointer:
        for number in range(5):
            checkpointer.save(number, {'x': x})
            x = step(step(step(x)))
        checkpointer.wait()
        for number in checkpointer.steps():
            _, restored = checkpointer.restore(number, like={'x': x})
            np.testing.assert_array_equal(restored['x'], np.full(x.shape, 3 * number))


def test_restored_state_may_be_donated(tmp_path):
    checkpointer = save_steps(tmp_path, 1)
    _, restored = checkpointer.restore(like=LIKE)
    jax.jit(lambda s: s._replace(step=s.step + 1), donate_argnums=0)(restored)
    assert_restores(checkpointer, 1, 1)


def test_random_keys_and_numbers_are_refused_by_name(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(TypeError, match='key_data'):
            checkpointer.save(1, {'dropout': jax.random.key(0)})
        with pytest.raises(TypeError, match='epoch is float'):
            checkpointer.save(1, {'epoch': 1.5})


# Which one


def test_nothing_there_gives_none_and_creates_nothing(tmp_path):
    directory = tmp_path / 'checkpoints'
    checkpointer = Checkpointer(directory)
    assert checkpointer.restore('latest', like=LIKE) is None
    assert checkpointer.restore('best', like=LIKE) is None
    assert checkpointer.steps() == [] and checkpointer.best() is None
    assert not directory.exists()


def test_missing_step_lists_those_there(tmp_path):
    checkpointer = save_steps(tmp_path, 3, 20)
    assert_restores(checkpointer, 'latest', 20)
    assert_restores(checkpointer, '3', 3)
    for which in (4, '4', 'newest'):
        with pytest.raises(UserError, match=r'steps there: 3, 20'):
            checkpointer.restore(which, like=LIKE)


def test_keeps_the_latest_and_the_best(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=2)
    for step, value in [(1, 0.3), (2, 0.9), (3, 0.5), (4, 0.6), (5, 0.7)]:
        checkpointer.save(step, make_state(step))
        assert checkpointer.mark_best(step, value, 'mean_iou') == (step in (1, 2))
    checkpointer.close()
    assert checkpointer.steps() == [2, 4, 5]
    assert checkpointer.best()[:3] == (2, 0.9, 'mean_iou')
    assert_restores(Checkpointer(tmp_path), 'best', 2)
    assert_restores(Checkpointer(tmp_path), 'latest', 5)
    assert_nothing_unfinished(tmp_path)


def test_a_new_best_lets_the_old_one_go(tmp_path):
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        for step in (1, 2, 3):
            checkpointer.mark_best(step, step / 10, 'mean_iou')  # before the save is as good
            checkpointer.save(step, make_state(step))
    assert checkpointer.steps() == [3] and checkpointer.best().step == 3


def test_a_new_best_frees_the_old_one_at_once(tmp_path):
    with save_steps(tmp_path, 1, keep=1) as checkpointer:
        checkpointer.mark_best(1, 0.1, 'mean_iou')
        checkpointer.save(2, make_state(2))
        checkpointer.wait()
        assert checkpointer.steps() == [1, 2]  # 1 is the best still
        checkpointer.mark_best(2, 0.2, 'mean_iou')
        assert checkpointer.steps() == [2]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_what_is_not_finite_never_counts_as_best(tmp_path, value):
    checkpointer = save_steps(tmp_path, 1, 2)
    assert not checkpointer.mark_best(1, value, 'mean_iou')
    assert checkpointer.best() is None
    assert checkpointer.mark_best(1, 0.5, 'mean_iou')
    assert not checkpointer.mark_best(2, value, 'mean_iou')
    assert checkpointer.best().step == 1


def test_lower_can_be_better_and_a_new_metric_starts_anew(tmp_path):
    checkpointer = save_steps(tmp_path, 1, 2, 3)
    assert checkpointer.mark_best(1, 0.4, 'rand_error', higher_is_better=False)
    assert not checkpointer.mark_best(2, 0.5, 'rand_error', higher_is_better=False)
    assert checkpointer.mark_best(2, 0.3, 'rand_error', higher_is_better=False)
    assert checkpointer.mark_best(3, 0.1, 'dice')
    assert not checkpointer.mark_best(1, 0.1, 'dice')  # a tie is no improvement


def test_the_best_step_evaluated_again_is_still_the_best(tmp_path):
    checkpointer = save_steps(tmp_path, 1, 2)
    assert checkpointer.mark_best(2, 0.4, 'dice')
    resumed = Checkpointer(tmp_path)
    assert resumed.mark_best(2, 0.4, 'dice')
    assert not resumed.mark_best(1, 0.4, 'dice')
    assert resumed.best()[:2] == (2, 0.4)


def test_best_without_a_mark_is_the_latest(tmp_path, capsys):
    checkpointer = save_steps(tmp_path, 1, 2)
    assert_restores(checkpointer, 'best', 2)
    assert 'no best checkpoint' in capsys.readouterr().err


def test_unreadable_best_json_is_ignored_with_a_warning(tmp_path, capsys):
    checkpointer = save_steps(tmp_path, 1, 2)
    checkpointer.mark_best(1, 0.5, 'mean_iou')
    (tmp_path / 'best.json').write_text('{"step": 1, "val')
    assert_restores(checkpointer, 'best', 2)
    assert 'best.json is unreadable' in capsys.readouterr().err


# Damage


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def kinds_of_files(directory):
    """Every file of a checkpoint; the content-addressed ones vary from one save to the next."""
    return sorted(p.relative_to(directory) for p in directory.rglob('*') if p.is_file())


@pytest.fixture(scope='module')
def two_checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp('two') / 'checkpoints'
    save_steps(directory, 1, 2)
    return directory


@pytest.mark.parametrize('damage', ['flip', 'truncate', 'remove'])
def test_damage_to_any_file_is_noticed(tmp_path, capsys, two_checkpoints, damage):
    files = kinds_of_files(two_checkpoints / '2')
    assert {'manifest.json', '_METADATA', 'manifest.ocdbt'} <= {f.name for f in files}
    for number, name in enumerate(files):
        directory = tmp_path / str(number)
        shutil.copytree(two_checkpoints, directory)
        path = directory / '2' / name
        if damage == 'flip':
            flip_a_bit(path)
        elif damage == 'truncate':
            os.truncate(path, path.stat().st_size - 1)
        else:
            path.unlink()

        assert_restores(Checkpointer(directory), 'latest', 1)

        message = capsys.readouterr().err
        assert 'WARNING' in message and str(path) in message
        assert (directory / 'bad' / '2').is_dir() and not (directory / '2').exists()


def test_damaged_best_gives_way_to_the_latest(tmp_path):
    checkpointer = save_steps(tmp_path, 1, 2, 3)
    checkpointer.mark_best(1, 0.9, 'mean_iou')
    flip_a_bit(tmp_path / '1' / '_METADATA')
    assert_restores(checkpointer, 'best', 3)


def test_a_damaged_step_asked_for_by_number_is_an_error(tmp_path):
    checkpointer = save_steps(tmp_path, 1, 2)
    flip_a_bit(tmp_path / '2' / '_METADATA')
    with pytest.raises(UserError, match=r'damaged are 2 .*Still there: 1'):
        checkpointer.restore(2, like=LIKE)


def test_all_damaged_is_an_error_not_a_silent_new_start(tmp_path):
    checkpointer = save_steps(tmp_path, 1, 2)
    flip_a_bit(tmp_path / '1' / '_METADATA')
    flip_a_bit(tmp_path / '2' / '_METADATA')
    with pytest.raises(UserError, match='damaged are 2, 1'):
        checkpointer.restore('latest', like=LIKE)
    assert checkpointer.restore('latest', like=LIKE) is None


def test_foreign_and_empty_directories_are_never_used(tmp_path, capsys):
    checkpointer = save_steps(tmp_path, 1, 2)
    for name in ('999', 'backup', '007', '-5'):
        (tmp_path / name).mkdir()
    (tmp_path / '1000').write_text('a file')
    (tmp_path / '999.orbax-checkpoint-tmp').mkdir()
    shutil.copytree(tmp_path / '2', tmp_path / '998')  # whole, but not step 998

    assert checkpointer.steps() == [1, 2, 998]
    assert_restores(checkpointer, 'latest', 2)

    message = capsys.readouterr().err
    for name in ('backup', '007', '-5', '1000', '999.orbax-checkpoint-tmp'):
        assert f'{tmp_path / name} is no checkpoint and is ignored' in message
        assert (tmp_path / name).exists()
    assert sorted(p.name for p in (tmp_path / 'bad').iterdir()) == ['998', '999']


def test_a_step_damaged_twice_keeps_both_remains(tmp_path):
    for _ in range(2):
        checkpointer = save_steps(tmp_path, 1, 2)
        flip_a_bit(tmp_path / '2' / '_METADATA')
        assert_restores(checkpointer, 'latest', 1)
    assert sorted(p.name for p in (tmp_path / 'bad').iterdir()) == ['2', '2.1']


# Another training state


def test_mismatch_names_the_leaves_both_ways(tmp_path):
    checkpointer = save_steps(tmp_path, 1)
    other = make_state(1)
    del other.params['conv']
    other.params['score'] = jnp.zeros((1, 1, 21))
    other.params['head']['bias'] = other.params['head']['bias'].astype(jnp.float32)
    other = other._replace(key=jnp.zeros((3, 2), jnp.uint32))

    with pytest.raises(UserError) as caught:
        checkpointer.restore(like=abstract(other))

    lines = str(caught.value).splitlines()
    assert '  only there: params/conv/kernel float32(3, 3, 2, 4)' in lines
    assert '  only here:  params/score float32(1, 1, 21)' in lines
    assert '  differs:    params/head/bias is bfloat16(5) there, float32(5) here' in lines
    assert '  differs:    key is uint32(2) there, uint32(3, 2) here' in lines
    assert not any('opt_state' in line for line in lines)
    assert checkpointer.steps() == [1]  # it is not the checkpoint's fault


# Failing and dying


def test_a_failing_save_is_remembered_and_retried(tmp_path, monkeypatch, capsys):
    checkpointer = save_steps(tmp_path, 1)

    def no_space(*_, **__):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('segjax.train.checkpoint.write_manifest', no_space)
        checkpointer.save(2, make_state(2))
        checkpointer.mark_best(2, 0.9, 'mean_iou')
        checkpointer.wait()
    assert 'No space left' in checkpointer.failed
    assert 'WARNING' in capsys.readouterr().err
    assert checkpointer.steps() == [1] and checkpointer.best() is None
    assert_nothing_unfinished(tmp_path)
    assert_restores(checkpointer, 'latest', 1)

    checkpointer.save(3, make_state(3))
    assert checkpointer.mark_best(3, 0.1, 'mean_iou')  # 2 was better, but is lost
    checkpointer.wait()
    assert checkpointer.failed == '' and checkpointer.steps() == [1, 3]
    assert checkpointer.best().step == 3


def test_an_unwritable_place_does_not_stop_training(tmp_path):
    (tmp_path / 'file').write_text('')
    with Checkpointer(tmp_path / 'file' / 'checkpoints') as checkpointer:
        checkpointer.save(1, make_state(1))
    assert 'was not saved' in checkpointer.failed


WRITER = textwrap.dedent("""
    import resource
    import sys
    import jax.numpy as jnp
    import numpy as np
    from segjax.train.checkpoint import Checkpointer

    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    checkpointer = Checkpointer(sys.argv[1], keep=2)
    like = {'x': np.zeros((64, 1024), np.uint32), 'step': np.zeros((), np.int32)}
    found = checkpointer.restore(like=like)
    first = found[0] if found else 0
    for step in range(first + 1, 100_000):
        x = np.random.default_rng(step).integers(2**32, size=(64, 1024), dtype=np.uint32)
        checkpointer.save(step, {'x': jnp.asarray(x), 'step': jnp.int32(step)})
        checkpointer.mark_best(step, -abs(step - 3), 'metric')
        print(step, checkpointer.failed, flush=True)
""")


def start_writer(directory, *file_size_limit, **options):
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '1'}
    return subprocess.Popen(
        [sys.executable, '-c', WRITER, str(directory), *map(str, file_size_limit)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        **options,
    )


def test_kill_9_at_any_moment_leaves_a_consistent_directory(tmp_path):
    like = {'x': np.zeros((64, 1024), np.uint32), 'step': np.zeros((), np.int32)}
    reader = Checkpointer(tmp_path)
    random = np.random.default_rng(0)
    last = 0
    for _ in range(4):
        writer = start_writer(tmp_path)
        try:
            for _ in range(3):  # at least one is committed when the third begins
                assert writer.stdout.readline()
            time.sleep(random.uniform(0, 0.2))  # any moment: copying, writing, hashing, deleting
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()
        step, state = reader.restore(like=like)
        assert step > last and state['step'] == step
        content = np.random.default_rng(step).integers(2**32, size=(64, 1024), dtype=np.uint32)
        np.testing.assert_array_equal(state['x'], content)
        assert not (tmp_path / 'bad').exists()  # a kill is no damage
        last = step
    assert reader.best().step == 3 and 3 in reader.steps()
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(last + 1, like)
    assert_nothing_unfinished(tmp_path)
    assert len(checkpointer.steps()) == 3


def test_a_deletion_cut_short_is_finished_even_where_nothing_is_saved(tmp_path):
    doomed = tmp_path / '.deleting-3'
    doomed.mkdir()
    with Checkpointer(tmp_path, muted=True):
        pass
    assert doomed.is_dir()  # another process has charge of the directory
    with Checkpointer(tmp_path):
        pass
    assert not doomed.exists()


def test_leftovers_go_at_the_first_save_and_readers_leave_them(tmp_path, capsys):
    checkpointer = save_steps(tmp_path, 1)
    for name in ('.saving-8', '.saving-9.orbax-checkpoint-tmp', '.deleting-0'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '_METADATA').write_text('{}')

    reader = Checkpointer(tmp_path)  # it may read beside a training run that is just saving
    assert_restores(reader, 'latest', 1)
    assert len(list(tmp_path.glob('.*'))) == 3
    assert capsys.readouterr().err == ''

    save_steps(tmp_path, 2)
    assert_nothing_unfinished(tmp_path)
    assert checkpointer.steps() == [1, 2]


def test_a_file_size_limit_stops_saving_but_not_the_program(tmp_path):
    limit = 100_000  # bytes; a checkpoint of the writer has 262,144 that do not compress
    save_like_writer = {'x': jnp.zeros((64, 1024), jnp.uint32), 'step': jnp.int32(0)}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, save_like_writer)
    writer = start_writer(tmp_path, limit, stderr=subprocess.DEVNULL)
    try:
        lines = [writer.stdout.readline() for _ in range(3)]
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert lines[2].startswith('3 checkpoint') and 'was not saved' in lines[2]
    assert checkpointer.steps() == [0]
    assert checkpointer.restore(like=save_like_writer)[0] == 0


# Fingerprints


def test_state_hash_of_a_known_tree():
    expected = hashlib.sha256(b'["a/b", "uint8", [2]]\n\x01\x02').hexdigest()
    assert state_sha256({'a': {'b': np.array([1, 2], np.uint8)}}) == expected


def test_state_hash_ignores_where_and_how_the_leaves_are_kept():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = state_sha256({'b': x, 'a': np.float32(1)})
    assert state_sha256({'a': jnp.float32(1), 'b': jnp.asarray(x)}) == expected
    assert state_sha256({'a': np.float32(1), 'b': np.asfortranarray(x)}) == expected
    assert state_sha256({'a': np.float32(1), 'b': x.astype('>f4')}) == expected
    mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec('data')))
    assert state_sha256({'a': np.float32(1), 'b': sharded}) == expected


def test_state_hash_takes_the_leaves_by_path_not_by_position():
    class Pair(NamedTuple):
        second: Any
        first: Any

    as_dict = {'first': np.ones(2), 'second': np.zeros(3)}
    assert state_sha256(Pair(as_dict['second'], as_dict['first'])) == state_sha256(as_dict)


def test_state_hash_sees_every_difference():
    x = np.arange(4, dtype=np.float32)
    trees = [
        {'a': x},
        {'b': x},
        {'a': x.reshape(2, 2)},
        {'a': x.view(np.int32)},
        {'a': x.astype(jnp.bfloat16)},
        {'a': np.where(x == 0, np.float32(-0.0), x)},
        {'a': x, 'b': x[:0]},
        {'a': jax.random.key(0)},
        {'a': jax.random.key(1)},
        {'a': jax.random.key_data(jax.random.key(1))},
    ]
    assert len({state_sha256(tree) for tree in trees}) == len(trees)


def test_two_leaves_of_one_name_are_refused():
    with pytest.raises(ValueError, match='a/b'):
        state_sha256({'a': {'b': np.ones(1)}, 'a/b': np.ones(1)})
