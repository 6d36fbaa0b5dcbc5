"""Detection: sizes by hand, canvases, the plan of an epoch, objects that follow their picture."""

import dataclasses
import itertools

import numpy as np
import pytest

from segjax.data.dataset import Roots, Source, make_sample
from segjax.data.datasets.shapes import Shapes
from segjax.data.detection import DetectionEval, DetectionTrain, choose_canvas, fitted
from segjax.data.transforms import Flip, ScaleJitter
from segjax.types import Instances, UserError

WIDE, TALL = (32, 48), (48, 32)


class Pictures(Source):
    """Gray pictures of given sizes, each with a white rectangle x, y, w, h, or with none."""

    normalize = 'unit'

    def __init__(self, sizes, box=(4, 6, 10, 8), objects=1):
        self._sizes, self._box, self._objects = list(sizes), box, objects

    def __len__(self):
        return len(self._sizes)

    def __getitem__(self, index):
        x, y, w, h = self._box
        image = np.full((*self._sizes[index], 3), 100, np.uint8)
        image[y : y + h, x : x + w] = 255
        n = self._objects
        known = Instances(
            boxes=np.tile(np.array([x, y, x + w, y + h], np.float32), (n, 1)),
            classes=np.ones(n, np.int32),
            masks=tuple(np.ones((h, w), np.uint8) for _ in range(n)),
            crowd=np.zeros(n, bool),
            valid=np.ones(n, bool),
        )
        return make_sample(image, None, index=index, normalize='unit', instances=known)

    def name(self, index):
        return str(index)

    def size(self, index):
        return self._sizes[index]


def take(batches, number):
    return list(itertools.islice(batches, number))


def pipeline(**changes):
    options = {'batch_size': 2, 'crop': WIDE, 'canvases': (TALL,), 'instances': 3, 'mask_size': 7}
    return DetectionTrain(**options | changes)


@pytest.mark.parametrize(
    ('size', 'short', 'long', 'down', 'nearest'),
    [
        ((480, 640), 800, 1333, (800, 1066), (800, 1067)),
        ((427, 640), 800, 1333, (800, 1199), (800, 1199)),
        ((640, 427), 800, 1333, (1199, 800), (1199, 800)),
        ((200, 600), 800, 1333, (444, 1333), (444, 1333)),
        ((1, 4000), 800, 1333, (1, 1333), (1, 1333)),
    ],
)
def test_sizes_as_torchvision_and_detectron2_have_them(size, short, long, down, nearest):
    assert fitted(size, short, long, 'down') == down
    assert fitted(size, short, long, 'nearest') == nearest


def test_the_smallest_canvas_that_holds_a_picture():
    canvases = ((800, 1344), (800, 1088), (1344, 800))
    assert choose_canvas((800, 1066), canvases) == (800, 1088)
    assert choose_canvas((800, 1199), canvases) == (800, 1344)
    assert choose_canvas((1000, 800), canvases) == (1344, 800)
    assert choose_canvas((1400, 800), canvases) == (1344, 800)


def test_an_epoch_shows_every_picture_on_a_canvas_of_its_orientation():
    sizes = [WIDE, TALL, WIDE, WIDE, TALL, WIDE, WIDE]
    source = Pictures(sizes)
    batches = take(pipeline().batches(source, seed=3), 8)  # 5 wide in 3, 2 tall in 1: 4 an epoch
    for epoch in (batches[:4], batches[4:]):
        assert sorted(batch.image.shape[1:3] for batch in epoch) == [WIDE] * 3 + [TALL]
        seen = np.concatenate([batch.image_id for batch in epoch]).tolist()
        assert set(seen) == set(range(7)) and len(seen) == 8
        for batch in epoch:
            assert all(sizes[i] == batch.image.shape[1:3] for i in batch.image_id)
    orders = [[b.image_id.tolist() for b in epoch] for epoch in (batches[:4], batches[4:])]
    assert orders[0] != orders[1]


def test_a_batch_is_a_function_of_seed_and_step():
    source = Pictures([WIDE, TALL, WIDE, WIDE, TALL])
    make = pipeline(short=(20, 24, 28), long=48, transforms=(Flip(), ScaleJitter(0.5, 1.5)))
    a, b = make.batches(source, seed=1), make.batches(source, seed=1, start=4, num_threads=0)
    for left, right in zip(take(a, 7)[4:], take(b, 3), strict=True):
        np.testing.assert_array_equal(left.image, right.image)
        np.testing.assert_array_equal(left.instances.boxes, right.instances.boxes)
    halves = [make.batches(source, seed=1, shard=(i, 2)) for i in (0, 1)]
    whole = take(make.batches(source, seed=1), 3)
    for batch, *parts in zip(whole, *(take(half, 3) for half in halves), strict=True):
        np.testing.assert_array_equal(batch.image, np.concatenate([p.image for p in parts]))


