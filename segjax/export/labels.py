"""Class maps as a program: `Predictor.predict` on the device."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from segjax.export.feed import fill_color, inside, resample, standardize
from segjax.predictor import Network, Predictor
from segjax.pretrained.safetensors_io import nested
from segjax.types import Array


def feed(network: Network, image: Array, canvas: tuple[Any, Any]) -> Array:
    """`Network.feed` of a picture `h w c`, whose size may be symbols where nothing is resized."""
    image = standardize(image) if network.normalize == 'zscore' else image
    color = fill_color(network, image.dtype)
    h, w, channels = image.shape
    pads = ((0, canvas[0] - h), (0, canvas[1] - w), (0, 0))
    if network.pipeline.scale == 1 and not any(network.pipeline.stretch):
        beyond = jnp.broadcast_to(color, (*canvas, channels))
        return jnp.where(inside(canvas, (h, w)), jnp.pad(image, pads), beyond)
    size = network.pipeline.view((h, w), canvas).size
    factor = max(1, int((canvas[0] * canvas[1] / (size[0] * size[1])) ** 0.5 + 1e-6))
    found = resample(jnp.pad(image, pads, mode='edge'), size, canvas, size, factor)
    shown = (h * size[0] / canvas[0], w * size[1] / canvas[1])  # of the picture in its canvas
    return jnp.where(inside(size, shown), found, color)


def program(predictor: Predictor) -> Callable[[dict[str, Array], Array], Array]:
    """(weights by name, picture `h w c`) -> class ids `h w`, as `predictor.predict` finds them."""

    def predict(weights: dict[str, Array], image: Array) -> Array:
        h, w = image.shape[:2]
        each = nested(weights)
        found = []
        for i, network in enumerate(predictor.networks):
            canvas = network.pipeline.canvas((h, w))
            fed = feed(network, image, canvas)
            found.append(network.probabilities(each[str(i)], fed, canvas)[:h, :w])
        mean = functools.reduce(operator.add, found) / len(found)
        ids = jnp.uint8 if mean.shape[-1] <= 256 else jnp.uint16
        return jnp.argmax(mean, axis=-1).astype(ids)

    return predict
