"""--mode=doctor: can this machine, or these processes together, do what a training needs?"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax import processes
from segjax.config import RunOptions
from segjax.files import write_whole
from segjax.train import distributed, provenance
from segjax.train.experiment import Experiment
from segjax.types import UserError

GIGABYTE = 1e9


class Finding(NamedTuple):
    """What a check found: `problem` is '' when all is well, else what is wrong and what helps."""

    fact: str
    problem: str = ''


def _devices() -> Finding:
    own = {'host': socket.gethostname(), 'kind': jax.local_devices()[0].device_kind}
    hosts = processes.gather_values({**own, 'count': jax.local_device_count()})
    fact = '\n'.join(
        f'process {i} on {h["host"]}: {h["count"]} x {h["kind"]}' for i, h in enumerate(hosts)
    )
    if len({(h['count'], h['kind']) for h in hosts}) > 1:
        return Finding(
            fact, 'the processes differ in their devices; a batch is cut into equal parts'
        )
    return Finding(fact)


def _sum() -> Finding:
    """Adds one number of each device up over all of them, twice: compiled, and in its own time."""
    found = processes.devices()
    cut = NamedSharding(Mesh(np.array(found), 'device'), P('device'))
    mine = [i + 1 for i, device in enumerate(found) if device.process_index == jax.process_index()]
    numbers = jax.make_array_from_process_local_data(cut, np.array(mine, np.int32))
    add = jax.jit(jnp.sum, out_shardings=NamedSharding(cut.mesh, P()))
    add(numbers).block_until_ready()
    begin = time.perf_counter()
    total = int(add(numbers))
    fact = f'{len(found)} devices in {1e3 * (time.perf_counter() - begin):.2f} ms'
    expected = len(found) * (len(found) + 1) // 2
    if total != expected:
        return Finding(fact, f'the sum is {total} instead of {expected}: the devices do not work')
    return Finding(fact)


def _software() -> Finding:
    own = {'python': platform.python_version(), **provenance.package_versions()}
    hosts = processes.gather_values(own)
    fact = ', '.join(f'{name} {own[name]}' for name in ('python', 'jax', 'jaxlib', 'flax'))
    other = {
        name for host in hosts for name in own.keys() | host if host.get(name) != own.get(name)
    }
    if other:
        return Finding(fact, f'versions differ between processes: {", ".join(sorted(other))}')
    return Finding(fact)


def _same(experiment: Experiment | None) -> Finding:
    code = processes.gather_values(provenance.git_revision())
    fact = code[0] or 'not in a git repository'
    try:
        if experiment is not None:
            distributed.check_same(experiment)
    except UserError as error:
        return Finding(fact, str(error))
    if len(set(code)) > 1:
        return Finding(fact, 'the processes run different code')
    return Finding(fact)


def _directory(workdir: Path) -> Finding:
    """Process 0 writes a file where runs are kept, and all look for it."""
    folder = next(
        path for path in (workdir.absolute(), *workdir.absolute().parents) if path.is_dir()
    )
    probe = folder / f'.segjax-doctor-{uuid.uuid4().hex}'

    def write() -> list[str]:
        try:
            write_whole(probe, probe.name.encode())
        except OSError as error:
            return [str(probe), f'{folder} cannot be written: {error.strerror}; see --workdir']
        return [str(probe), '']

    path, problem = processes.on_first(write)
    seen = processes.gather_values(Path(path).is_file())
    free = shutil.disk_usage(folder).free / GIGABYTE
    if processes.is_first():
        probe.unlink(missing_ok=True)
    fact = f'{folder}: {free:.0f} GB free'
    if not problem and not all(seen):
        fact += '; only process 0 sees it, which is enough to train'
    if not problem and free < 1:
        problem = f'{folder} has less than a gigabyte left'
    return Finding(fact, problem)


def _clocks() -> Finding:
    processes.gather_values(0)  # so that all look at the same time
    times = processes.gather_values(time.time())
    apart = max(times) - min(times)
    fact = f'{apart:.1f} s apart' if len(times) > 1 else time.strftime('%Y-%m-%d %H:%M:%S %z')
    return Finding(fact, 'the clocks of the hosts differ' if apart > 60 else '')


def _traps() -> Finding:
    """What makes trainings slow or hang without a word."""
    problems = [hint] if (hint := provenance.nvidia_hint()) else []
    proxies = sorted(name for name in os.environ if name.lower() in ('http_proxy', 'https_proxy'))
    if jax.process_count() > 1 and proxies:
        problems.append(f'unset {", ".join(proxies)}: processes may not find one another')
    everyone = [text for found in processes.gather_values(problems) for text in found]
    return Finding('none' if not everyone else '', '\n'.join(dict.fromkeys(everyone)))


def run(experiment: Experiment | None, options: RunOptions) -> int:
    """Check, print a line each; 0 when all is well, else 1."""
    checks: dict[str, Callable[[], Finding]] = {
        'devices': _devices,
        'sum': _sum,
        'software': _software,
        'code': lambda: _same(experiment),
        'runs': lambda: _directory(options.workdir),
        'clocks': _clocks,
        'traps': _traps,
    }
    problems = 0
    with distributed.session(options) as screen:
        for name, check in checks.items():
            found = check()
            problems += bool(found.problem)
            if found.fact:
                screen.facts({name: found.fact})
            if found.problem:
                screen.warn(f'{name}: {found.problem}')
        screen.line(
            'All is well.' if not problems else f'{problems} of {len(checks)} checks failed.'
        )
    return 1 if problems else 0
