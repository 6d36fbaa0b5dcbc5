"""A network as one file that JAX runs without segjax.

    NAME.zip
      about.json     classes, palette, type and size of pictures, how to call
      weights.npz    arrays by name
      ANY or HxW     programs, StableHLO by jax.export for CPU, NVIDIA and TPU:
                     (weights, picture `h w c`) -> class ids `h w`

Everything is inside a program: padding, resizing, normalisation, tiles, turned copies, argmax. The
weights are an argument, so that programs for several sizes share them.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import operator
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from segjax.data import normalize
from segjax.files import write_whole
from segjax.models import UNetPlusPlus
from segjax.models.unetplusplus import prune
from segjax.predictor import Network, Predictor
from segjax.pretrained.safetensors_io import named_leaves, nested
from segjax.tasks import Semantic
from segjax.types import Array, UserError

PLATFORMS = ('cpu', 'cuda', 'tpu')
LEAST_SIDE = 64  # of pictures of any size; below, the coarsest maps would have no pixel

Size = tuple[int, int]

RECIPE = """\
import io, json, zipfile
import jax, jax.export, numpy as np

with zipfile.ZipFile('FILE') as file:
    about = json.loads(file.read('about.json'))
    weights = dict(np.load(io.BytesIO(file.read('weights.npz'))))
    program = jax.export.deserialize(bytearray(file.read('PROGRAM')))
label = np.asarray(jax.jit(program.call)(weights, picture))  # h w, places in about['class_names']
"""


def _standardize(image: Array) -> Array:
    """`data.normalize.zscore` on the device."""
    pixels = image.astype(jnp.float32)
    mean = jnp.mean(pixels, axis=(0, 1), keepdims=True)
    std = jnp.std(pixels, axis=(0, 1), keepdims=True)
    return (pixels - mean) / jnp.maximum(std, jnp.asarray(1e-8, jnp.float32))


def _fill(image: Array, canvas: tuple[Any, Any], color: Sequence[float]) -> Array:
    """The image in the upper left of a canvas of one colour."""
    h, w, _ = image.shape
    pads = ((0, canvas[0] - h), (0, canvas[1] - w))
    planes = [
        jnp.pad(image[:, :, c], pads, constant_values=np.asarray(value).astype(image.dtype))
        for c, value in enumerate(color)
    ]
    return jnp.stack(planes, axis=-1)


def _line_matrix(n: int, m: int, factor: int) -> np.ndarray:
    """How m pixels of a line are made of n, `m n`: means of blocks of `factor`, then bilinear."""
    blocks = -(-n // factor)
    means = np.zeros((blocks, n))
    np.add.at(means, (np.arange(blocks * factor) // factor, _clamped(blocks * factor, n)), 1)
    source = np.clip((np.arange(m) + 0.5) * n / m / factor - 0.5, 0, blocks - 1)
    low = np.floor(source).astype(int)
    high, share = np.minimum(low + 1, blocks - 1), source - low
    each = np.zeros((m, blocks))
    np.add.at(each, (np.arange(m), low), 1 - share)
    np.add.at(each, (np.arange(m), high), share)
    return (each @ means / factor).astype(np.float32)


def _clamped(number: int, n: int) -> np.ndarray:
    """0, 1, ... for a line of n pixels whose last one is repeated."""
    return np.minimum(np.arange(number), n - 1)


def _resample(image: Array, size: Size) -> Array:
    """data.resample.warp_image of the whole picture, but for roundings: within a grey level."""
    (h, w), (new_h, new_w) = image.shape[:2], size
    factor = max(1, int((h * w / (new_h * new_w)) ** 0.5 + 1e-6))
    rows, columns = _line_matrix(h, new_h, factor), _line_matrix(w, new_w, factor)
    found = jnp.einsum('ih,hwc,jw->ijc', rows, image.astype(jnp.float32), columns)
    return jnp.rint(found).astype(image.dtype) if image.dtype.kind in 'iu' else found


def _feed(network: Network, image: Array, canvas: tuple[Any, Any]) -> Array:
    """`Network.feed` on the device."""
    image = _standardize(image) if network.normalize == 'zscore' else image
    color = normalize.fill(network.normalize, image.dtype, channels=network.channels)
    color = np.rint(color).tolist() if image.dtype.kind in 'iu' else color
    h, w = image.shape[:2]
    if network.pipeline.scale == 1 and not any(network.pipeline.stretch):
        return _fill(image, canvas, color)
    size = network.pipeline.view((h, w), canvas).size
    pads = ((0, canvas[0] - h), (0, canvas[1] - w), (0, 0))
    found = _resample(jnp.pad(image, pads, mode='edge'), size)
    shown = (h * size[0] / canvas[0], w * size[1] / canvas[1])  # of the picture in its canvas
    centres = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in size)
    inside = [centre <= limit for centre, limit in zip(centres, shown, strict=True)]
    picture = (inside[0][:, None] & inside[1][None, :])[:, :, None]
    return jnp.where(picture, found, jnp.asarray(color, image.dtype)[None, None])


def _flat(variables: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The variables of all networks by name: NUMBER/params/..."""
    return {
        f'{i}/{name}': np.asarray(leaf)
        for i, own in enumerate(variables)
        for name, leaf in named_leaves(own)
    }


