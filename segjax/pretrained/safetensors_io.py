"""Weights in safetensors files: written whole or not at all, checked both ways when read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segjax.files import write_whole
from segjax.types import UserError

Variables = Mapping[str, Any]  # a nested dict with arrays at its leaves


def named_leaves(tree: Variables, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """The leaves of a nested dict under their paths, `params/conv/bias`.

    Raises:
      ValueError: a key contains a slash.
    """
    for key, value in tree.items():
        if '/' in key:
            raise ValueError(f'{prefix + key!r}: a name may not contain a slash')
        if isinstance(value, Mapping):
            yield from named_leaves(value, f'{prefix}{key}/')
        else:
            yield prefix + key, value


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `named_leaves`.

    Raises:
      ValueError: the names do not form a tree.
    """
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split('/')
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f'{name!r} lies below an array')
        if last in node:
            raise ValueError(f'{name!r} is both an array and a group')
        node[last] = leaf
    return tree


def load_flat(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of any safetensors file under the names it has.

    Raises:
      UserError: the file is not there, not readable or not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='numpy') as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f'there is no weights file {path}') from None
    except (SafetensorError, OSError) as error:
        raise UserError(
            f'{path} cannot be read as a safetensors file ({error}); '
            'it is damaged, cut off or of another kind: copy or download it again'
        ) from None


def save_variables(path: str | Path, variables: Variables) -> None:
    """Writes a nested dict of arrays; `{'params': {'conv': {'bias': x}}}` gives `params/conv/bias`.

    The file appears under its name only when it is complete. Empty dicts leave no trace.

    Args:
      path: the file to write; an existing one is replaced.
      variables: nested dict of NumPy or JAX arrays, any dtype but complex; bfloat16 stays so.

    Raises:
      ValueError: a key contains a slash.
      OSError: the disk is full or the folder not writable.
    """
    from safetensors.numpy import save

    # The library writes the memory of an array as it lies there, whatever its order: C it must be.
    arrays = {name: np.asarray(leaf, order='C') for name, leaf in named_leaves(variables)}
    write_whole(path, save(arrays))


def load_variables(path: str | Path) -> dict[str, Any]:
    """Reads what `save_variables` wrote: a nested dict of NumPy arrays.

    Raises:
      UserError: the file is missing, damaged, of another kind, or its names do not form a tree.
    """
    try:
        return nested(load_flat(path))
    except ValueError as error:
        raise UserError(f'the names in {path} do not form a tree: {error}') from None


def check_match(expected_tree: Variables, given_tree: Variables, *, source: str = 'file') -> None:
    """Compares names and shapes both ways; dtypes are left to the caller.

    Args:
      expected_tree: nested dict of anything with a shape: what the model needs.
      given_tree: nested dict of anything with a shape: what there is.
      source: what the message calls the given weights.

    Raises:
      UserError: names all missing, unexpected and misshapen arrays.
    """
    expected = {name: tuple(leaf.shape) for name, leaf in named_leaves(expected_tree)}
    given = {name: tuple(leaf.shape) for name, leaf in named_leaves(given_tree)}
    problems = [f'  missing: {n} {expected[n]}' for n in expected if n not in given]
    problems += [f'  unexpected: {n} {given[n]}' for n in given if n not in expected]
    problems += [
        f'  misshapen: {n}: the model has {expected[n]}, the {source} {given[n]}'
        for n in expected
        if n in given and expected[n] != given[n]
    ]
    if problems:
        raise UserError(
            '\n'.join([f'the weights of the {source} do not fit the model:', *problems])
            + '\nUse weights of this very model, or the model and fields they were made with.'
        )
