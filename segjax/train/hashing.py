"""Fingerprints: of a training state in memory, and of a checkpoint's files on disk."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax.files import write_whole

MANIFEST = 'manifest.json'


class DamageError(Exception):
    """A checkpoint whose files are not the ones that were written; the message names the file."""


def leaf_paths(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by path, like `params/conv1_1/kernel`, in the order of the tree.

    Raises:
      ValueError: two leaves share one path, as `{'a/b': x}` beside `{'a': {'b': y}}` would.
    """
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        if name in leaves:
            raise ValueError(f'two leaves of the tree are called {name!r}')
        leaves[name] = leaf
    return leaves


def _little_endian_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of an array in C order, little endian, as a flat uint8 array."""
    if array.dtype.byteorder == '>':
        array = array.astype(array.dtype.newbyteorder('<'))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _host_array(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; a typed random key as its uint32 data."""
    if isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if not leaf.is_fully_addressable and leaf.is_fully_replicated:
            leaf = leaf.addressable_data(0)
    return np.asarray(leaf)


def state_sha256(tree: Any) -> str:
    """SHA-256 of all leaves of a pytree: the same if and only if every bit is the same.

    The leaves are taken in the order of their path strings (see `leaf_paths`). Each gives one line
    of JSON `[path, dtype, shape]` and then its bytes, little endian, in C order. Where the leaves
    live (NumPy, one device, many) makes no difference, nor does the kind of the tree's nodes.

    Args:
      tree: a pytree of NumPy arrays, JAX arrays (addressable or replicated) or typed random keys.

    Returns:
      64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(leaf_paths(tree).items()):
        array = _host_array(leaf)
        header = [path, str(getattr(leaf, 'dtype', array.dtype).name), list(array.shape)]
        digest.update(json.dumps(header).encode() + b'\n')
        digest.update(_little_endian_bytes(array).data)
    return digest.hexdigest()


def _file_sha256(path: Path, *, sync: bool = False) -> str:
    """SHA-256 of a file; with `sync` the file is also forced out to the disk."""
    with path.open('rb') as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=1, sort_keys=True) + '\n'


def write_manifest(directory: Path, *, step: int, leaves: dict[str, list]) -> None:
    """Records size and SHA-256 of every file under `directory` in its `manifest.json`.

    Args:
      directory: a checkpoint whose files are all written; they are synced to the disk.
      step: the step of the checkpoint.
      leaves: {path: [dtype, shape]} of the arrays it holds, for `read_manifest`.
    """
    files = sorted(p for p in directory.rglob('*') if p.is_file() and p.name != MANIFEST)
    body = {'format': 1, 'step': step, 'leaves': leaves}
    body['files'] = {
        p.relative_to(directory).as_posix(): [p.stat().st_size, _file_sha256(p, sync=True)]
        for p in files
    }
    # The manifest guards itself too: a wrong shape in it must not pass for a wrong model.
    body['sha256'] = hashlib.sha256(_canonical(body).encode()).hexdigest()
    write_whole(directory / MANIFEST, _canonical(body).encode())


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a checkpoint: `format`, `step`, `leaves`, `files`.

    Raises:
      DamageError: it is missing or not as it was written. The files are not looked at.
    """
    path = directory / MANIFEST
    try:
        text = path.read_text()
        body = json.loads(text)
        digest = body.pop('sha256')
    except FileNotFoundError:
        raise DamageError(f'{path} is missing, so the checkpoint is not complete') from None
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamageError(f'{path} cannot be read ({type(error).__name__}: {error})') from None
    intact = hashlib.sha256(_canonical(body).encode()).hexdigest() == digest
    if not intact or _canonical({**body, 'sha256': digest}) != text:
        raise DamageError(f'{path} is not as it was written')
    return body


def verify_manifest(directory: Path) -> dict[str, Any]:
    """Reads every file of a checkpoint and compares it with the manifest, which is returned.

    Raises:
      DamageError: the manifest or a file is missing or differs; names the first such file.
    """
    body = read_manifest(directory)
    for name, (size, digest) in body['files'].items():
        path = directory / name
        try:
            found = path.stat().st_size
            if found != size:
                raise DamageError(f'{path} has {found:,} bytes instead of {size:,}')
            if _file_sha256(path) != digest:
                raise DamageError(f'the content of {path} has changed (sha256 differs)')
        except FileNotFoundError:
            raise DamageError(f'{path} is missing') from None
        except OSError as error:
            raise DamageError(f'{path} cannot be read ({error})') from None
    return body
