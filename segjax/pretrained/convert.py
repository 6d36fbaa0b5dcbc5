"""Weights of other libraries: arrays by their names to the variables of a Flax model, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segjax.pretrained.caffe_file import load_caffe
from segjax.pretrained.layouts import Counterpart, name_map
from segjax.pretrained.safetensors_io import load_flat, named_leaves, nested
from segjax.pretrained.torch_file import load_torch
from segjax.types import UserError

ChannelOrder = Literal['rgb', 'bgr']
Say = Callable[[str], None]
Initial = Callable[[Collection[str]], Mapping[str, Any]]  # names -> initial values

# Names that other libraries save and no model here needs.
HARMLESS = (
    '*.num_batches_tracked',  # Torch counts the batches that a BatchNorm has seen
    'num_batches_tracked',
)


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays by name from a .safetensors, .pth, .pt or .caffemodel file; nothing is executed.

    Raises:
      UserError: there is no such file, it is of another kind, damaged, or not only arrays.
    """
    suffix = Path(path).suffix.lower()
    if suffix == '.safetensors':
        return load_flat(path)
    if suffix in ('.pth', '.pt'):
        return load_torch(path)
    if suffix == '.caffemodel':
        return load_caffe(path)
    raise UserError(f'{path}: weights are read from .safetensors, .pth, .pt and .caffemodel files')


def _image_kernel(kernel: np.ndarray, channels: int, order: ChannelOrder) -> np.ndarray:
    """The first kernel `o i h w` for an image of `channels` channels in RGB order.

    A picture of one channel equals one whose red, green and blue are that channel, so its kernel is
    the sum of the three.
    """
    if order == 'bgr' and kernel.shape[1] == 3:
        kernel = kernel[:, ::-1]
    if channels == 1 and kernel.shape[1] == 3:
        kernel = kernel.sum(axis=1, keepdims=True)
    return kernel


def _fit_one(
    array: np.ndarray, there: Counterpart, shape: tuple[int, ...], order: ChannelOrder
) -> np.ndarray | None:
    """Our array, or None when the shapes differ.

    A fully connected layer `o (i h w)` fits the convolution that it became: it is the same memory.
    """
    if there.first and array.ndim == 4:
        array = _image_kernel(array, shape[2], order)
    theirs = there.axes.their_shape(shape)
    rows = (theirs[0], math.prod(theirs[1:]))
    if array.shape != theirs and not (len(theirs) == 4 and array.shape == rows):
        return None
    return there.axes.to_ours(array, shape)


def _report(problems: list[str], layout: str) -> UserError:
    return UserError(
        '\n'.join([f'the weights do not fit the model in the layout {layout!r}:', *problems])
        + "\nUse weights of this architecture, widths and normalisation, or set the model's fields "
        'to theirs.'
    )


def _problem(name: str, there: Counterpart, shape: tuple[int, ...], arrays: Mapping) -> str:
    expected = there.axes.their_shape(shape)
    if there.name not in arrays:
        return f'  missing: {there.name} {expected}, for {name}'
    given = arrays[there.name].shape
    return f'  misshapen: {there.name}: {name} needs {expected}, the file has {given}'


def _say_initial(say: Say, left: Mapping[str, Counterpart], arrays: Mapping) -> None:
    """Which layers keep their initial values, and why."""
    layers: dict[str, str] = {}
    for name, there in left.items():
        path, _, leaf = name.partition('/')[2].rpartition('/')
        layers.setdefault(path, path)
        if leaf == 'kernel' and there.name in arrays:
            layers[path] = f'{path} (the file has another shape, {arrays[there.name].shape})'
    say('These layers start from their initial values: ' + ', '.join(layers.values()) + '.')


