"""A cluster on one machine: what each process is told, and that none outlives the others."""

import os
import signal
import subprocess
import sys
import time

import pytest

from segjax.tools import local_cluster

HELLO = 'import os; print(*(os.environ[f"SEGJAX_{n}"] for n in ("PROCESS_ID", "NUM_PROCESSES")))'
SLEEP = 'import sys, time; print("step 20/30", flush=True); time.sleep(600)'


def run(program, *arguments):
    command = ['--processes=2', *arguments, '--', sys.executable, '-c', program]
    return subprocess.run(
        [sys.executable, '-m', 'segjax.tools.local_cluster', *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_each_process_is_told_its_number():
    ended = run(HELLO)
    assert ended.returncode == 0
    assert sorted(ended.stdout.splitlines()) == ['[0] 0 2', '[1] 1 2']


def test_one_that_fails_ends_the_others():
    fails = 'import os, sys, time; os.environ["SEGJAX_PROCESS_ID"] == "1" and sys.exit(3)\n'
    ended = run(fails + SLEEP, '--grace=0')
    assert ended.returncode == 3
    assert '[cluster] process 1 ended with exit code 3' in ended.stdout


@pytest.mark.parametrize(('name', 'code'), [('kill', 137), ('term', 143)])
def test_chaos_strikes_after_the_step(name, code):
    ended = run(SLEEP, f'--chaos={name}:1@15', '--grace=0')
    assert ended.returncode == code
    assert f'SIG{name.upper()} for process 1 at step 20' in ended.stdout


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends a child with its parent')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_cluster(number):
    program = f'import os; print("pid", os.getpid(), flush=True)\n{SLEEP}'
    command = ['--processes=2', '--grace=0', '--', sys.executable, '-c', program]
    cluster = subprocess.Popen(
        [sys.executable, '-m', 'segjax.tools.local_cluster', *command],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = []
    while len(pids) < 2:
        words = cluster.stdout.readline().split()
        pids += [int(words[2])] if words[1] == 'pid' else []
    assert all(map(is_alive, pids))
    cluster.send_signal(number)
    cluster.communicate()
    while any(map(is_alive, pids)):  # the kernel may take a moment
        time.sleep(0.01)
    assert cluster.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)


@pytest.mark.parametrize('text', ['kill:1', 'burn:1@20', 'kill:x@20'])
def test_chaos_that_says_nothing_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        local_cluster.main(['--processes=2', f'--chaos={text}', '--', os.devnull])
    assert 'takes kill|stop|term:PROCESS@STEP' in capsys.readouterr().err
