"""Batches: pure functions of (seed, step), shared out by host, padded without counting anything."""

import itertools
from pathlib import Path

import chex
import numpy as np
import pytest

from segjax.data.dataset import Roots, Source, make_sample
from segjax.data.datasets.shapes import Shapes
from segjax.data.normalize import statistics
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, Rotate, ScaleJitter, Turn
from segjax.types import IGNORE_LABEL, Batch, UserError

NOWHERE = Roots(Path('/nonexistent'), Path('/nonexistent'))
EVERYTHING = (ScaleJitter(0.5, 2.0), Flip(), Turn(), Rotate(15), ColorJitter())


def shapes(number=20):
    dataset = Shapes(size=48, radius=(6.0, 12.0), num_train=number, num_val=number)
    return dataset.source('train', NOWHERE)


def pipeline(**fields):
    return TrainPipeline(**{'batch_size': 4, 'crop': (40, 32), 'transforms': EVERYTHING} | fields)


def take(batches, number):
    return list(itertools.islice(batches, number))


class Pictures(Source):
    """Pictures of given sizes; pixel values and labels tell their index."""

    normalize = 'unit'

    def __init__(self, sizes, dtype=np.uint8):
        self.sizes, self.dtype = sizes, dtype

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        h, w = self.sizes[index]
        image = np.full((h, w, 3), 100 + index, self.dtype)
        return make_sample(image, np.full((h, w), index % 5), index=index, normalize=self.normalize)

    def name(self, index):
        return str(index)

    def size(self, index):
        return self.sizes[index]


def test_a_batch():
    batch = next(pipeline(instances=5).batches(shapes(), seed=0))
    chex.assert_shape(batch.image, (4, 40, 32, 3))
    chex.assert_shape(batch.label, (4, 40, 32))
    chex.assert_shape(batch.instances.masks, (4, 5, 28, 28))
    assert batch.image.dtype == np.uint8
    assert batch.label.dtype == batch.image_id.dtype == batch.size.dtype == np.int32
    assert batch.valid.tolist() == [True] * 4 and batch.weight is None
    assert next(pipeline().batches(shapes(), seed=0)).instances is None


def test_a_start_in_the_middle_continues_exactly():
    source = shapes()
    whole = take(pipeline().batches(source, seed=3), 12)  # 20 pictures: over two epochs
    for start in (1, 5, 11):
        later = take(pipeline().batches(source, seed=3, start=start), 12 - start)
        chex.assert_trees_all_equal(later, whole[start:])
    other = next(pipeline().batches(source, seed=4))
    assert (other.image != whole[0].image).any()


class Looks(Pictures):
    """Eight pictures of one look and one of another."""

    def __init__(self):
        super().__init__([(8, 8)] * 9)

    def look(self, index):
        return 'rare' if index == 8 else 'common'


@pytest.mark.parametrize(
    ('balance', 'share'), [(0.0, 1 / 9), (0.5, 1 / (1 + 8**0.5)), (1.0, 1 / 2)]
)
def test_rare_looks_are_drawn_more_often(balance, share):
    feed = TrainPipeline(batch_size=100, crop=(8, 8), balance=balance)
    ids = np.concatenate([b.image_id for b in take(feed.batches(Looks(), seed=0), 9)])
    assert abs((ids == 8).mean() - share) < 0.05
    again = take(feed.batches(Looks(), seed=0, start=4), 5)
    np.testing.assert_array_equal(np.concatenate([b.image_id for b in again]), ids[400:])


@pytest.mark.parametrize('num_threads', [0, 1, 4])
def test_threads_do_not_matter(num_threads):
    source = shapes()
    one, other = (
        take(pipeline().batches(source, seed=0, num_threads=n), 8) for n in (2, num_threads)
    )
    chex.assert_trees_all_equal(one, other)


def test_hosts_share_the_rows_of_each_batch():
    source = shapes()
    whole = take(pipeline().batches(source, seed=0), 6)
    shards = [take(pipeline().batches(source, seed=0, shard=(i, 2)), 6) for i in range(2)]
    joined = [Batch(*map(join, first, second)) for first, second in zip(*shards, strict=True)]
    chex.assert_trees_all_equal(joined, whole)
    with pytest.raises(UserError, match='multiple of 3'):
        pipeline().batches(source, seed=0, shard=(0, 3))


def join(first, second):
    return None if first is None else np.concatenate([first, second])


