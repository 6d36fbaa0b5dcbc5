"""Which environments are a cluster, and which are not."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segjax.tools.local_cluster import free_port
from segjax.train import distributed
from segjax.train.distributed import find_cluster
from segjax.types import UserError

OWN = {
    'SEGJAX_COORDINATOR': '10.0.0.1:1234',
    'SEGJAX_NUM_PROCESSES': '4',
    'SEGJAX_PROCESS_ID': '3',
}
SLURM = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'node[1-2]',
    'SLURM_NTASKS': '2',
    'SLURM_PROCID': '0',
    'SLURM_LOCALID': '0',
}
OPEN_MPI = {'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911'}
POD = {'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '0'}
LONELY = """
from segjax.config import RunOptions
from segjax.train import distributed
with distributed.session(RunOptions(start_timeout=1)):
    raise SystemExit('not alone')
"""


@pytest.fixture(scope='module')
def lonely():
    """A process that waits for another, which never comes."""
    own = {**OWN, 'SEGJAX_COORDINATOR': f'127.0.0.1:{free_port()}', 'SEGJAX_PROCESS_ID': '0'}
    return subprocess.run(
        [sys.executable, '-c', LONELY],
        env={**os.environ, **own},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(autouse=True)
def no_devices(monkeypatch):
    """A machine without a TPU, and without any package beside those that are needed."""
    monkeypatch.setattr(distributed.Path, 'exists', lambda path: False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


def test_the_three_variables():
    assert find_cluster(OWN) == {
        'coordinator_address': '10.0.0.1:1234',
        'num_processes': 4,
        'process_id': 3,
    }
    # Whoever sets them means them, whatever else is there.
    assert find_cluster({**SLURM, **OWN}) == find_cluster(OWN)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'SEGJAX_PROCESS_ID': ''}, 'not set: SEGJAX_PROCESS_ID'),
        ({'SEGJAX_COORDINATOR': '10.0.0.1'}, 'HOST:PORT'),
        ({'SEGJAX_PROCESS_ID': '4'}, 'numbered from 0'),
        ({'SEGJAX_NUM_PROCESSES': 'two'}, 'numbered from 0'),
    ],
)
def test_three_variables_that_do_not_fit(change, message):
    with pytest.raises(UserError, match=message):
        find_cluster({**OWN, **change})


@pytest.mark.parametrize(
    'environment',
    [
        SLURM,
        {**SLURM, 'SLURM_STEP_NUM_TASKS': '2'},
        {**OPEN_MPI, 'OMPI_COMM_WORLD_SIZE': '2'},
        {'TPU_WORKER_HOSTNAMES': 'a,b'},
        {'TPU_PROCESS_ADDRESSES': 'a:8471,b:8471'},
    ],
)
def test_clusters_that_jax_knows_more_of(environment):
    assert find_cluster(environment) == {}


@pytest.mark.parametrize(
    'environment',
    [
        {},
        {**SLURM, 'SLURM_NTASKS': '1'},
        {**SLURM, 'SLURM_STEP_NUM_TASKS': '1'},  # a shell of salloc, within two tasks
        {name: text for name, text in SLURM.items() if name != 'SLURM_STEP_NODELIST'},  # sbatch
        {**OPEN_MPI, 'OMPI_COMM_WORLD_SIZE': '1'},
        {'TPU_WORKER_HOSTNAMES': 'localhost'},
        {'KUBERNETES_SERVICE_HOST': '10.0.0.1'},  # a notebook in a pod
    ],
)
def test_no_cluster(environment):
    assert find_cluster(environment) is None


def test_a_kubernetes_job_needs_its_package(monkeypatch):
    with pytest.raises(UserError, match=r'jax\[k8s\].*--distributed=off'):
        find_cluster(POD)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    assert find_cluster(POD) == {}


def test_a_tpu_without_a_metadata_server_is_alone(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    monkeypatch.setattr(distributed.Path, 'exists', lambda path: True)
    asked = []

    def refuse(request, timeout):
        asked.append((request.full_url, timeout))
        raise OSError('no route')

    monkeypatch.setattr(distributed.urllib.request, 'urlopen', refuse)
    assert find_cluster({}) is None
    assert len(asked) == 1 and asked[0][0].startswith('http://metadata.google.internal/')
    assert find_cluster({'TPU_SKIP_MDS_QUERY': '1'}) is None
    assert len(asked) == 1


def test_a_process_whose_others_never_come_says_so_and_ends(lonely):
    assert lonely.returncode == 1
    assert 'did not find one another: nothing in 1 s (--start_timeout)' in lonely.stderr
    assert 'Check failure' not in lonely.stderr
