"""Initial values for a model: --weights=NAME, RUN or FILE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from segjax.pretrained import table
from segjax.pretrained.convert import Say, fit, load_arrays
from segjax.pretrained.fetch import fetch
from segjax.pretrained.layouts import layout_of, name_map
from segjax.pretrained.safetensors_io import check_match, named_leaves, nested
from segjax.types import UserError

# What may differ between a run and a model that starts from it: the scores, whose shape depends on
# the classes, and FCN's skips (16s starts from 32s, 8s from 16s), which the coarser net has not.
REPLACEABLE = ('params/score*', 'params/upscore*')

Initial = Callable[[], Mapping[str, Any]]  # -> variables of the model as it begins


def load_weights(
    source: str,
    expected: dict[str, Any],
    *,
    initial: Initial | None = None,
    layout: str = '',
    say: Say = print,
) -> dict[str, Any]:
    """The variables of known weights, of a finished run or of a file, fitted to a model.

    Args:
      source: a name of `table.KNOWN`, which is downloaded once; a run directory (with `model/`) or
        a `model/` folder; a .safetensors file that segjax wrote; a .safetensors, .pth or .pt file
        in torchvision's layout or another of `layouts`; a .caffemodel. A run that is called as
        known weights are is written ./vgg16
      expected: variables with the shapes that the model needs.
      initial: gives the variables of a fresh model; heads of another number of classes and layers
        that `source` has not are taken from there. Without it every array must be in `source`.
      layout: of a file, a key of `layouts.LAYOUTS`; '' looks at its names.
      say: is told what is downloaded and what keeps its initial values.

    Raises:
      UserError: there is no such thing, it cannot be had or read, or its names and shapes differ
        from the model's.
    """
    if source in table.KNOWN:
        return _load_known(table.find(source), expected, initial, say)
    file = _find(source)
    arrays = load_arrays(file)
    if any(name.startswith('params/') for name in arrays):
        return _as_arrays(_fit_own(expected, arrays, initial, source=f'file {file}', say=say))
    of_caffe = file.suffix.lower() == '.caffemodel'
    layout = layout or ('caffe' if of_caffe else layout_of(arrays))
    variables = fit(
        expected,
        arrays,
        layout=layout,
        initial=_picking(initial),
        channel_order='bgr' if layout == 'caffe' else 'rgb',
        say=say,
    )
    return _as_arrays(variables)


def count_classes(source: str, expected: dict[str, Any], *, layout: str, num_classes: int) -> int:
    """For how many classes the heads of a file are made.

    Args:
      source: a file.
      layout: its, a key of `layouts.LAYOUTS`.
      expected: variables of a model of these widths, with `num_classes` classes.

    Returns:
      The length of the bias of the first head that the file has; `num_classes` where it has none,
      or is not of this network.

    Raises:
      UserError: it cannot be read.
    """
    arrays, leaves = load_arrays(_find(source)), dict(named_leaves(expected))
    counterparts = name_map(leaves, layout, arrays).counterparts
    heads = [
        arrays[there.name]
        for name, there in counterparts.items()
        if there.optional
        and there.name in arrays
        and name.endswith('/bias')
        and leaves[name].shape == (num_classes,)
    ]
    return len(heads[0]) if heads else num_classes


def _find(source: str) -> Path:
    """The file of a run, a folder or a path."""
    path = Path(source).expanduser()
    candidates = [path / 'model' / 'model.safetensors', path / 'model.safetensors', path]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise UserError(
            f'--weights={source}: neither known weights (--list_weights names them), nor a '
            '.safetensors, .pth or .caffemodel file, nor a finished run (a directory with '
            f'model/model.safetensors).{table.suggest(source)}'
        )
    return found


def require_weights(source: str) -> None:
    """Raises UserError where `source` is nothing that `load_weights` takes; reads no file."""
    if source not in table.KNOWN:
        _find(source)


def _load_known(
    known: table.KnownWeights, expected: dict[str, Any], initial: Initial | None, say: Say
) -> dict[str, Any]:
    if not known.url:
        raise UserError(
            f'{known.name}: there is no file of it to download; give one of your own by its path, '
            f'--weights=FILE, to predict --weights={known.name},FILE.'
        )
    file = fetch(known.url, sha256=known.sha256, say=say)
    if not known.sha256:
        say(f'{file} is taken as it is: its publisher names no SHA-256.')
    variables = fit(
        expected,
        load_arrays(file),
        layout=known.layout,
        initial=_picking(initial),
        drop=known.drop,
        channel_order=known.channel_order,
        say=say,
    )
    return _as_arrays(variables)


def _picking(initial: Initial | None):
    """Initial values of some arrays by name."""
    if initial is None:
        return None

    def pick(names):
        leaves = dict(named_leaves(initial()))
        return {name: leaves[name] for name in names}

    return pick


def _fit_own(
    expected: dict[str, Any],
    given: Mapping[str, np.ndarray],
    initial: Initial | None,
    *,
    source: str,
    say: Say,
) -> dict[str, Any]:
    """Variables that segjax saved; with `initial`, what is REPLACEABLE may differ."""
    leaves = dict(named_leaves(expected))
    fits = {n for n in given if n in leaves and given[n].shape == tuple(leaves[n].shape)}
    new = [] if initial is None else [n for n in leaves if n not in fits and _replaceable(n)]
    spare = [] if initial is None else [n for n in given if n not in fits and _replaceable(n)]
    kept = {name: array for name, array in given.items() if name not in spare}
    wanted = {name: leaf for name, leaf in leaves.items() if name not in new}
    try:
        tree = nested(kept)
    except ValueError as error:
        raise UserError(f'the names in the {source} do not form a tree: {error}') from None
    check_match(nested(wanted), tree, source=source)
    pick = _picking(initial)
    if new and pick is not None:
        layers = dict.fromkeys(name.partition('/')[2].rpartition('/')[0] for name in new)
        say('These layers start from their initial values: ' + ', '.join(layers) + '.')
        kept |= pick(new)
    return nested(kept)


def _replaceable(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in REPLACEABLE)


def _as_arrays(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _as_arrays(v) if isinstance(v, dict) else jnp.asarray(v) for k, v in tree.items()}
