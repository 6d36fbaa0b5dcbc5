"""A network as ONNX through jax2onnx, and how far onnxruntime is from JAX.

jax2onnx wants other versions of what segjax stands on, so it lives in an environment of its own:

    python -m venv onnx && . onnx/bin/activate
    pip install jax2onnx onnxruntime jaxtyping safetensors opencv-python-headless pillow scipy
    python -m segjax.tools.onnx_export RUN --size=256x256 --output=network.onnx

The program takes a picture, float32 `1 h w c` in raw values (0..255), and gives probabilities
`1 h w k`; the size is fixed, and what 'zscore' normalises is for the caller to do. Detectors are
refused: how Mask R-CNN sorts, suppresses and gathers regions by computed indices has no ONNX form
that all runtimes agree on.

Tried with jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.31.1 on a CPU, random values, 64x96 pixels:
greatest difference of a probability 1.8e-7 for U-Net++, 6.0e-7 for FCN-8s; 1.2e-7 for DeepLabV3+
over MobileNetV2 with 64x64 pixels.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import segjax
from segjax import ops
from segjax.data import normalize
from segjax.evaluate import probabilities
from segjax.predictor import Predictor
from segjax.tasks import Semantic
from segjax.types import Array, UserError


def _network(predictor: Predictor):
    """The function to convert: a raw float picture `1 h w c` to probabilities `1 h w k`."""
    (network,), (variables,) = predictor.networks, predictor.variables
    task = network.task
    if not isinstance(task, Semantic):
        raise UserError(
            'a detector has no ONNX form that all runtimes agree on: it sorts, suppresses and '
            'gathers regions by computed indices. --mode=export writes it as a program of JAX.'
        )
    mean, std = normalize.statistics(network.normalize, np.uint8, channels=network.channels)

    def predict(image: Array) -> Array:
        normalized = ops.normalize(image, mean, std)
        size = image.shape[1:3]
        return probabilities(network.model, task, variables, normalized, size)

    return predict


def _plain(*arguments: Any, default: Callable, **others: Callable) -> Any:
    """`lax.platform_dependent` for ONNX, which knows no platforms."""
    del others
    return default(*arguments)


def convert(predictor: Predictor, size: tuple[int, int], path: str) -> float:
    """Write the file, run it on a smooth random picture, and return the greatest difference of a
    probability from JAX's."""
    predict = _network(predictor)
    to_onnx = importlib.import_module('jax2onnx').to_onnx
    runtime = importlib.import_module('onnxruntime')
    shape = (1, *size, predictor.channels)
    with mock.patch.object(jax.lax, 'platform_dependent', _plain):
        to_onnx(predict, inputs=[shape], return_mode='file', output_path=path)
    coarse = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, predictor.channels))
    image = np.asarray(jax.image.resize(coarse.astype(np.float32), shape, 'bilinear'))
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (found,) = session.run(None, {session.get_inputs()[0].name: image})
    expected = np.asarray(jax.jit(predict)(jnp.asarray(image)))
    return float(np.abs(found - expected).max())


def main(argv: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('run', help='directory of a finished run')
    parser.add_argument('--size', default='256x256', help='HEIGHTxWIDTH of the pictures')
    parser.add_argument('--output', default='network.onnx')
    arguments = parser.parse_args(argv)
    height, width = map(int, arguments.size.split('x'))
    try:
        difference = convert(segjax.load(arguments.run), (height, width), arguments.output)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{arguments.output}: greatest difference of a probability {difference:.2e}')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
