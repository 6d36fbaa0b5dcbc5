"""From a finished run to predictions: `segjax.load(...)`.

    network = segjax.load('runs/unet_nuclei')
    found = network.predict('cells.png')
    found.label  # h w, class ids
    found.show()

It needs the model/ folder of a run and nothing else: no data, no experiment file. Networks that
others published are known by name: `segjax.load('deeplabv3_resnet50')`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import operator
import sys
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
from segjax.evaluate.instance import Found, as_coco, rescale
from segjax.known_networks import NETWORKS, ROUND_TO
from segjax.pretrained.initial import load_weights
from segjax.pretrained.table import KNOWN
from segjax.tasks import Instance, Semantic
from segjax.train.model_folder import find_model_folder, read_model_folder
from segjax.types import Array, Detections, UserError
from segjax.visualize import Row, abreast, framed, overlay, panel, png_bytes, resize_image
from segjax.visualize_instances import SURE, decoded, draw, found_objects

File = str | Path
Size = tuple[int, int]

LIMIT = 2**27  # probabilities that are kept at once: 2048 x 2048 pixels of up to 32 classes


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was found in a picture.

    Attributes:
      image: `h w c`, upright, as it was read.
      label: `h w`, class ids.
      probabilities: `h w k` float32 where they were asked for.
      info: names and colours of the classes.
    """

    image: np.ndarray = dataclasses.field(repr=False)
    label: np.ndarray = dataclasses.field(repr=False)
    probabilities: np.ndarray | None = dataclasses.field(repr=False)
    info: Info

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels of each class that occurs, the largest first."""
        counts = np.bincount(self.label.ravel(), minlength=len(self.info.class_names))
        order = np.argsort(-counts, kind='stable')
        return {self.info.class_names[i]: counts[i] / counts.sum() for i in order if counts[i]}

    def overlay(self) -> np.ndarray:
        """The label laid over the picture, uint8 `h w 3`."""
        return overlay(self.image, self.label, self.info.palette)

    def picture(self) -> np.ndarray:
        """The picture beside its prediction, with a legend, uint8 `h w 3`."""
        row = Row(self.image, None, self.label)
        return panel([row], class_names=self.info.class_names, palette=self.info.palette)

    def show(self) -> None:
        """Show `picture()`: in the notebook, or else in a window of the system's viewer."""
        ipython = sys.modules.get('IPython')
        if ipython is not None and ipython.get_ipython() is not None:
            importlib.import_module('IPython.display').display(self)
            return
        from PIL import Image

        Image.fromarray(self.picture()).show()

    def _repr_png_(self) -> bytes:
        return png_bytes(self.picture())


@dataclasses.dataclass(frozen=True)
class ObjectPrediction(Prediction):
    """What a detector found in a picture; everything in the picture's own pixels.

    `label` has, at each pixel, the class of the best of the objects that are drawn.

    Attributes:
      found: all detections, best first; masks as COCO's run lengths.
    """

    found: Found = dataclasses.field(repr=False)

    @property
    def boxes(self) -> np.ndarray:
        """`n 4`, left, top, right, bottom."""
        return self.found.boxes

    @property
    def scores(self) -> np.ndarray:
        """`n`, the best first."""
        return self.found.scores

    @property
    def classes(self) -> np.ndarray:
        """`n`, ids."""
        return self.found.classes

    @property
    def masks(self) -> list[np.ndarray]:
        """`h w` bool each; none of a detector without masks."""
        return decoded(self.found.masks)

    def as_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The detections in the form of COCO's results."""
        return as_coco(self.found, image_id)

    def overlay(self) -> np.ndarray:
        """The objects drawn into the picture, each in a colour of its own, at the size at which
        it is well seen: a whole multiple or fraction of its own; uint8 `h w 3`."""
        size = self.image.shape[0], self.image.shape[1]
        return draw(self.image, found_objects(self.found, size, self.info.class_names))

    def picture(self) -> np.ndarray:
        """The picture beside its objects, uint8 `h w 3`."""
        found = self.overlay()
        plain = resize_image(self.image, (found.shape[0], found.shape[1]))
        return framed(abreast([plain, found], found.shape[1]))


def paint(found: Found, size: Size) -> np.ndarray:
    """The class of the best sure object at each pixel, `h w`; its box where it has no mask."""
    label = np.zeros(size, np.uint8)
    for i in np.flatnonzero(found.scores >= SURE)[::-1]:
        if found.masks is not None:
            label[decoded([found.masks[i]])[0]] = found.classes[i]
        else:
            left, top, right, bottom = np.rint(found.boxes[i]).astype(int)
            label[top:bottom, left:right] = found.classes[i]
    return label


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
        return f'<{number}{kinds} of {self.name}: {", ".join(self.info.class_names)}>'


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
        return ObjectPrediction(pixels, paint(found, size), None, self.info, found)


def make_predictor(
    networks: Sequence[Network], variables: Sequence[dict[str, Any]], info: Info, *, name: str
) -> Predictor:
    """A Detector of a network that finds objects; else a Predictor.

    Raises:
      UserError: there are several, and one finds objects.
    """
    detects = any(isinstance(network.task, Instance) for network in networks)
    return (Detector if detects else Predictor)(networks, variables, info, name=name)


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


def abstract_variables(model: nn.Module, channels: int) -> dict[str, Any]:
    """The shapes and types of a model's variables."""
    size = getattr(model, 'input_size', lambda size: size)((64, 64))  # detectors take any
    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    init = lambda key: model.init(key, jnp.zeros(image.shape, image.dtype), train=False)
    return jax.eval_shape(init, jax.random.key(0))


def _load_known(name: str) -> tuple[Network, dict[str, Any], Info]:
    model, info = NETWORKS[name]
    pipeline = EvalPipeline(round_to=ROUND_TO)
    network = Network(model, Semantic(), pipeline, KNOWN[name].preprocessing, channels=3)
    return network, load_weights(name, abstract_variables(model, 3)), info


def _load(source: File) -> tuple[Network, dict[str, Any], Info]:
    if source in NETWORKS:
        return _load_known(str(source))
    folder = find_model_folder(source)
    if folder is None:
        raise UserError(
            f'{source}: neither a finished run, which is a directory with model/model.json, nor a '
            f'network known by name: {", ".join(NETWORKS)}.'
        )
    said = read_model_folder(folder)
    network = Network(said.model, said.task, said.pipeline, said.normalize, said.channels)
    expected = abstract_variables(said.model, said.channels)
    return network, load_weights(str(folder.absolute()), expected), said.info


def load(*sources: File) -> Predictor:
    """A predictor of a finished run; of several, the mean of their probabilities.

    Args:
      sources: run directories (`runs/unet_nuclei`, or `unet_nuclei` for short), their model/
        folders or a file in one; or networks of `known_networks.NETWORKS` by name, whose weights
        are downloaded once.

    Raises:
      UserError: there is no such run or network, it is damaged, their classes differ, or one of
        several finds objects.
    """
    if not sources:
        raise UserError('Which run? segjax.load(RUN) takes the directory of a finished training.')
    networks, variables, infos = zip(*map(_load, sources), strict=True)
    for source, info in zip(sources, infos, strict=True):
        if info.class_names != infos[0].class_names:
            raise UserError(
                f'{source} was trained on other classes than {sources[0]}; '
                'only networks of the same classes can be averaged.'
            )
    name = ', '.join(map(str, sources))
    return make_predictor(networks, variables, infos[0], name=name)
