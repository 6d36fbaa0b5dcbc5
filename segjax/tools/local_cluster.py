"""Several processes on one machine, as a cluster would start them.

    python -m segjax.tools.local_cluster --processes=2 -- python launch.py --exp=fcn8s_shapes

Every process gets the command, the address of process 0 on a free port, and its number; its lines
are printed behind that number. When one ends otherwise than by exit code 0, the others have
`--grace` seconds to end too; then they are killed. No process outlives this one, however it ends
(Linux).

    --processes=N        how many
    --devices=D          virtual CPU devices of each; without it, whatever JAX finds
    --grace=SECONDS      see above; 10
    --chaos=kill:1@20    once process 0 reports step 20 (see --log_every), do this to process 1:
                         kill (SIGKILL), stop (SIGSTOP, a machine that hangs) or term (SIGTERM)

The exit code is that of the first process that failed, 128 + N for one ended by signal N.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

SIGNALS = {'kill': signal.SIGKILL, 'stop': signal.SIGSTOP, 'term': signal.SIGTERM}
_PR_SET_PDEATHSIG = 1


class Chaos(NamedTuple):
    """A signal for one process, once a step is reported."""

    signal: signal.Signals
    rank: int
    step: int


def parse_chaos(text: str) -> Chaos:
    """`kill:1@20`. Raises argparse.ArgumentTypeError for anything else."""
    match = re.fullmatch(r'(kill|stop|term):(\d+)@(\d+)', text)
    if not match:
        raise argparse.ArgumentTypeError(f'{text!r}: takes kill|stop|term:PROCESS@STEP')
    return Chaos(SIGNALS[match[1]], int(match[2]), int(match[3]))


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def _die_with_parent() -> None:
    """In a new process: be killed when the one that started it is gone. Linux alone knows how."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Cluster:
    """The processes and what is said of them."""

    def __init__(self, command: Sequence[str], *, processes: int, devices: int, chaos: list[Chaos]):
        self._chaos = chaos
        self._printing = threading.Lock()
        address = f'127.0.0.1:{free_port()}'
        self._processes = [
            self._start(command, address, rank, processes, devices) for rank in range(processes)
        ]
        self._readers = [
            threading.Thread(target=self._read, args=(rank,)) for rank in range(processes)
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _start(
        command: Sequence[str], address: str, rank: int, processes: int, devices: int
    ) -> subprocess.Popen[str]:
        environment = os.environ | {
            'SEGJAX_COORDINATOR': address,
            'SEGJAX_NUM_PROCESSES': str(processes),
            'SEGJAX_PROCESS_ID': str(rank),
            'PYTHONUNBUFFERED': '1',
        }
        if devices:
            environment |= {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,  # a group of its own, to be ended with all its children
            preexec_fn=_die_with_parent,
        )

    def say(self, text: str) -> None:
        """A line, whole even when several speak at once."""
        with self._printing:
            print(text, flush=True)

    def _read(self, rank: int) -> None:
        stream = self._processes[rank].stdout
        assert stream is not None
        for line in stream:
            self.say(f'[{rank}] {line.rstrip()}')
            reported = re.match(r'step +(\d+)/', line)
            if rank == 0 and reported:
                self._strike(int(reported[1]))

    def _strike(self, step: int) -> None:
        for chaos in [each for each in self._chaos if each.step <= step]:
            self._chaos.remove(chaos)
            self.say(f'[cluster] {chaos.signal.name} for process {chaos.rank} at step {step}')
            self._processes[chaos.rank].send_signal(chaos.signal)

    def signal(self, number: int) -> None:
        """Sends a signal to every process."""
        for process in self._processes:
            process.send_signal(number)

    def wait(self, grace: float) -> int:
        """Waits for all, or for a failure and its grace period; the exit code."""
        failed, failed_at = None, 0.0
        while any(process.poll() is None for process in self._processes):
            time.sleep(0.05)
            if failed is None:
                failed, failed_at = self._first_failed(), time.monotonic()
            elif time.monotonic() - failed_at > grace:
                self.say(f'[cluster] ending what is left after {grace:g} s')
                break
        if failed is None:
            failed = self._first_failed()
        return 0 if failed is None else _code(self._processes[failed].returncode)

    def _first_failed(self) -> int | None:
        for rank, process in enumerate(self._processes):
            if process.poll():
                self.say(f'[cluster] process {rank} {_describe(process.returncode)}')
                return rank
        return None

    def kill(self) -> None:
        """Ends every process with all its children, and reads to the end what they said."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        for reader in self._readers:
            reader.join()


def _code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


def _describe(returncode: int) -> str:
    if returncode < 0:
        return f'was ended by {signal.Signals(-returncode).name}'
    return f'ended with exit code {returncode}'


def main(argv: Sequence[str]) -> int:
    """Runs the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m segjax.tools.local_cluster',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s --processes=N [options] -- COMMAND',
    )
    parser.add_argument('--processes', type=int, required=True)
    parser.add_argument('--devices', type=int, default=0)
    parser.add_argument('--grace', type=float, default=10.0)
    parser.add_argument('--chaos', type=parse_chaos, action='append', default=[])
    parser.add_argument('command', nargs='+')
    given = parser.parse_args(argv)
    if given.processes < 1 or any(chaos.rank >= given.processes for chaos in given.chaos):
        parser.error('--processes must be at least 1, and --chaos name one of them')
    cluster = Cluster(
        given.command, processes=given.processes, devices=given.devices, chaos=given.chaos
    )

    def hand_on(number: int, _frame: object) -> None:
        cluster.signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)  # a second one ends each process at once, as it would alone
    try:
        return cluster.wait(given.grace)
    finally:
        cluster.kill()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