def test_objects_follow_resizing_flipping_and_padding():
    """Twice as large and mirrored: x from 40 - 14 to 40 - 4, doubled; the rest is padding."""
    source = Pictures([(30, 40)])
    make = DetectionTrain(
        batch_size=1, crop=(100, 100), short=(60,), mask_size=4, transforms=(Flip(probability=1),)
    )
    sample = make.sample(source, seed=0, number=0)
    assert sample.label is None and sample.size.tolist() == [60, 80]
    np.testing.assert_array_equal(sample.instances.boxes[0], [52, 12, 72, 28])
    assert sample.instances.valid.tolist() == [True] + [False] * 99
    assert sample.instances.masks.shape == (100, 4, 4) and sample.instances.masks[0].all()
    left, top, right, bottom = sample.instances.boxes[0].astype(int)
    assert (sample.image[top + 1 : bottom - 1, left + 1 : right - 1] == 255).all()
    assert (sample.image[60:] == 0).all() and (sample.image[:, 80:] == 0).all()


def test_a_picture_without_objects_and_one_with_too_many():
    empty = pipeline().sample(Pictures([WIDE], objects=0), seed=0, number=0)
    assert not empty.instances.valid.any() and empty.instances.cut == 0
    full = pipeline().sample(Pictures([WIDE], objects=5), seed=0, number=0)
    assert full.instances.valid.all() and full.instances.cut == 2


def test_data_without_objects_is_refused():
    class Plain(Pictures):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(instances=None)

    with pytest.raises(UserError, match='does not know its objects apart'):
        pipeline().sample(Plain([WIDE]), seed=0, number=0)


def test_large_scale_jitter_fills_one_canvas():
    """The picture is fitted into 64 x 64, then scaled by 0.1 to 2 and cut or padded."""
    make = pipeline(
        crop=(64, 64), canvases=(), short=(64,), long=64, transforms=(ScaleJitter(0.1, 2.0),)
    )
    batches = take(make.batches(Pictures([WIDE, TALL] * 8), seed=0), 16)
    sizes = np.concatenate([batch.size for batch in batches])
    assert all(batch.image.shape == (2, 64, 64, 3) for batch in batches)
    assert sizes.max() == 64 and sizes.min() < 16


def test_the_named_shapes_are_those_of_a_batch():
    make = pipeline(canvases=())
    named, batch = make.empty_batch(3), take(make.batches(Pictures([WIDE]), seed=0), 1)[0]
    shapes = lambda part: None if part is None else (part.shape, part.dtype)
    for name in set(batch._fields) - {'instances'}:
        assert shapes(getattr(named, name)) == shapes(getattr(batch, name)), name
    assert [*map(shapes, named.instances)] == [*map(shapes, batch.instances)]


def test_evaluation_sees_each_picture_once_at_its_size_on_a_canvas():
    source = Pictures([(30, 40), (40, 30), (30, 40), (20, 20)])
    make = DetectionEval(short=60, long=70, round_to=32, instances=2, mask_size=4)
    batches = list(make.batches(source, rows=2))
    assert [b.image.shape[1:3] for b in batches] == [(64, 96), (96, 64), (64, 64)]
    ids = np.concatenate([b.image_id[b.valid] for b in batches])
    assert sorted(ids.tolist()) == [0, 1, 2, 3]
    assert batches[0].size.tolist() == [[52, 70], [52, 70]]
    np.testing.assert_array_equal(batches[2].instances.boxes[0, 0], [12, 18, 42, 42])
    assert (batches[0].image[:, 52:] == 0).all()
    fixed = dataclasses.replace(make, canvases=((64, 128), (128, 64)))
    assert [b.image.shape[1:3] for b in fixed.batches(source, rows=4)] == [(64, 128), (128, 64)]


def test_only_large_pictures_shrink_where_no_side_is_named():
    how = DetectionEval(long=50)
    assert how.fitted((30, 40)) == (30, 40) and how.fitted((100, 80)) == (50, 40)


def test_pictures_of_their_own_size_are_not_touched():
    roots = Roots(None, None)
    source = Shapes(num_val=2).source('val', roots)
    (batch,) = DetectionEval(instances=4).batches(source, rows=2)
    np.testing.assert_array_equal(batch.image[1], source[1].image)
    boxes = batch.instances.boxes[1][batch.instances.valid[1]]
    np.testing.assert_array_equal(boxes, source[1].instances.boxes)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: DetectionTrain(instances=0), 'instances=0: must be at least 1'),
        (lambda: DetectionTrain(short=(64, -5)), 'short=64,-5: must be at least 1'),
        (lambda: DetectionTrain(canvases=(WIDE, (0, 5))), 'canvases=32,48,0,5: must be at least 1'),
        (lambda: DetectionEval(long=0), 'long=0: must be at least 1'),
        (lambda: DetectionEval(instances=0), 'instances=0: must be at least 1'),
        (lambda: DetectionEval(short=-1), 'short=-1: must be at least 0'),
        (lambda: DetectionEval(max_dets=(100, 10)), 'max_dets=100,10: rising numbers'),
        (lambda: DetectionEval(tile=(64, 64)), '--tile, .* are for class maps'),
    ],
)
def test_mistakes_are_said(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_balance_needs_a_single_canvas():
    with pytest.raises(UserError, match=r'--balance=0\.5: needs a single canvas'):
        DetectionTrain(crop=WIDE, canvases=(TALL,), balance=0.5)
    assert DetectionTrain(crop=WIDE, balance=0.5).balance == 0.5
