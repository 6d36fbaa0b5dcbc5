"""A network as one file that JAX runs without segjax.

    NAME.zip
      about.json     classes, palette, type and size of pictures, what comes out
      weights.npz    arrays by name
      ANY or HxW     programs, StableHLO by jax.export for CPU, NVIDIA and TPU:
                     (weights, picture `h w c`) -> class ids `h w`

Everything is inside a program: padding, resizing, normalisation, tiles, turned copies, argmax. The
weights are an argument, so that programs for several sizes share them. Of a detector:

      HxW            (weights, `h w c` with a picture in its upper left, the picture's height and
                     width) -> boxes, scores, classes, masks in their boxes, valid
      HxW.mask       (mask, box) -> the pixels of the object, bool `h w`
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from segjax.export import detections, labels
from segjax.files import write_whole
from segjax.models import UNetPlusPlus
from segjax.models.unetplusplus import prune
from segjax.predictor import Network, Predictor
from segjax.pretrained.safetensors_io import named_leaves
from segjax.tasks import Instance
from segjax.types import UserError

PLATFORMS = ('cpu', 'cuda', 'tpu')
LEAST_SIDE = 64  # of pictures of any size; below, the coarsest maps would have no pixel
ANY = tuple(f'{side} >= {LEAST_SIDE}' for side in ('h', 'w'))

Size = tuple[int, int]

OPEN = """\
import io, json, zipfile
import jax, jax.export, numpy as np

with zipfile.ZipFile('FILE') as file:
    about = json.loads(file.read('about.json'))
    weights = dict(np.load(io.BytesIO(file.read('weights.npz'))))
"""

LABELS = """\
    program = jax.export.deserialize(bytearray(file.read('PROGRAM')))
label = np.asarray(jax.jit(program.call)(weights, picture))  # h w, places in about['class_names']
"""

DETECTIONS = """\
    program = jax.export.deserialize(bytearray(file.read('PROGRAM')))
h, w, c = picture.shape
padded = np.zeros((HEIGHT, WIDTH, c), picture.dtype)
padded[:h, :w] = picture
found = jax.jit(program.call)(weights, padded, np.array([h, w], np.int32))
found = {name: np.asarray(part)[np.asarray(found['valid'])] for name, part in found.items()}
# boxes n 4: left, top, right, bottom; scores n; classes n, places in about['class_names']
"""

MASKS = """\
with zipfile.ZipFile('FILE') as file:
    paste = jax.jit(jax.export.deserialize(bytearray(file.read('PROGRAM.mask'))).call)
objects = zip(found['masks'], found['boxes'])
masks = [np.asarray(paste(mask, box))[:h, :w] for mask, box in objects]  # h w bool each
"""


def detector(predictor: Predictor) -> Network | None:
    """The network of a predictor that finds objects; None of one that gives class maps."""
    network = predictor.networks[0]
    return network if isinstance(network.task, Instance) else None


def _flat(variables: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The variables of all networks by name: NUMBER/params/..."""
    return {
        f'{i}/{name}': np.asarray(leaf)
        for i, own in enumerate(variables)
        for name, leaf in named_leaves(own)
    }


def _check(predictor: Predictor, sizes: Sequence[Size]) -> None:
    """Raises UserError for what one program cannot do."""
    if len({network.channels for network in predictor.networks}) > 1:
        raise UserError('the networks take pictures of different channels; export each by itself.')
    if sizes:
        return
    if detector(predictor):
        raise UserError(
            'a detector has no program for any size, as its anchors and regions are counted when '
            'it is made: name sizes with --sizes=480x640,640x480 (height x width); a program takes '
            'smaller pictures, too.'
        )
    for network in predictor.networks:
        how = network.pipeline
        if how.scale != 1 or any(how.stretch) or any(how.tile):
            raise UserError(
                'the network was evaluated on scaled, stretched or tiled pictures, whose program '
                'depends on their size: name sizes with --sizes=512x512,1024x768 (height x width).'
            )


def _program(function: Callable, *arguments: Any) -> export.Exported:
    """Of a function of arrays like these."""
    return export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)