def test_an_epoch_takes_each_picture_once_in_a_new_order():
    batches = take(pipeline().batches(shapes(), seed=0), 10)
    ids = np.concatenate([b.image_id for b in batches]).reshape(2, 20)
    for epoch in ids:
        assert sorted(epoch) == list(range(20))
    assert (ids[0] != ids[1]).any()
    first, second = ([b for b in batches[k : k + 5]] for k in (0, 5))
    where = {int(i): b.image[r] for b in first for r, i in enumerate(b.image_id)}
    again = {int(i): b.image[r] for b in second for r, i in enumerate(b.image_id)}
    assert sum((where[i] != again[i]).any() for i in range(20)) > 15  # augmented anew


def test_small_pictures_are_padded_with_what_is_zero_on_the_device():
    source = Pictures([(10, 12)])
    for normalize in ('unit', 'imagenet', 'zscore'):
        source.normalize = normalize
        batch = next(TrainPipeline(batch_size=1, crop=(16, 16)).batches(source, seed=0))
        image, label = batch.image[0], batch.label[0]
        assert (label[:10, :12] == 0).all()
        assert (label[10:] == IGNORE_LABEL).all() and (label[:, 12:] == IGNORE_LABEL).all()
        mean, std = map(np.array, statistics(normalize, image.dtype))
        step = 0.5 / std.min() if image.dtype == np.uint8 else 0  # bytes round
        np.testing.assert_allclose((image[12, 3] - mean) / std, 0, atol=step + 1e-6)
    reflected = next(
        TrainPipeline(batch_size=1, crop=(16, 16), pad='reflect').batches(source, seed=0)
    )
    assert (reflected.label == 0).all()


def test_windows_reach_over_the_border_by_the_margin():
    source = Pictures([(20, 20)])
    feed = TrainPipeline(batch_size=1, crop=(20, 20), margin=3)
    borders = set()
    for batch in take(feed.batches(source, seed=0), 60):
        rows = np.flatnonzero((batch.label[0] != IGNORE_LABEL).any(1))
        borders.add((int(rows[0]), int(rows[-1])))
    assert borders == {(max(0, -o), min(19, 19 - o)) for o in range(-3, 4)}


