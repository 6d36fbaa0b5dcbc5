"""The rules for objects with annotations in COCO's form: network, anchors, room for the objects.

Without --weights the network is small and begins anew, as that of maskrcnn_shapes; with weights it
is that of --like, whose first stages stay as they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from segjax.config import RunOptions
from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets.coco import CocoFolder
from segjax.data.detection import Size
from segjax.data.survey import Objects, survey_appearance, survey_objects
from segjax.data.transforms import ScaleJitter
from segjax.known_networks import NETWORKS
from segjax.models import MaskRCNN
from segjax.modes.new.plan import (
    BATCHES,
    Choice,
    Plan,
    choose_batch,
    choose_normalize,
    choose_transforms,
    describe_pictures,
    refuse_problems,
    round_up,
)
from segjax.modes.new.view import (
    FROM_SCRATCH,
    FROM_WEIGHTS,
    Begin,
    Data,
    View,
    choose_canvases,
    choose_eval_canvases,
    choose_view,
)
from segjax.optim import AdamW, WarmupCosine
from segjax.train.experiment import Experiment
from segjax.types import UserError

SHRINKABLE = 8  # pixels that small objects keep when pictures are scaled at random
PUBLISHED_ANCHORS = (32, 512)  # sides that COCO's detectors were trained to look for
LEAST_ANCHOR = 8
MAX_INSTANCES = 400  # each is compared with every anchor
MAX_DETECTIONS = 1000
MAX_CANDIDATES = 4096  # each is compared with every other
FEW_OBJECTS = 10
MAX_CLASSES = 20  # are listed


# --- Objects -------------------------------------------------------------------------------------


def choose_anchors(view: View, *, published: bool) -> tuple[tuple[int, ...], str]:
    """Five sides in equal ratios over those of the objects, or the published ones."""
    low, high = np.percentile(view.sides, (5, 95))
    what = f'sides of objects at this scale are {low:.0f} to {high:.0f}'
    least, greatest = PUBLISHED_ANCHORS
    if published and low >= least / 2 and high <= greatest:
        return (32, 64, 128, 256, 512), f'{what}: those that the weights know'
    middle = math.sqrt(low * high)
    reach = max(high / low, 4.0)  # alike objects, too, want a choice
    sizes: list[int] = []
    for i in range(5):
        size = max(round(middle * reach ** (i / 4 - 0.5) / 4) * 4, LEAST_ANCHOR)
        sizes.append(max(size, sizes[-1] + 4) if sizes else size)
    new = '; those of the weights are 32 to 512, they adapt' if published else ''
    return tuple(sizes), f'{what}{new}'


def _room(counts: np.ndarray, share: float) -> tuple[int, str]:
    """Places for the objects of a part of a picture: of the fullest, within MAX_INSTANCES."""
    most, usual = int(counts.max(initial=0)), np.percentile(counts, 99) if counts.size else 0
    room = min(max(round_up(most * share, 10), 10), MAX_INSTANCES)
    why = f'the fullest picture has {most} objects, 99% have at most {usual:.0f}'
    if room < most * share:
        return room, f'{why}; the smallest beyond {room} are cut, for the memory'
    return room, why


def choose_instances(data: Data, view: View, canvas: Size, jitter: float) -> tuple[int, str]:
    """So many that no object of a window is cut.

    Args:
      jitter: the least factor by which a picture is scaled beside, when a window shows most of it.
    """
    shares = np.minimum(np.array(canvas) / (view.sizes * jitter), 1).prod(axis=1)
    share = float(shares.max()) if shares.size else 1.0
    room, why = _room(data.train.counts, share)
    if share < 1:
        why += f', a window shows at most {100 * share:.0f}% of one'
    return room, why


def choose_max_detections(data: Data) -> tuple[int, str]:
    """Half as many again as there are objects in the fullest picture."""
    number = min(max(round_up(1.5 * data.most, 10), 20), MAX_DETECTIONS)
    return number, f'the fullest picture has {data.most} objects; the masks of all are computed'


def _object_choices(data: Data, begin: Begin) -> Iterator[Choice]:
    """Everything whose size follows from the number of objects."""
    detections, why = choose_max_detections(data)
    proposals = max(begin.proposals, 2 * detections)
    crowded = proposals > begin.proposals
    why_proposals = f'twice the {detections} detections' if crowded else 'a small network needs few'
    if begin is FROM_SCRATCH or crowded:
        for name in ('pre_nms_train', 'pre_nms'):
            yield Choice(f'model.{name}', proposals, f'of each level, {why_proposals}')
        for name in ('post_nms_train', 'post_nms'):
            yield Choice(f'model.{name}', proposals, f'of all levels, {why_proposals}')
    yield Choice('model.max_detections', detections, why)
    classes = len(data.report.class_names) - 1
    wanted = proposals * classes, max(1000, 10 * detections), MAX_CANDIDATES
    why = f'of {proposals} proposals for each class; all are compared with one another'
    yield Choice('model.detection_candidates', min(wanted), why)
    room, why = _room(data.val.counts, 1.0)
    yield Choice('eval.instances', room, f'in val {why}')
    dets = (1, 10, max(100, detections))
    yield Choice('eval.max_dets', dets, "the last holds for AP; COCO's is 100")


# --- Training ------------------------------------------------------------------------------------


def choose_steps(pictures: np.ndarray, canvas: Size, batch: int, begin: Begin) -> tuple[int, str]:
    """`begin.passes` over the pictures, which are `n 2` large, within `begin.steps`."""
    windows = np.maximum(pictures.prod(axis=1) / math.prod(canvas), 1).sum()
    one_pass = windows / batch
    steps = min(max(round_up(begin.passes * one_pass, 50), begin.steps[0]), begin.steps[1])
    why = f'about {steps / one_pass:.0f} passes over {len(pictures)} pictures; more where the '
    return steps, why + 'curve of val still rises at the end'


def _transforms(experiment: Experiment, view: View) -> Iterator[Choice]:
    """What is there; small objects are not shrunk by half."""
    transforms = experiment.train.transforms
    yield Choice('train.transforms', *choose_transforms(experiment))
    small = float(np.percentile(view.sides, 10))
    for i, transform in enumerate(transforms):
        if not isinstance(transform, ScaleJitter):
            continue
        low, why = transform.low, f'small objects of {small:.0f} pixels can be shrunk'
        if small * low < SHRINKABLE:
            low, why = max(low, 0.75), f'small objects have but {small:.0f} pixels'
        yield Choice(f'train.transforms.{i}.low', low, why)


def _feeding(experiment: Experiment, data: Data, begin: Begin) -> Iterator[Choice]:
    """Sizes, canvases and batches of training and evaluation, anchors and steps."""
    view = choose_view(data, begin)
    (canvas, *others), why_canvas = choose_canvases(view, begin)
    batch, why_batch = choose_batch(len(view.sizes), canvas, begin.budget)
    steps, why_steps = choose_steps(view.sizes, canvas, batch, begin)
    transforms = [*_transforms(experiment, view)]
    jitter = math.prod(c.value for c in transforms if c.path.endswith('.low'))
    anchors = choose_anchors(view, published=begin is FROM_WEIGHTS)
    yield Choice('model.anchor_sizes', *anchors)
    yield Choice('train.batch_size', batch, why_batch)
    yield Choice('train.crop', canvas, why_canvas)
    if others:
        yield Choice('train.canvases', tuple(others), 'for pictures of another shape')
    yield Choice('train.short', (view.short,) if view.short else (), view.why)
    if view.short:
        yield Choice('train.long', view.long, 'for pictures longer than most')
    yield from transforms
    yield Choice('train.instances', *choose_instances(data, view, canvas, jitter))
    large = float(np.percentile(view.sides, 90))
    mask, why_mask = 28 if large <= 56 else 56, f'large objects have {large:.0f} pixels a side'
    yield Choice('train.mask_size', mask, why_mask)
    canvases, why_canvases = choose_eval_canvases(data, view)
    area = max(math.prod(c) for c in canvases)
    fitting = [n for n in BATCHES if n <= batch and n * area <= 2 * begin.budget]
    yield Choice('eval.batch_size', max(fitting, default=1), 'for the memory of its canvases')
    yield Choice('eval.short', view.short, 'as in training')
    yield Choice('eval.long', view.long, 'as in training')
    yield Choice('eval.canvases', tuple(canvases), why_canvases)
    yield Choice('eval.mask_size', mask, why_mask)
    yield Choice('num_steps', steps, why_steps)
    yield Choice('eval_every', steps // 4, 'four evaluations')


def _check_network(weights: str) -> None:
    """Raises UserError for weights that are known by name, of a network that finds no objects."""
    if weights in NETWORKS and not isinstance(model := NETWORKS[weights].model, MaskRCNN):
        known = [name for name, n in NETWORKS.items() if isinstance(n.model, MaskRCNN)]
        raise UserError(
            f'--weights={weights}: is a {type(model).__name__}, which finds no objects; known '
            f'detectors are {", ".join(known)}.'
        )


def _published(like: Experiment, weights: str) -> Iterator[Choice]:
    """What the network of weights that are known by name has otherwise than that of --like."""
    if weights in NETWORKS:
        for name in ('version', 'norm_epsilon'):
            value = getattr(NETWORKS[weights].model, name)
            if value != getattr(like.model, name):
                yield Choice(f'model.{name}', value, f'as {weights} has it')


def _network(like: Experiment, data: Data, begin: Begin) -> Iterator[Choice]:
    """Whether it is the published network or a small one, and how it is normalised."""
    choose = choose_normalize(data.appearance, like.dataset.normalize)
    if begin is FROM_WEIGHTS:
        why = f'as the weights were trained; from scratch it would be {choose[0]}: {choose[1]}'
        yield Choice('dataset.normalize', like.dataset.normalize, why)
        why = 'the first stages stay as the weights have them'
        yield Choice('optimizer.frozen', like.optimizer.frozen, why)
        return
    yield Choice('dataset.normalize', *choose)
    small = 'nothing is pretrained: a small network, as maskrcnn_shapes has, which a CPU can train'
    yield Choice('model.backbone', 'resnet18', small)
    yield Choice('model.backbone_width', 16, 'a quarter; 64 for many pictures')
    yield Choice('model.width', 64, 'likewise; 256')
    yield Choice('model.fc_features', 256, 'likewise; 1024')
    yield Choice('model.norm', 'batch', 'of each batch, as no statistics are known')
    yield Choice('model.norm_epsilon', 1e-5, '0 is for published weights')
    yield Choice('task.anchors', 128, 'of a picture are trained')
    typical = float(np.percentile(data.train.counts, 75))
    why = f'of a picture are trained, a quarter of them objects, of which most have {typical:.0f}'
    yield Choice('task.rois', 64 if typical <= 16 else 128, why)
    yield Choice('optimizer.learning_rate', 1e-3, 'as maskrcnn_shapes; whole, nothing is frozen')


# --- The folder ----------------------------------------------------------------------------------


def _look(dataset: CocoFolder, roots: Roots, like: str) -> Data:
    """What the folder holds. Raises UserError for what cannot be used."""
    report = check(dataset, roots)
    refuse_problems(report, like)
    train, val = (survey_objects(dataset, split, roots) for split in ('train', 'val'))
    if not train.boxes.size:
        raise UserError(f'{dataset.folder}: not one object in train that could be learned.')
    return Data(report, survey_appearance(dataset, roots), train, val)


def _describe_classes(names: tuple[str, ...], train: Objects) -> str:
    """The commonest with the number of their objects, and how many classes have few."""
    numbers = np.bincount(train.classes, minlength=len(names))
    order = sorted(range(1, len(names)), key=lambda i: -numbers[i])
    said = ', '.join(f'{names[i]} {numbers[i]}' for i in order[:MAX_CLASSES])
    more = f' and {len(order) - MAX_CLASSES} others' if len(order) > MAX_CLASSES else ''
    few = sum(numbers[i] < FEW_OBJECTS for i in order)
    rare = f'; {few} classes have fewer than {FEW_OBJECTS}' if few else ''
    return f'{said}{more} (objects of train){rare}'


def _describe(data: Data) -> dict[str, str]:
    """What was found, for the screen and for the file."""
    report, train = data.report, data.train
    small, middle, large = np.percentile(data.sides, (10, 50, 90))
    areas = [100 * np.mean(train.areas < 32**2), 100 * np.mean(train.areas >= 96**2)]
    found = {
        **describe_pictures(report, data.appearance),
        'classes': _describe_classes(report.class_names, train),
        'objects': f'{train.counts.mean():.1f} a picture of train, at most {data.most} in any',
        'sides': f'{small:.0f}, {middle:.0f}, {large:.0f} pixels (10th, 50th, 90th percentile)',
        'areas': f'{areas[0]:.0f}% below 32x32 pixels, {areas[1]:.0f}% of 96x96 and more',
    }
    if empty := int(np.sum(train.counts == 0)):
        found['empty'] = f'{empty} pictures of train have no object'
    if crowds := train.crowds + data.val.crowds:
        found['crowds'] = f'{crowds}; they are not learned, and forgive in evaluation'
    if report.left_out:
        found['left out'] = f'{len(report.left_out)} objects; --mode=check_data names them'
    return found


def _other_way(options: RunOptions, folder: str, begin: Begin) -> tuple[str, str]:
    """What it does and the command that writes the other kind of file."""
    command = f'python launch.py --mode=new --folder={folder} --like={options.exp}'
    if begin is FROM_WEIGHTS:
        return (
            'A small network from scratch, for a CPU, is written by',
            f'{command} --name={options.name}_small',
        )
    return (
        'A large network that knows COCO, for an accelerator, is written by',
        f'{command} --name={options.name}_coco --weights=maskrcnn_resnet50_fpn',
    )


def plan(experiment: Experiment, roots: Roots, options: RunOptions) -> Plan:
    """The experiment fitted to the folder of its data set.

    Raises:
      UserError: the folder or --weights cannot be used.
    """
    _check_network(options.weights)
    begin = FROM_SCRATCH if options.weights in ('', 'none') else FROM_WEIGHTS
    given: Any = experiment.dataset
    dataset: CocoFolder = dataclasses.replace(given, folder=str(given.raw_folder(roots).resolve()))
    optimizer: Any = experiment.optimizer
    if begin is FROM_SCRATCH:
        schedule = WarmupCosine(warmup=0.1)
        optimizer = AdamW(1e-3, schedule=schedule, weight_decay=1e-2, clip_norm=10.0)
    fitted = dataclasses.replace(experiment, dataset=dataset, optimizer=optimizer)
    data = _look(dataset, roots, options.exp)
    choices = [
        *_published(experiment, options.weights),
        *_network(experiment, data, begin),
        *_object_choices(data, begin),
        *_feeding(fitted, data, begin),
    ]
    return Plan(fitted, _describe(data), choices, {}, (_other_way(options, dataset.folder, begin),))
