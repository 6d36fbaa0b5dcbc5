"""A run stopped at any moment and started again by the same command ends with the same bits."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIELDS = (
    '--widths=4,4,4,4,4', '--fc_features=4', '--size=32', '--crop=32', '--radius=4,10',
    '--num_train=24', '--num_val=8', '--num_steps=60', '--eval_every=20', '--dropout=0.3',
)  # fmt: skip
OPTIONS = ('--checkpoint_every=7', '--log_every=5', '--tensorboard=false')


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A home directory of its own, so that programs compiled by one start serve the next."""
    return tmp_path_factory.mktemp('home')


def start(home: Path, workdir: Path, *prefix: str) -> subprocess.Popen:
    """The command, started; `prefix` are words before it."""
    environment = {**os.environ, 'HOME': str(home), 'JAX_PLATFORMS': 'cpu'}
    environment['JAX_NUM_CPU_DEVICES'] = '1'
    for name in ('JAX_COMPILATION_CACHE_DIR', 'XLA_FLAGS'):  # as a user has it
        environment.pop(name, None)
    command = [sys.executable, 'launch.py', '--exp=fcn8s_shapes', f'--workdir={workdir}']
    return subprocess.Popen(
        [*prefix, *command, *FIELDS, *OPTIONS],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def result(workdir: Path) -> dict:
    return json.loads((workdir / 'result.json').read_text())


@pytest.fixture(scope='module')
def uninterrupted(home, tmp_path_factory):
    """result.json and the duration of a run that nobody disturbs (its programs are compiled)."""
    for attempt in ('cold', 'warm'):
        workdir = tmp_path_factory.mktemp(attempt)
        begin = time.monotonic()
        process = start(home, workdir)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        took = time.monotonic() - begin
    return result(workdir), took, workdir


def test_a_compiled_program_from_the_cache_gives_the_same_bits(uninterrupted, home):
    expected, _, warm = uninterrupted
    cold = next(path for path in warm.parent.glob('cold*'))
    assert result(cold)['state_sha256'] == expected['state_sha256']
    assert any((home / '.cache/segjax/compiled').iterdir())


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_at_random_moments(uninterrupted, home, tmp_path, number):
    expected, took, reference = uninterrupted
    chance = random.Random(int(number))
    codes = []
    for _ in range(3):
        process = start(home, tmp_path)
        try:
            process.communicate(timeout=chance.uniform(0.35, 0.95) * took)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        output, _ = process.communicate()
        codes.append(process.returncode)
        assert process.returncode in (0, 75, -number), output
    for _ in range(2):  # a signal in the last moments may have come after the end
        process = start(home, tmp_path)
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert result(tmp_path)['state_sha256'] == expected['state_sha256'], codes
    assert result(tmp_path)['metrics'] == expected['metrics']
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    wanted = [json.loads(line) for line in (reference / 'metrics.jsonl').read_text().splitlines()]
    evaluated = lambda ls: [(ln['step'], ln['mean_iou']) for ln in ls if ln['split'] == 'val']
    assert evaluated(lines) == evaluated(wanted)
    assert not list((tmp_path / 'checkpoints').glob('.*'))


def test_sigterm_exits_75_and_says_how_to_go_on(home, tmp_path):
    process = start(home, tmp_path)
    for line in process.stdout:
        if line.startswith('step'):
            process.send_signal(signal.SIGTERM)
            break
    output, _ = process.communicate()
    assert process.returncode == 75, output
    assert 'same command' in output
    assert any(path.name.isdecimal() for path in (tmp_path / 'checkpoints').iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_twenty_signals_anywhere(uninterrupted, home, tmp_path, number, record_property):
    """Start-up, steps, saves, evaluation, the end: runs are stopped until 20 signals have hit."""
    expected, took, _ = uninterrupted
    chance = random.Random(100 + int(number))
    hits, finished, moments = 0, 0, collections.Counter()
    process = None
    while hits < 20 or process.returncode:
        process = start(home, tmp_path / str(finished))
        if hits < 20:
            try:
                process.communicate(timeout=chance.uniform(0.03, 0.97) * took)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
        output, _ = process.communicate()
        assert process.returncode in (0, 75, -number), output
        if process.returncode == 0:
            found = result(tmp_path / str(finished))
            assert found['state_sha256'] == expected['state_sha256'], moments
            assert found['metrics'] == expected['metrics']
            finished += 1
        else:
            hits += 1
            moments[_moment(output)] += 1
    record_property('tries', hits)
    record_property('note', f'{finished} runs; {_listed(moments)}')


def _moment(output: str) -> str:
    """What a stopped run was doing, by the last that it said."""
    lines = [line for line in output.splitlines() if not line.startswith(('Stopped', 'WARNING'))]
    last = lines[-1].split() if lines else ['nothing']
    known = {'step': 'steps', 'val': 'after an evaluation', 'Compiling;': 'compiling'}
    return known.get(last[0], 'start-up' if len(lines) < 9 else 'the end')


def _listed(moments: collections.Counter) -> str:
    return ', '.join(f'{count} in {moment}' for moment, count in moments.most_common())


def _can_mount() -> bool:
    """Whether this user may mount a file system that nobody else sees."""
    try:
        command = ['unshare', '-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


mounts = pytest.mark.skipif(not _can_mount(), reason='no file system can be mounted here')


@mounts
def test_a_read_only_directory_is_refused_before_anything_is_loaded(home, tmp_path):
    script = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    process = start(home, tmp_path, 'unshare', '-rm', 'sh', '-c', script, str(tmp_path))
    output, _ = process.communicate()
    assert process.returncode == 2, output
    assert 'Read-only file system' in output and '--workdir=DIR' in output
    assert 'data  ' not in output and 'Compiling' not in output


@pytest.mark.slow
@mounts
def test_a_full_disk_costs_checkpoints_but_no_training(uninterrupted, home, tmp_path):
    """The same command on a disk with more room completes the run, to the same bits."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=300k none "$0"; "$@"; echo "code $?"; '
        'mount -o remount,size=100m "$0"; "$@"; code=$?; '
        'cp "$0/run/result.json" "$0/.."; exit $code'
    )
    process = start(home, disk / 'run', 'unshare', '-rm', 'sh', '-c', script, str(disk))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert 'No space left' in output and 'code 2' in output and 'step 60/60' in output
    assert result(tmp_path)['state_sha256'] == uninterrupted[0]['state_sha256']