def program(predictor: Predictor) -> Callable[[dict[str, Array], Array], Array]:
    """(weights by name, picture `h w c`) -> class ids `h w`, as `predictor.predict` finds them."""

    def predict(weights: dict[str, Array], image: Array) -> Array:
        h, w = image.shape[:2]
        each = nested(weights)
        found = []
        for i, network in enumerate(predictor.networks):
            canvas = network.pipeline.canvas((h, w))
            fed = _feed(network, image, canvas)
            found.append(network.probabilities(each[str(i)], fed, canvas)[:h, :w])
        mean = functools.reduce(operator.add, found) / len(found)
        ids = jnp.uint8 if mean.shape[-1] <= 256 else jnp.uint16
        return jnp.argmax(mean, axis=-1).astype(ids)

    return predict


def _check(predictor: Predictor, sizes: Sequence[Size]) -> None:
    """Raises UserError for what one program cannot do."""
    if len({network.channels for network in predictor.networks}) > 1:
        raise UserError('the networks take pictures of different channels; export each by itself.')
    for network in predictor.networks:
        if not isinstance(network.task, Semantic):
            raise UserError('only networks that give class maps are exported, not detectors.')
        how = network.pipeline
        fixed = how.scale != 1 or any(how.stretch) or any(how.tile)
        if fixed and not sizes:
            raise UserError(
                'the network was evaluated on scaled, stretched or tiled pictures, whose program '
                'depends on their size: name sizes with --sizes=512x512,1024x768 (height x width).'
            )


def make_programs(
    predictor: Predictor, sizes: Sequence[Size], dtype: str = 'uint8'
) -> dict[str, bytes]:
    """{name: serialised program}: 'HxW' of each size, or 'ANY' without sizes.

    A program for any size is compiled once for each size it meets; pictures need LEAST_SIDE pixels
    a side.

    Raises:
      UserError: the networks cannot be exported so.
    """
    _check(predictor, sizes)
    abstract = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype)
    weights = jax.tree.map(abstract, _flat(predictor.variables))
    any_size = export.symbolic_shape(
        'h, w', constraints=[f'{side} >= {LEAST_SIDE}' for side in ('h', 'w')]
    )
    shapes = {f'{h}x{w}': (h, w) for h, w in sizes} or {'ANY': any_size}
    found = {}
    for name, size in shapes.items():
        picture = jax.ShapeDtypeStruct((*size, predictor.channels), np.dtype(dtype))
        try:
            made = export.export(jax.jit(program(predictor)), platforms=PLATFORMS)(weights, picture)
        except (jax.errors.InconclusiveDimensionOperation, jax.errors.ConcretizationTypeError) as e:
            raise UserError(
                'this network has no program for any size; name sizes with --sizes=512x512 '
                f'(height x width). {str(e).splitlines()[0]}'
            ) from e
        found[name] = bytes(made.serialize())
    return found


def recipe(file: str, sizes: Sequence[Size]) -> str:
    """How to call the program for the first of the sizes, as a few lines of Python."""
    name = f'{sizes[0][0]}x{sizes[0][1]}' if sizes else 'ANY'
    return RECIPE.replace('FILE', file).replace('PROGRAM', name)


def _about(predictor: Predictor, programs: Sequence[str], dtype: str) -> dict[str, Any]:
    """What the programs need and give."""
    return {
        'network': repr(predictor),
        'input': f'{dtype} h w {predictor.channels}',
        'output': 'h w, class ids',
        'programs': list(programs),
        'least_side': LEAST_SIDE if 'ANY' in programs else 1,
        'platforms': PLATFORMS,
        'jax': jax.__version__,
        'class_names': predictor.info.class_names,
        'palette': predictor.info.palette,
    }


def write_archive(
    path: Path, predictor: Predictor, *, sizes: Sequence[Size] = (), dtype: str = 'uint8'
) -> None:
    """Write the file that this module's head describes.

    Args:
      sizes: (height, width) of the pictures; without, a program for any size.
      dtype: of the pictures: uint8, uint16 or float32.

    Raises:
      UserError: as make_programs.
      OSError: the file cannot be written.
    """
    programs = make_programs(predictor, sizes, dtype)
    arrays = io.BytesIO()
    np.savez(arrays, **_flat(predictor.variables))  # pyright: ignore[reportArgumentType]
    said = json.dumps(_about(predictor, [*programs], dtype), indent=1) + '\n'
    content = {'about.json': said.encode(), 'weights.npz': arrays.getvalue(), **programs}
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    write_whole(path, file.getvalue())


def pruned(predictor: Predictor, depth: int) -> Predictor:
    """The predictor of the network that pruning leaves of a U-Net++.

    Raises:
      UserError: the model cannot be pruned, or not to this depth.
    """
    networks, variables = [], []
    for network, own in zip(predictor.networks, predictor.variables, strict=True):
        if not isinstance(network.model, UNetPlusPlus):
            raise UserError(f'--prune={depth}: only a U-Net++ can be pruned.')
        model, left = prune(network.model, own, depth)
        task = dataclasses.replace(network.task, head='main')
        networks.append(dataclasses.replace(network, model=model, task=task))
        variables.append(left)
    name = f'{predictor.name}, pruned to L{depth}'
    return Predictor(networks, variables, predictor.info, name=name)
