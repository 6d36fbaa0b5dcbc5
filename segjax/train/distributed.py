"""The start and the end of a job of several processes.

Every process gets the same command. JAX connects them only where a cluster is really there, so that
a single process opens no port and asks no server; a process that fails leaves at once, since the
others would wait for it for ever.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import signal
import sys
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import jax

from segjax import config, processes
from segjax.config import RunOptions
from segjax.train import provenance
from segjax.train.screen import Screen
from segjax.types import UserError

OWN = ('SEGJAX_COORDINATOR', 'SEGJAX_NUM_PROCESSES', 'SEGJAX_PROCESS_ID')
_SLURM = (
    'SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID',
)  # fmt: skip
_METADATA = 'http://metadata.google.internal/computeMetadata/v1/instance/attributes/'

# How a collective fails that another process has left: the status in front of XLA's message. It may
# come as a JaxRuntimeError or as a ValueError.
_LOST = r'(UNKNOWN|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED): '


def _number(environment: Mapping[str, str], name: str) -> int:
    """A variable as a number, 0 when it is none."""
    text = environment.get(name, '')
    return int(text) if text.isdecimal() else 0


def _own(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the three variables of our own say. Raises UserError when they are not fit for use."""
    if missing := [name for name in OWN if not environment.get(name)]:
        raise UserError(f'Several processes need all of {", ".join(OWN)}; not set: {missing[0]}.')
    address, count, index = (environment[name] for name in OWN)
    host, _, port = address.rpartition(':')
    if not (host and port.isdecimal()):
        raise UserError(f'SEGJAX_COORDINATOR={address}: takes HOST:PORT, the same for all.')
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise UserError(
            f'SEGJAX_PROCESS_ID={index}, SEGJAX_NUM_PROCESSES={count}: N processes are numbered '
            'from 0 to N - 1.'
        )
    return {
        'coordinator_address': address,
        'num_processes': int(count),
        'process_id': int(index),
    }