def _label_programs(
    predictor: Predictor, weights: Any, sizes: Sequence[Size], dtype: str
) -> dict[str, bytes]:
    def made(*size: Any) -> bytes:
        picture = jax.ShapeDtypeStruct((*size, predictor.channels), np.dtype(dtype))
        return bytes(_program(labels.program(predictor), weights, picture).serialize())

    if sizes:
        return {f'{h}x{w}': made(h, w) for h, w in sizes}
    try:
        return {'ANY': made(*export.symbolic_shape('h, w', constraints=ANY))}
    # What a model makes of sides that are symbols: comparisons nobody can answer, unequal shapes.
    except (jax.errors.InconclusiveDimensionOperation, ValueError, TypeError) as error:
        raise UserError(
            'this network has no program for any size, as its layers compare sizes; name sizes '
            'with --sizes=512x512,1024x768 (height x width).'
        ) from error


def _detection_programs(
    network: Network, weights: Any, sizes: Sequence[Size], dtype: str
) -> dict[str, bytes]:
    found, place = {}, jax.ShapeDtypeStruct((2,), np.int32)
    for h, w in sizes:
        picture = jax.ShapeDtypeStruct((h, w, network.channels), np.dtype(dtype))
        detect = _program(detections.program(network), weights, picture, place)
        found[f'{h}x{w}'] = bytes(detect.serialize())
        given = jax.tree.unflatten(detect.out_tree, detect.out_avals)
        if 'masks' in given:
            mask = jax.ShapeDtypeStruct(given['masks'].shape[1:], np.float32)
            box = jax.ShapeDtypeStruct((4,), np.float32)
            found[f'{h}x{w}.mask'] = bytes(
                _program(detections.paste((h, w)), mask, box).serialize()
            )
    return found


def make_programs(
    predictor: Predictor, sizes: Sequence[Size], dtype: str = 'uint8'
) -> dict[str, bytes]:
    """{name: serialised program}: 'HxW' of each size, or 'ANY' without sizes; see the head.

    A program for any size is compiled once for each size it meets; pictures need LEAST_SIDE pixels
    a side.

    Raises:
      UserError: the networks cannot be exported so.
    """
    _check(predictor, sizes)
    abstract = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype)
    weights = jax.tree.map(abstract, _flat(predictor.variables))
    if network := detector(predictor):
        return _detection_programs(network, weights, sizes, dtype)
    return _label_programs(predictor, weights, sizes, dtype)


def recipe(file: str, predictor: Predictor, sizes: Sequence[Size]) -> str:
    """How to call the program for the first of the sizes, as a few lines of Python."""
    network, (height, width) = detector(predictor), sizes[0] if sizes else (0, 0)
    lines = OPEN + (DETECTIONS if network else LABELS)
    if network and network.model.with_mask:
        lines += MASKS
    name = f'{height}x{width}' if sizes else 'ANY'
    words = {'FILE': file, 'PROGRAM': name, 'HEIGHT': str(height), 'WIDTH': str(width)}
    for word, meant in words.items():
        lines = lines.replace(word, meant)
    return lines


def _about(
    predictor: Predictor, programs: Sequence[str], sizes: Sequence[Size], dtype: str
) -> dict[str, Any]:
    """What the programs need and give."""
    said = {
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
    network = detector(predictor)
    return said | detections.about(network, sizes) if network else said


def write_archive(
    path: Path, predictor: Predictor, *, sizes: Sequence[Size] = (), dtype: str = 'uint8'
) -> None:
    """Write the file that this module's head describes.

    Args:
      sizes: (height, width) of the pictures, for detectors of the largest; without, a program for
        any size.
      dtype: of the pictures: uint8, uint16 or float32.

    Raises:
      UserError: as make_programs.
      OSError: the file cannot be written.
    """
    programs = make_programs(predictor, sizes, dtype)
    arrays = io.BytesIO()
    np.savez(arrays, **_flat(predictor.variables))  # pyright: ignore[reportArgumentType]
    said = json.dumps(_about(predictor, [*programs], sizes, dtype), indent=1) + '\n'
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
