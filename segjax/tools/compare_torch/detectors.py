"""Mask R-CNN beside torchvision's: inference to detections, and training steps on a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from segjax.models import MaskRCNN
from segjax.pretrained import convert
from segjax.tasks import Instance
from segjax.tools.compare_torch import torch_side
from segjax.tools.compare_torch.agreement import Found, found_again
from segjax.tools.compare_torch.rates import rated
from segjax.tools.compare_torch.setting import Setting
from segjax.tools.compare_torch.training import OurTraining, TheirTraining
from segjax.tools.compare_torch.twins import mask_rcnn
from segjax.tools.race import race_against
from segjax.tools.torchvision_golden import weights
from segjax.types import Batch, Detections, Instances

SECONDS = {'inference': 20.0, 'train': 20.0}
SHARE = 0.95  # of the detections that both must find; rounding changes which box suppresses which
OBJECTS, MASK_SIDE = 8, 28  # of a picture in training


class Detector(NamedTuple):
    """A model, its twin, and the size of their pictures; RGB, or rather noise.

    Attributes:
      twin: makes torchvision's network.
      batch: images on a GPU.
    """

    model: MaskRCNN
    twin: Callable[[], Any]
    size: tuple[int, int] = (800, 1344)
    batch: int = 8


DETECTORS = {'maskrcnn_resnet50_fpn': Detector(MaskRCNN(91), partial(mask_rcnn.resnet50_fpn, 91))}


def compare_detector(
    detector: Detector, setting: Setting, *, trains: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """As `compare_network`; 'train' is there where it is asked for.

    Detections are compared in float32, whatever the setting. Losses are shown alone: the sides
    draw different anchors and regions.

    Raises:
      UserError: torchvision is missing.
      ValueError: the two sides compute different things.
    """
    net = detector.twin()
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    arrays = weights(shapes)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    variables = convert(detector.model, arrays, layout='torchvision', say=lambda text: None)
    twin = torch_side.place(mask_rcnn.MaskRCNN(net), setting)
    rng = np.random.default_rng(1)
    shape = (setting.images(detector.batch), *detector.size, 3)
    image = rng.standard_normal(shape, np.float32)
    theirs = torch_side.place(torch.from_numpy(image).permute(0, 3, 1, 2), setting)
    precise = 'highest' if setting.device == 'gpu' else None  # on a CPU every product is
    with torch_side.full_float32(), jax.default_matmul_precision(precise):
        _check(detector.model, variables, twin, image, theirs, say)
    model = detector.model.clone(dtype=setting.dtype)
    parts = {'inference': _race_inference(model, variables, twin, image, theirs, setting)}
    if trains:
        objects = random_objects(rng, shape[0], detector.size, detector.model.num_classes)
        ours = OurTraining(model, Instance(), variables, Batch(image, instances=objects))
        targets = [_target(objects, i, detector.size, setting) for i in range(shape[0])]
        parts['train'] = _race_training(ours, twin, theirs, targets, setting, say)
    torch_side.release()
    gc.collect()
    return rated(parts, model, shape, setting.dtype)


def _forward(model: MaskRCNN) -> Callable[[Any, jax.Array], Detections]:
    return jax.jit(lambda variables, x: model.apply(variables, x, train=False))  # type: ignore[return-value]


def _check(
    model: MaskRCNN,
    variables: Any,
    twin: mask_rcnn.MaskRCNN,
    image: np.ndarray,
    theirs: torch.Tensor,
    say: Callable[[str], None],
) -> None:
    """Raises ValueError where detections of the first picture are others."""
    with torch.inference_mode():
        (expected,) = twin.eval()(theirs[:1])
    found = jax.tree.map(np.asarray, _forward(model)(variables, jnp.asarray(image[:1])))
    here = found.valid[0]
    names = 'boxes', 'scores', 'labels'
    there = Found(*(torch_side.to_numpy(expected[name]) for name in names))
    ours = Found(*(x[0][here] for x in (found.boxes, found.scores, found.classes)))
    share = found_again(ours, there) if len(there.scores) else 0.0
    say(f'  {len(there.scores)} detections, of which {100 * share:.0f}% are found on both sides')
    if not share >= SHARE:
        raise ValueError('detections differ from those of Torch: nothing to compare')


def _race_inference(
    model: MaskRCNN,
    variables: Any,
    twin: mask_rcnn.MaskRCNN,
    image: np.ndarray,
    theirs: torch.Tensor,
    setting: Setting,
) -> dict[str, float]:
    """From pixels to boxes, classes, scores and masks of 28 x 28; weights are float32."""
    placed, ours = jax.tree.map(jnp.asarray, variables), jnp.asarray(image)
    forward, compiled = _forward(model), twin.compiled().eval()

    def run(net: mask_rcnn.MaskRCNN) -> Any:
        with torch_side.autocast(setting):
            return net(theirs)

    with torch.inference_mode():
        candidates = {
            'jax': lambda: jax.block_until_ready(forward(placed, ours)),
            'eager': torch_side.waiting(lambda: run(twin), setting),
            'compile': torch_side.waiting(lambda: run(compiled), setting),
        }
        return race_against(candidates, seconds=SECONDS['inference'])


def random_objects(
    rng: np.random.Generator, images: int, size: tuple[int, int], num_classes: int
) -> Instances:
    """Full boxes of a quarter of the shorter side, at random places and of random classes."""
    side, shape = min(size) // 4, (images, OBJECTS)
    corner = rng.integers(0, [size[1] - side + 1, size[0] - side + 1], (*shape, 2))
    return Instances(
        boxes=np.concatenate([corner, corner + side], axis=-1).astype(np.float32),
        classes=rng.integers(1, num_classes, shape, np.int32),
        masks=np.ones((*shape, MASK_SIDE, MASK_SIDE), np.uint8),
        crowd=np.zeros(shape, bool),
        valid=np.ones(shape, bool),
    )


def _target(
    objects: Instances, i: int, size: tuple[int, int], setting: Setting
) -> dict[str, torch.Tensor]:
    """The objects of a picture as torchvision has them; masks as large as the picture."""
    masks = np.zeros((OBJECTS, *size), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, objects.boxes[i].astype(int), strict=True):
        mask[y1:y2, x1:x2] = 1
    parts = {'boxes': objects.boxes[i], 'labels': objects.classes[i].astype(np.int64)}
    there = torch_side.device(setting)
    return {name: torch.from_numpy(x).to(there) for name, x in {**parts, 'masks': masks}.items()}


def _race_training(
    ours: OurTraining,
    twin: mask_rcnn.MaskRCNN,
    image: torch.Tensor,
    targets: list[dict[str, torch.Tensor]],
    setting: Setting,
    say: Callable[[str], None],
) -> dict[str, float]:
    def training(net: mask_rcnn.MaskRCNN) -> TheirTraining:
        loss = lambda: torch.stack(list(net(image, targets).values())).sum()
        return TheirTraining(net.parameters(), loss, setting)

    compiled, theirs = training(twin.compiled().train()), training(twin.train())
    say(f'  losses of different samples: {ours.step():.3g} here, {theirs.step():.3g} there')
    candidates = {'jax': ours.step, 'eager': theirs.step, 'compile': compiled.step}
    return race_against(candidates, seconds=SECONDS['train'])