class Halves(Pictures):
    """The left nine tenths are class 0, the rest class 1."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        label = np.zeros_like(sample.label)
        label[:, int(0.9 * label.shape[1]) :] = 1
        return sample._replace(label=label)


def test_a_class_may_not_fill_the_window():
    source = Halves([(40, 200)])
    shares = {}
    for limit in (1.0, 0.8):
        feed = TrainPipeline(batch_size=1, crop=(40, 50), max_class_share=limit)
        batches = take(feed.batches(source, seed=0), 60)
        shares[limit] = np.mean([(b.label == 0).mean() <= 0.8 for b in batches])
    # a window shows at least .2 of class 1 for 11 of 151 places: 1 - (1 - 11/151)^10 = .53
    assert shares[1.0] < 0.2 < 0.35 < shares[0.8] < 0.75


def test_scale_comes_first():
    source = Halves([(40, 200)])
    batch = next(TrainPipeline(batch_size=1, crop=(20, 100), scale=0.5).batches(source, seed=0))
    np.testing.assert_array_equal(batch.label[0, :, :90], 0)
    np.testing.assert_array_equal(batch.label[0, :, 90:], 1)


@pytest.mark.parametrize('dtype', ['uint16', 'float32'])
def test_deep_images_stay_deep(dtype):
    batch = next(pipeline().batches(Pictures([(60, 60)] * 4, dtype), seed=0))
    assert batch.image.dtype == dtype


def test_an_error_in_a_sample_reaches_the_caller():
    class Broken(Pictures):
        def __getitem__(self, index):
            raise UserError('frame7.png: the file is empty')

    for num_threads in (0, 2):
        with pytest.raises(UserError, match=r'frame7\.png'):
            next(pipeline().batches(Broken([(9, 9)]), seed=0, num_threads=num_threads))


SIZES = [(10, 12), (9, 16), (10, 12), (7, 5), (10, 12), (9, 16), (12, 12)]


@pytest.mark.parametrize('rows', [1, 2, 3, 8])
@pytest.mark.parametrize('hosts', [1, 2])
def test_every_picture_is_evaluated_once(rows, hosts):
    feed = EvalPipeline(round_to=4)
    shards = [
        list(feed.batches(Pictures(SIZES), rows=rows, shard=(i, hosts))) for i in range(hosts)
    ]
    assert len({len(batches) for batches in shards}) == 1
    ids = []
    for batch in itertools.chain(*shards):
        assert len(batch.image) == rows
        assert batch.image.shape[1] % 4 == 0 and batch.image.shape[2] % 4 == 0
        for r in range(rows):
            h, w = batch.size[r]
            if not batch.valid[r]:
                assert (batch.label[r] == IGNORE_LABEL).all() and batch.image_id[r] == -1
                continue
            index = int(batch.image_id[r])
            ids.append(index)
            assert (h, w) == SIZES[index]
            assert (batch.label[r, :h, :w] == index % 5).all()
            assert (batch.label[r] != IGNORE_LABEL).sum() == h * w
            assert (batch.image[r, :h, :w] == 100 + index).all()
            assert batch.image[r, :, :, 0].sum() == h * w * (100 + index)  # padding is 0 for 'unit'
    assert sorted(ids) == list(range(len(SIZES)))


def test_the_image_is_scaled_but_not_the_label():
    feed = EvalPipeline(scale=0.5, round_to=8)
    batch = next(feed.batches(Pictures([(10, 12)]), rows=1))
    chex.assert_shape(batch.image, (1, 8, 8, 3))
    chex.assert_shape(batch.label, (1, 16, 16))
    assert batch.size.tolist() == [[10, 12]]
    assert (batch.image[0, :5, :6] == 100).all() and not batch.image[0, 5:].any()


def test_whole_pictures_may_be_stretched_to_one_size():
    source = Pictures([(64, 96), (30, 20)])
    whole = pipeline(transforms=(), stretch=(40, 32))
    batch = next(whole.batches(source, seed=0))
    assert not (batch.label == IGNORE_LABEL).any()  # nothing is padded, and nothing cut off
    for image, label in zip(batch.image, batch.label, strict=True):
        assert (image == 100 + label[0, 0]).all() and (label == label[0, 0]).all()
    for batch in EvalPipeline(stretch=(24, 32)).batches(source, rows=1):
        assert batch.image.shape == (1, 24, 32, 3)
        assert batch.label.shape[1:] == source.sizes[int(batch.image_id[0])]


def test_a_picture_that_is_padded_and_scaled_back_to_its_size():
    source = Pictures([(32, 32)])
    (batch,) = EvalPipeline(round_to=64, scale=0.5).batches(source, rows=1)
    assert batch.image.shape == (1, 32, 32, 3) and batch.label.shape == (1, 64, 64)
    assert (batch.image[0, :16, :16] == 100).all() and (batch.image[0, 17:] == 0).all()


@pytest.mark.parametrize('kind', [TrainPipeline, EvalPipeline])
@pytest.mark.parametrize('size', [(96, 0), (-1, 5)])
def test_half_a_size_is_refused(kind, size):
    with pytest.raises(UserError, match=r'--stretch=.*: height and width, or 0,0'):
        kind(stretch=size)


def test_native_pictures_are_untouched():
    source = shapes()
    batches = list(EvalPipeline(batch_size=4).batches(source, rows=4))
    assert len(batches) == 5
    for batch in batches:
        for r, index in enumerate(batch.image_id):
            np.testing.assert_array_equal(batch.image[r], source[index].image)
            np.testing.assert_array_equal(batch.label[r], source[index].label)


def test_a_limit_takes_pictures_evenly():
    assert EvalPipeline(limit=5).indices(shapes(20)) == [0, 4, 8, 12, 16]
    assert EvalPipeline(limit=50).indices(shapes(20)) == list(range(20))
    assert EvalPipeline().indices(shapes(20)) == list(range(20))


def test_canvases_of_a_multiple_and_some_pixels():
    assert EvalPipeline(round_to=16).canvas((1024, 2047)) == (1024, 2048)
    plus_one = EvalPipeline(round_to=16, round_extra=1)
    assert plus_one.canvas((1024, 2048)) == (1025, 2049)  # Cityscapes
    assert plus_one.canvas((1025, 1)) == (1025, 1)
    assert plus_one.canvas((1026, 2)) == (1041, 17)


def test_instances_at_evaluation():
    batch = next(EvalPipeline(instances=4, mask_size=0).batches(shapes(), rows=3))
    chex.assert_shape(batch.instances.masks, (3, 4, 48, 48))
    painted = (batch.instances.masks * batch.instances.classes[:, :, None, None]).sum(1)
    np.testing.assert_array_equal(painted, batch.label)


@pytest.mark.parametrize(
    ('pipeline', 'fields', 'message'),
    [
        (TrainPipeline, {'balance': -0.1}, 'balance=-0.1: must be from 0 to 1'),
        (TrainPipeline, {'balance': 1.5}, 'balance=1.5: must be from 0 to 1'),
        (TrainPipeline, {'batch_size': 0}, 'batch_size=0: must be at least 1'),
        (TrainPipeline, {'crop': (0, 64)}, 'crop=0,64: must be at least 1'),
        (EvalPipeline, {'mask_size': -1}, 'mask_size=-1: must be at least 0'),
        (EvalPipeline, {'limit': -1}, 'limit=-1: must be at least 0'),
    ],
)
def test_fields_beyond_their_range(pipeline, fields, message):
    with pytest.raises(UserError, match=f'--{message}'):
        pipeline(**fields)