def _tpu_workers(environment: Mapping[str, str]) -> int:
    """Hosts of the TPU slice that this machine is part of; 0 without a TPU."""
    for name in ('TPU_PROCESS_ADDRESSES', 'TPU_WORKER_HOSTNAMES'):
        if name in environment:
            return len(environment[name].split(','))
    has_tpu = any(Path(node).exists() for node in ('/dev/accel0', '/dev/vfio/0'))
    if not has_tpu or 'TPU_SKIP_MDS_QUERY' in environment or not importlib.util.find_spec('libtpu'):
        return 0
    request = urllib.request.Request(
        _METADATA + 'worker-network-endpoints', headers={'Metadata-Flavor': 'Google'}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return len(answer.read().decode().split(','))
    except (urllib.error.URLError, OSError):
        return 0  # a TPU that belongs to no cloud


def find_cluster(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of `jax.distributed.initialize`; None when this process is alone.

    A cluster is: the three variables SEGJAX_COORDINATOR, SEGJAX_NUM_PROCESSES and
    SEGJAX_PROCESS_ID; more than one process of an Open MPI or SLURM step; more than one worker of a
    TPU slice; an indexed Kubernetes job (JobSet).

    Raises:
      UserError: some of the variables are missing or wrong; Kubernetes without its package.
    """
    if any(name in environment for name in OWN):
        return _own(environment)
    if 'OMPI_MCA_orte_hnp_uri' in environment:
        return {} if _number(environment, 'OMPI_COMM_WORLD_SIZE') > 1 else None
    if all(name in environment for name in _SLURM):
        tasks = 'SLURM_STEP_NUM_TASKS' if 'SLURM_STEP_NUM_TASKS' in environment else 'SLURM_NTASKS'
        return {} if _number(environment, tasks) > 1 else None
    if _tpu_workers(environment) > 1:
        return {}
    if 'KUBERNETES_SERVICE_HOST' in environment and 'JOB_COMPLETION_INDEX' in environment:
        if importlib.util.find_spec('kubernetes') is None:
            raise UserError(
                'This is a Kubernetes job; several pods find one another with '
                "pip install 'jax[k8s]'. "
                'A single pod wants --distributed=off.'
            )
        return {}
    return None


def _lonely(reason: str) -> UserError:
    return UserError(
        f'The processes of this job did not find one another: {reason}. Are all started, do they '
        'reach the port of process 0, are proxy variables unset? See segjax/train/README.md; '
        '--distributed=off runs alone.'
    )


def _give_up(seconds: int) -> None:
    """Ends a process that waits for the others: JAX would abort it with a stack trace."""
    print(f'error: {_lonely(f"nothing in {seconds} s (--start_timeout)")}', file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def _start(options: RunOptions) -> None:
    """Connects the processes, where there are several.

    Raises UserError when that fails; where they wait in vain, ends the process with such a message.
    """
    cluster = find_cluster(os.environ) if options.distributed == 'auto' else None
    if cluster is None or jax.distributed.is_initialized():
        return
    jax.config.update('jax_enable_preemption_service', False)  # it would take SIGTERM from us
    both = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in both}  # for the wait
    timer = threading.Timer(options.start_timeout, _give_up, [options.start_timeout])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **cluster,
            initialization_timeout=options.start_timeout + 60,
            heartbeat_timeout_seconds=options.heartbeat_timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise _lonely(str(error).strip().splitlines()[0][:200]) from error
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _store() -> Any:
    """The memory that the processes of a job share: it works where collectives no longer do."""
    from jax._src.distributed import global_state

    return global_state.client


def _say_once(text: str) -> None:
    """Prints what may have gone wrong in every process, once for all of them."""
    key = f'segjax/said/{hashlib.sha256(text.encode()).hexdigest()}'
    try:
        _store().key_value_set(key, str(jax.process_index()))
    except jax.errors.JaxRuntimeError:
        return  # said already; or process 0 is gone and was the first to fail
    print(text, file=sys.stderr, flush=True)


def _say(error: BaseException) -> int:
    """Says why this process ends; the exit code."""
    index = jax.process_index()
    if isinstance(error, UserError):
        _say_once(f'error: {error}')
        return 2
    if isinstance(error, KeyboardInterrupt):
        _say_once('Stopped. The same command carries on.')
        return 75
    if re.match(_LOST, str(error)):
        reason = str(error).strip().splitlines()[0][:200]
        print(
            f'error: process {index} lost contact with another one; the same command carries on '
            f'from the last checkpoint ({reason})',
            file=sys.stderr,
        )
    else:
        print(f'process {index} failed:', file=sys.stderr)
        traceback.print_exception(error)
    return 1


def _leave(error: BaseException) -> NoReturn:
    """Ends a process of several that cannot go on: at once, as the others may be waiting for it."""
    code = _say(error)
    with suppress(jax.errors.JaxRuntimeError):  # the end of process 0 silences the others
        _store().wait_at_barrier('segjax/leave', 2000)
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


def check_same(experiment: Any) -> None:
    """Raises UserError when processes were started with other fields, or run other code."""
    own = {'code': provenance.git_revision(), **config.flatten(experiment)}
    everyone = processes.gather_values(own)
    for index, other in enumerate(everyone):
        if lines := config.diff(everyone[0], other):
            raise UserError(
                f'process {index} was started otherwise than process 0 (0 -> {index}):\n  '
                + '\n  '.join(lines)
                + '\nGive all processes the same command and the same code.'
            )


@contextmanager
def session(options: RunOptions, experiment: Any = None) -> Iterator[Screen]:
    """Around all of a mode that several processes may run together; the screen to speak on.

    Process 0 alone speaks. An exception that leaves the session ends a process of several at once,
    with the exit code it stands for; a UserError that all of them raise is said once.

    Raises UserError when the processes were not started alike with `experiment`, where it is given.
    """
    _start(options)
    if jax.process_count() == 1:
        yield Screen()
        return
    try:
        # Devices connect when they first speak, and on CPUs wait for one another 30 s at most: now,
        # while all processes are at the same place.
        processes.start_maximum(0).block_until_ready()
        if experiment is not None:
            check_same(experiment)
        with open(os.devnull, 'w') as nowhere:
            yield Screen() if processes.is_first() else Screen(nowhere, nowhere)
    except BaseException as error:
        _leave(error)
