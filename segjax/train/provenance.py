"""What a result was made with: code, packages, devices, command."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets',
    'array_record', 'numpy', 'scipy', 'pillow', 'opencv-python-headless',
)  # fmt: skip


def _git(*arguments: str) -> str:
    """What git says of the repository; '' without git, or when it does not answer."""
    command = ['git', '-C', str(REPOSITORY), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ''
    return done.stdout.strip()


def git_revision() -> str:
    """The commit of the code, with '-dirty' when tracked files differ from it; '' when unknown.

    A repository that merely contains an installed segjax says nothing of it and is passed over.
    """
    top, _, sha = _git('rev-parse', '--show-toplevel', 'HEAD').partition('\n')
    if not sha or Path(top).resolve() != REPOSITORY:
        return ''
    return sha + ('-dirty' if _git('status', '--porcelain', '--untracked-files=no') else '')


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that a result may depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def devices() -> dict[str, Any]:
    """Platform, kind and number of the devices that JAX sees."""
    import jax

    found = jax.devices()
    return {'platform': found[0].platform, 'kind': found[0].device_kind, 'count': len(found)}


def command() -> str:
    """The command that started this process, to paste into a shell."""
    return shlex.join(sys.orig_argv)


def now() -> str:
    """The local time to the second, with its offset."""
    return datetime.datetime.now().astimezone().isoformat(timespec='seconds')


def collect() -> dict[str, Any]:
    """Everything above, as JSON values."""
    return {
        'command': command(),
        'time': now(),
        'host': socket.gethostname(),
        'git_sha': git_revision(),
        'python': platform.python_version(),
        'system': platform.platform(),
        'versions': package_versions(),
        'devices': devices(),
    }


def _has_nvidia_card() -> bool:
    nodes = ('/proc/driver/nvidia/version', '/dev/nvidia0')
    return any(map(os.path.exists, nodes)) or shutil.which('nvidia-smi') is not None


def nvidia_hint() -> str:
    """How to make JAX see an NVIDIA card that it passes over; '' when there is nothing to mend."""
    import jax

    chosen = os.environ.get('JAX_PLATFORMS', '')  # whoever asks for the CPU gets it in silence
    if chosen == 'cpu' or jax.default_backend() != 'cpu' or not _has_nvidia_card():
        return ''
    return (
        'This machine has an NVIDIA card, but JAX sees only the CPU. To use the card: '
        "pip install -U 'jax[cuda13]>=0.10,<0.12' (jax[cuda12] for drivers older than 580)."
    )