def fit(
    expected: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    layout: str,
    initial: Initial | None,
    drop: tuple[str, ...] = (),
    channel_order: ChannelOrder = 'rgb',
    say: Say = print,
) -> dict[str, Any]:
    """Variables shaped as `expected` from arrays in another library's layout.

    Args:
      expected: nested dict of anything with shape and dtype: what the model needs.
      arrays: by their names.
      layout: a key of `layouts.LAYOUTS`.
      initial: gives the values of heads and of layers that the file has not; None: refuse.
      drop: patterns (fnmatch) of their names to be taken as absent, ours then as new.
      channel_order: of the images the weights were trained on; see `convert`.
      say: is told, in one line, what keeps its initial values.

    Raises:
      UserError: names all arrays that are missing, unexpected, misshapen or not finite.
    """
    leaves = dict(named_leaves(expected))
    table = name_map(leaves, layout, arrays)
    arrays = {name: array for name, array in arrays.items() if not _matches(name, drop)}
    found: dict[str, np.ndarray] = {}
    left: dict[str, Counterpart] = {}
    problems = []
    for name, there in table.counterparts.items():
        shape = tuple(leaves[name].shape)
        given = arrays.get(there.name)
        array = None if given is None else _fit_one(given, there, shape, channel_order)
        if array is not None:
            found[name] = np.asarray(array, leaves[name].dtype, order='C')
            if not np.isfinite(found[name]).all():
                problems.append(f'  not finite: {there.name}')
        elif (there.optional or _matches(there.name, drop)) and initial is not None:
            left[name] = there
        else:
            problems.append(_problem(name, there, shape, arrays))
    known = {there.name for there in table.counterparts.values()} | table.aliases.keys()
    spare = [n for n in arrays if n not in known and not _matches(n, (*HARMLESS, *table.unused))]
    problems += [f'  unexpected: {name} {arrays[name].shape}' for name in spare]
    if problems:
        raise _report(problems, layout)
    if left and initial is not None:
        _say_initial(say, left, arrays)
        found |= {name: np.asarray(value) for name, value in initial(left.keys()).items()}
    return nested({name: found[name] for name in leaves})


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _image(model: Any, channels: int):
    """The shape of a small picture that the model takes."""
    import jax
    import jax.numpy as jnp

    size = model.input_size((64, 64)) if hasattr(model, 'input_size') else (64, 64)
    return jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)


def convert(
    model: Any,
    arrays: Mapping[str, np.ndarray],
    *,
    layout: str,
    channels: int = 3,
    channel_order: ChannelOrder = 'rgb',
    drop: tuple[str, ...] = (),
    say: Say = print,
) -> dict[str, Any]:
    """The variables of a Flax model from arrays in another library's layout.

    Heads of another number of classes and layers that the other library has not keep their initial
    values (of `jax.random.key(0)`), and `say` is told which. Everything else must be there, in its
    shape, and nothing else may be, but for `HARMLESS`.

    Args:
      model: a model or a backbone, `model.init(key, image, train=False)`.
      arrays: by their names there, as `load_arrays` gives them.
      layout: a key of `layouts.LAYOUTS`: 'torchvision', 'smp', ...
      channels: of the images of `model`. For 1 the first kernels of weights trained on RGB are
        summed over the colours, which is exact for grey pictures.
      channel_order: of the images that the weights were trained on. Pictures are RGB here; weights
        from Caffe, trained on BGR, need 'bgr', which turns the first kernel over. Such weights also
        expect other means and no division: normalisation is the data set's field.
      drop: patterns (fnmatch) of their names to be taken as absent, ours then as new:
        ('classifier.*',) for the encoder alone.
      say: prints, by default.

    Raises:
      UserError: names all arrays that are missing, unexpected, misshapen or not finite.
    """
    import jax
    import jax.numpy as jnp

    image = _image(model, channels)

    def init(key):
        return model.init(key, jnp.zeros(image.shape, image.dtype), train=False)

    def initial(names):
        # Compiled for these arrays alone: XLA leaves out the others, which may be gigabytes.
        pick = jax.jit(lambda key: {n: x for n, x in named_leaves(init(key)) if n in names})
        return pick(jax.random.key(0))

    variables = fit(
        jax.eval_shape(init, jax.random.key(0)),
        arrays,
        layout=layout,
        initial=initial,
        drop=drop,
        channel_order=channel_order,
        say=say,
    )
    return jax.tree.map(jnp.asarray, variables)


def export_arrays(
    model: Any,
    variables: Mapping[str, Any],
    *,
    layout: str,
    channel_order: ChannelOrder = 'rgb',
) -> dict[str, np.ndarray]:
    """The inverse of `convert`, to the bit: arrays by the other library's names, in its axes.

    Layers that the other library has not are exported under our own dotted names.

    Args:
      model: the model whose variables they are; named in messages.
      variables: nested dict of arrays.
      layout, channel_order: as in `convert`.

    Raises:
      UserError: the layout does not know such a model.
    """
    leaves = dict(named_leaves(variables))
    try:
        table = name_map(leaves, layout)
    except UserError as error:
        raise UserError(f'{type(model).__name__}: {error}') from None
    arrays = {}
    for name, there in table.counterparts.items():
        array = there.axes.to_theirs(np.asarray(leaves[name]))
        if there.first:
            array = np.ascontiguousarray(_image_kernel(array, array.shape[1], channel_order))
        arrays[there.name] = array
    return arrays | {alias: arrays[name] for alias, name in table.aliases.items()}
