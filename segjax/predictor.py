"""A network and its values at work on pictures, whatever their size.

Predictor finds the class of every pixel, by one network or several; Detector finds objects.
`loading.py` makes them of runs and files.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.data import normalize
from segjax.data.dataset import Info
from segjax.data.detection import DetectionEval
from segjax.data.images import read_image, with_channels
from segjax.data.pipeline import EvalPipeline
from segjax.evaluate import Inference, probabilities
from segjax.evaluate.blocks import predict_in_blocks
from segjax.evaluate.instance import rescale
from segjax.prediction import ObjectPrediction, Prediction, paint
from segjax.tasks import Instance, Semantic
from segjax.types import Array, Detections, UserError

File = str | Path
Size = tuple[int, int]

MAX_NAMED = 24  # classes that are named in a line
LIMIT = 2**27  # probabilities that are kept at once: 2048 x 2048 pixels of up to 32 classes


def abstract_variables(model: nn.Module, channels: int) -> dict[str, Any]:
    """The shapes and types of a model's variables."""
    size = getattr(model, 'input_size', lambda size: size)((64, 64))  # detectors take any
    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    init = lambda key: model.init(key, jnp.zeros(image.shape, image.dtype), train=False)
    return jax.eval_shape(init, jax.random.key(0))


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network and how a picture is put to it; what it learned is held beside it.

    Attributes:
      pipeline: size, tiles and orientations, as in evaluation.
      normalize, channels: of the data set it was trained on.
    """

    model: nn.Module
    task: Semantic | Instance
    pipeline: EvalPipeline
    normalize: str
    channels: int

    def feed(
        self, pixels: np.ndarray, moments: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """What the compiled network is given of a picture, or of a part that has its moments."""
        image = with_channels(pixels, self.channels)
        if self.normalize == 'zscore':
            image = normalize.zscore(image, moments)
        fill = normalize.fill(self.normalize, image.dtype, channels=self.channels)
        return self.pipeline.place_image(image, self.pipeline.canvas(image.shape[:2]), fill)

    def probabilities(self, variables: dict[str, Any], image: Array, canvas: Size) -> Array:
        """Of the canvas `h w k`, from what `feed` gave."""
        assert isinstance(self.task, Semantic)
        found = probabilities(
            self.model,
            self.task,
            variables,
            self._normalized(image),
            canvas,
            inference=Inference.of(self.pipeline),
        )
        return found[0]

    def detections(self, variables: dict[str, Any], image: Array, seen: Array) -> Detections:
        """Of one picture, whose part of the canvas is `seen`: height and width."""
        assert isinstance(self.task, Instance)
        image = self._normalized(image)
        found = self.task.predict(self.model, variables, image, sizes=seen[None])
        return jax.tree.map(lambda part: part[0], found)

    def _normalized(self, image: Array) -> Array:
        """`1 h w c`."""
        mean, std = normalize.statistics(self.normalize, image.dtype, channels=self.channels)
        return ops.normalize(image[None], mean, std)

    def without_rounding(self) -> Network:
        """The same for windows that are all of one size."""
        pipeline = dataclasses.replace(self.pipeline, round_to=1, round_extra=0)
        return dataclasses.replace(self, pipeline=pipeline)


def predict_canvas(
    networks: Sequence[Network],
    variables: Sequence[dict[str, Any]],
    images: Sequence[Array],
    canvases: Sequence[Size],
    keep: bool,
) -> tuple[Array, Array | None]:
    """Class ids and, where they are kept, probabilities, of the smallest of the canvases."""
    h, w = (min(sides) for sides in zip(*canvases, strict=True))
    found = [
        network.probabilities(own, image, canvas)[:h, :w]
        for network, own, image, canvas in zip(networks, variables, images, canvases, strict=True)
    ]
    mean = functools.reduce(operator.add, found) / len(found)
    ids = jnp.uint8 if mean.shape[-1] <= 256 else jnp.uint16
    return jnp.argmax(mean, axis=-1).astype(ids), mean if keep else None


class Predictor:
    """Predicts a picture by one network, or by the mean of the probabilities of several.

    What is found in a picture depends on nothing but the picture: each is computed by itself.

    Args:
      networks: trained on the same classes.
      variables: of each.
      name: what it is called.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        variables: Sequence[dict[str, Any]],
        info: Info,
        *,
        name: str,
    ):
        self.networks, self.info, self.name = tuple(networks), info, name
        self.channels = max(network.channels for network in networks)
        self.variables = jax.device_put(tuple(variables))
        self._windows = tuple(network.without_rounding() for network in networks)
        self._compiled = jax.jit(predict_canvas, static_argnums=(0, 3, 4))

    def predict(
        self, image: File | bytes | np.ndarray, *, probabilities: bool = False
    ) -> Prediction:
        """The class of every pixel of a picture, at its own size.

        Args:
          image: a file, the bytes of one, or an array `h w` or `h w c` of uint8, uint16 or float.
          probabilities: keep them, too; not of a picture that `is_large`.

        Raises:
          UserError: the file cannot be read, or the array is no picture.
        """
        pixels = self.read(image)
        if self.is_large(pixels.shape[:2]):
            label, kept = self._in_blocks(pixels), None
        else:
            label, kept = self._run(
                self.networks, self._feed(pixels), pixels.shape[:2], probabilities
            )
        return Prediction(pixels, label, kept, self.info)

    def show(self, image: File | bytes | np.ndarray) -> None:
        """Predict a picture and show it beside what was found."""
        self.predict(image).show()

    def read(self, image: File | bytes | np.ndarray) -> np.ndarray:
        """A picture as `predict` takes it, `h w c`. Raises UserError."""
        if isinstance(image, str | Path | bytes):
            return read_image(image, channels=self.channels)
        pixels = np.asarray(image)
        pixels = pixels.astype(np.float32) if pixels.dtype.kind == 'f' else pixels
        kinds = (np.uint8, np.uint16, np.float32)
        if pixels.ndim not in (2, 3) or pixels.dtype not in kinds or not pixels.size:
            raise UserError(
                f'an array {pixels.shape} of {pixels.dtype} is no picture: it must be h w or h w c '
                'of uint8, uint16 or float.'
            )
        return with_channels(pixels, self.channels)

    def is_large(self, size: Size) -> bool:
        """Whether a picture is predicted in blocks (evaluate/blocks.py), to bound the memory."""
        stretched = any(any(network.pipeline.stretch) for network in self.networks)
        return size[0] * size[1] * max(len(self.info.class_names), 32) > LIMIT and not stretched

    def _feed(self, pixels: np.ndarray) -> list[np.ndarray]:
        return [network.feed(pixels) for network in self.networks]

    def _run(
        self, networks: Sequence[Network], images: list[np.ndarray], size: Size, keep: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        canvases = tuple(network.pipeline.canvas(size) for network in networks)
        label, kept = self._compiled(networks, self.variables, images, canvases, keep)
        h, w = size
        return np.asarray(label)[:h, :w], np.asarray(kept)[:h, :w] if keep else None

    def _in_blocks(self, pixels: np.ndarray) -> np.ndarray:
        moments = [
            normalize.moments(with_channels(pixels, network.channels))
            if network.normalize == 'zscore'
            else None
            for network in self.networks
        ]

        def predict(window: np.ndarray) -> np.ndarray:
            images = [n.feed(window, m) for n, m in zip(self._windows, moments, strict=True)]
            return self._run(self._windows, images, window.shape[:2], False)[0]

        margin = max(network.model.margin for network in self.networks)
        return predict_in_blocks(pixels, predict, margin=margin)

    def __repr__(self) -> str:
        kinds = ', '.join(dict.fromkeys(type(n.model).__name__ for n in self.networks))
        number = f'{len(self.networks)} x ' if len(self.networks) > 1 else ''
        names = self.info.class_names
        more = f' and {len(names) - MAX_NAMED} more' if len(names) > MAX_NAMED else ''
        return f'<{number}{kinds} of {self.name}: {", ".join(names[:MAX_NAMED])}{more}>'


class Detector(Predictor):
    """Finds the objects in a picture, by one network."""

    def __init__(self, *args: Any, name: str):
        super().__init__(*args, name=name)
        if len(self.networks) > 1:
            raise UserError(f'{name}: detectors are not averaged; name one run.')
        self._detect = jax.jit(Network.detections, static_argnums=0)

    def predict(
        self, image: File | bytes | np.ndarray, *, probabilities: bool = False
    ) -> ObjectPrediction:
        """The objects in a picture, in its own pixels.

        Args:
          image: as for class maps.
          probabilities: must be False: detections have scores.

        Raises:
          UserError: the file cannot be read, the array is no picture, or `probabilities`.
        """
        if probabilities:
            raise UserError('--probabilities is for class maps; detections have scores.')
        pixels, (network,) = self.read(image), self.networks
        size, pipeline = pixels.shape[:2], network.pipeline
        assert isinstance(pipeline, DetectionEval)
        seen = pipeline.fitted(size)
        place = np.array(seen, np.int32)
        detections = self._detect(network, self.variables[0], network.feed(pixels), place)
        found = rescale(jax.tree.map(np.asarray, detections), seen, size)
        dropped = 0 if detections.dropped is None else int(detections.dropped)
        return ObjectPrediction(pixels, paint(found, size), None, self.info, found, dropped)


def make_predictor(
    networks: Sequence[Network], variables: Sequence[dict[str, Any]], info: Info, *, name: str
) -> Predictor:
    """A Detector of a network that finds objects; else a Predictor.

    Raises:
      UserError: there are several, and one finds objects.
    """
    detects = any(isinstance(network.task, Instance) for network in networks)
    return (Detector if detects else Predictor)(networks, variables, info, name=name)
