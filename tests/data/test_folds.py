"""Folds: every sample is evaluated once, and never trained on by the same fold."""

import numpy as np
import pytest

from segjax.data import folds
from segjax.data.bad_samples import BadSamples
from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline
from segjax.types import UserError


@pytest.fixture
def source(tmp_path):
    return Shapes(size=8, radius=(1.0, 3.0), num_train=7).source('train', (tmp_path, tmp_path))


def names(part):
    return [part.name(i) for i in range(len(part))]


def test_blocks_of_neighbours_as_near_equal_as_can_be(source):
    everything, evaluated = names(source), []
    for fold in range(3):
        train, held_out = folds.cut(source, folds=3, fold=fold)
        assert not set(names(train)) & set(names(held_out))
        assert sorted(names(train) + names(held_out)) == sorted(everything)
        evaluated.append(names(held_out))
    assert evaluated == [everything[:2], everything[2:4], everything[4:]]


def test_what_has_one_origin_is_in_one_fold(source):
    source.look = lambda index: ('', 'b', 'a', 'b', 'a', 'b', '')[index]
    everything, evaluated = names(source), []
    for fold in range(3):
        train, held_out = folds.cut(source, folds=3, fold=fold)
        assert sorted(names(train) + names(held_out)) == sorted(everything)
        looks = [{part.look(i) for i in range(len(part))} - {''} for part in (train, held_out)]
        assert not looks[0] & looks[1]
        evaluated.append([everything.index(name) for name in names(held_out)])
    assert evaluated == [[1, 3, 5], [2, 4], [0, 6]]
    with pytest.raises(UserError, match=r'--folds=5: takes 2 to 4, .* of one origin counted once'):
        folds.cut(source, folds=5, fold=0)


def test_samples_are_those_of_the_source_numbered_anew(source):
    _, held_out = folds.cut(source, folds=3, fold=1)
    for i in range(len(held_out)):
        np.testing.assert_array_equal(held_out[i].image, source[2 + i].image)
        assert held_out[i].image_id == i
        assert (held_out.size(i), held_out.group(i)) == (source.size(2 + i), source.group(2 + i))
    (batch,) = EvalPipeline(batch_size=4).batches(held_out, rows=4)
    assert batch.image_id.tolist() == [0, 1, -1, -1]


def test_bad_samples_stay_known(source):
    source.bad = BadSamples(limit=2, known={0: 'first', 5: 'sixth'})
    train, held_out = folds.cut(source, folds=7, fold=5)
    assert (len(train.bad), train.bad[0], train.bad.may_be_replaced) == (1, 'first', True)
    assert (len(held_out.bad), held_out.bad[0]) == (1, 'sixth')


@pytest.mark.parametrize(
    'given, message',
    [
        ((1, 0), '--folds=1: takes 2 to 7'),
        ((8, 0), '--folds=8: takes 2 to 7'),
        ((3, 3), '--fold=3: with --folds=3 takes 0 to 2'),
        ((3, -1), '--fold=-1'),
    ],
)
def test_folds_that_are_not_there_are_refused(source, given, message):
    with pytest.raises(UserError, match=message):
        folds.cut(source, folds=given[0], fold=given[1])
