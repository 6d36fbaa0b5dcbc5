"""Several processes: the same training as one, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIELDS = (
    '--widths=2,4', '--padding=same', '--pad=constant', '--margin=0', '--size=16', '--crop=16',
    '--radius=2,6', '--num_train=24', '--num_val=9', '--num_steps=16', '--eval_every=8',
    '--learning_rate=1e-4',
)  # fmt: skip
OPTIONS = ('--checkpoint_every=3', '--log_every=1', '--tensorboard=false', '--pictures=false')


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A home directory of its own, so that programs compiled by one start serve the next."""
    return tmp_path_factory.mktemp('home')


def launch(
    home: Path, workdir: Path, *more: str, processes: int = 2, devices: int = 1, cluster=()
) -> subprocess.Popen:
    """launch.py in several processes, started."""
    command = [sys.executable, 'launch.py', '--exp=unet_shapes', f'--workdir={workdir}']
    command += [*FIELDS, *OPTIONS, *more]
    environment = {**os.environ, 'HOME': str(home)}
    environment.pop('JAX_COMPILATION_CACHE_DIR', None)
    environment['JAX_NUM_CPU_DEVICES'] = str(devices)
    if processes > 1:
        several = [f'--processes={processes}', f'--devices={devices}', *cluster, '--']
        command = [sys.executable, '-m', 'segjax.tools.local_cluster', *several, *command]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*args, code: int = 0, **kwargs) -> str:
    """What a launch says, after it ended with this exit code."""
    process = launch(*args, **kwargs)
    output, _ = process.communicate()
    assert process.returncode == code, output
    return output


def result(workdir: Path) -> dict:
    return json.loads((workdir / 'result.json').read_text())


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def steps(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdecimal())


@pytest.fixture(scope='module')
def pair(home, tmp_path_factory):
    """What two processes say that nobody disturbs, and their run."""
    workdir = tmp_path_factory.mktemp('pair')
    return run(home, workdir), workdir


@pytest.fixture(scope='module')
def alone(home, tmp_path_factory):
    """The run of a single process with two devices."""
    workdir = tmp_path_factory.mktemp('alone')
    run(home, workdir, processes=1, devices=2)
    return workdir


def test_two_processes_train_as_one(pair, alone):
    found, expected = lines(pair[1]), lines(alone)
    assert [(ln['step'], ln['split']) for ln in found] == [
        (ln['step'], ln['split']) for ln in expected
    ]
    # Every step's loss agrees, so every step saw the same images.
    losses = [[ln['loss'] for ln in run] for run in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(set(losses[0])) == len(losses[0])


def test_process_0_alone_speaks_and_writes(pair):
    spoken = [line[4:] for line in pair[0].splitlines() if line.startswith('[1]')]
    assert not [line for line in spoken if not re.match(r'segjax: |\[Gloo\]', line)]
    assert pair[0].count('step 16/16') == 1
    assert len(lines(pair[1])) == len({(ln['step'], ln['split']) for ln in lines(pair[1])})


def test_evaluation_is_the_same_to_the_last_bit(pair, alone, home):
    """Nine images: the last batch of two processes is not full."""
    arguments = ('--mode=eval', '--checkpoint=16')
    run(home, alone, *arguments, '--output=' + str(alone / 'one'), processes=1, devices=1)
    run(home, alone, *arguments, '--output=' + str(alone / 'two'))
    one, two = (json.loads((alone / name / 'eval.json').read_text()) for name in ('one', 'two'))
    assert one == two
    assert one['metrics']['val']['loss'] == result(alone)['metrics']['val']['loss']
    assert one['protocol']['images'] == 9


def test_a_signal_to_one_stops_both_and_a_crash_of_one_ends_both(pair, home, tmp_path):
    expected, workdir = result(pair[1]), tmp_path / 'run'
    said = run(home, workdir, cluster=['--chaos=term:1@2'], code=75)
    assert said.count('nothing is lost') == 1
    stopped_at = steps(workdir)[-1]
    assert 2 <= stopped_at < 16
    said = run(home, workdir, cluster=['--chaos=kill:1@11', '--grace=60'], code=137)
    assert f'Carrying on after step {stopped_at}.' in said
    assert 'process 0 lost contact with another one; the same command carries on' in said
    assert 'ending what is left' not in said  # the other one ended by itself
    run(home, workdir)
    assert result(workdir)['state_sha256'] == expected['state_sha256']
    assert result(workdir)['metrics'] == expected['metrics']


def test_mistakes_are_said_once(home, tmp_path):
    said = run(home, tmp_path, '--batch_size=3', code=2)
    assert said.count('error: ') == 1
    assert 'cannot be shared evenly by 2 devices' in said


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_other_and_the_run_resumes(pair, home, tmp_path):
    ends = {
        ('--heartbeat_timeout=5',): (134, 'stopped sending heartbeats'),  # JAX itself
        ('--step_timeout=25', '--heartbeat_timeout=300'): (1, 'no step was finished in 25 s'),
    }
    for options, (code, reason) in ends.items():
        chaos, workdir = ['--chaos=stop:1@4', '--grace=0'], tmp_path / options[0]
        assert reason in run(home, workdir, *options, cluster=chaos, code=code)
        run(home, workdir)
        assert result(workdir)['state_sha256'] == result(pair[1])['state_sha256']


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_ended_twenty_times_at_random_moments(home, tmp_path, number, record_property):
    """Each run is interrupted until it is through; together twenty times."""
    fields = ('--num_steps=60', '--eval_every=20')
    for attempt in ('cold', 'warm'):
        begin = time.monotonic()
        run(home, tmp_path / attempt, *fields)
        took = time.monotonic() - begin
    expected = result(tmp_path / 'warm')['state_sha256']
    chance, interrupted, whole = random.Random(int(number)), 0, 0
    while interrupted < 20:
        workdir = tmp_path / str(whole)
        process = launch(home, workdir, *fields, cluster=['--grace=30'])
        try:
            process.communicate(timeout=chance.uniform(0.2, 0.9) * took)
        except subprocess.TimeoutExpired:
            process.send_signal(number)  # SIGKILL takes the processes with it
        output, _ = process.communicate()
        assert process.returncode in (0, 75, -number, 128 + number), output
        if process.returncode == 0:
            assert result(workdir)['state_sha256'] == expected
            whole += 1
        else:
            interrupted += 1
    record_property('tries', interrupted)
    run(home, workdir, *fields)
    assert result(workdir)['state_sha256'] == expected
