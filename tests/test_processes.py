"""What processes tell one another arrives to the bit, and so do their mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from segjax import processes
from segjax.types import UserError

ROOT = Path(__file__).resolve().parents[1]


def exchange():
    """What each of two processes with two devices does; an assertion that fails ends it with 1."""
    from segjax.config import RunOptions
    from segjax.train import distributed

    def fail():
        raise UserError('process 0 is mistaken')

    with distributed.session(RunOptions()):
        me, count = processes.shard()
        assert count == 2 and len(processes.devices()) == 4
        assert [device.process_index for device in processes.devices()] == [0, 0, 1, 1]

        mine = {'counts': np.full(3 + me, 2**40 + me), 'name': np.array('abc')}
        mine |= {'more': np.zeros((0, 2))} if me else {}
        first, second = processes.gather(mine)
        assert first['counts'].tolist() == [2**40] * 3 and 'more' not in first
        assert second['counts'].tolist() == [2**40 + 1] * 4 and second['more'].shape == (0, 2)
        assert processes.gather_values({'me': me}) == [{'me': 0}, {'me': 1}]

        tree = {'zero': np.float32(-0.0), 'key': np.arange(6, dtype=np.uint32).reshape(2, 3)}
        tree |= {'half': np.full((2,), np.nan, np.float16), 'none': np.zeros((0, 4), np.float32)}
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
        made = processes.from_first(lambda: tree if me == 0 else None, like=like)
        for name, leaf in tree.items():
            assert made[name].shape == leaf.shape and made[name].dtype == leaf.dtype
            assert np.asarray(made[name]).tobytes() == leaf.tobytes()

        assert processes.on_first(lambda: [1, 'told', None, me]) == [1, 'told', None, 0]
        assert int(processes.start_maximum(15 * me)) == 15
        with pytest.raises(UserError, match='process 0 is mistaken'):
            processes.on_first(fail)
        fail()  # on both: said once


def test_two_processes():
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('JAX_COMPILATION_CACHE_DIR', None)
    cluster = [sys.executable, '-m', 'segjax.tools.local_cluster', '--processes=2', '--devices=2']
    ended = subprocess.run(
        [*cluster, '--', sys.executable, __file__],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert ended.returncode == 2, ended.stdout
    assert ended.stdout.count('error: process 0 is mistaken') == 1


def test_one_process_needs_nobody():
    arrays = {'x': np.arange(3)}
    assert processes.is_first() and processes.shard() == (0, 1)
    assert processes.gather(arrays) == [arrays]
    assert processes.gather_values([1]) == [[1]]
    assert processes.on_first(lambda: 'told') == 'told'
    tree = object()
    assert processes.from_first(lambda: tree, like=None) is tree


if __name__ == '__main__':
    exchange()
