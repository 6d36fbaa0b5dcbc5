"""What a job is made of."""

import dataclasses

import pytest

from experiments.unet_shapes import experiment
from segjax import config
from segjax.data.dataset import Roots
from segjax.train.job import make_job
from segjax.types import UserError


def names(source):
    return {source.name(i) for i in range(len(source))}


def test_folds_take_the_place_of_the_splits(tmp_path):
    roots = Roots(tmp_path, tmp_path)
    small = config.replace(experiment(), {'dataset.num_train': 10, 'dataset.num_val': 3})
    whole = make_job(small, roots)
    evaluated = set()
    for fold in range(5):
        job = make_job(dataclasses.replace(small, folds=5, fold=fold), roots)
        assert (len(job.train_source), len(job.eval_source)) == (8, 2)
        assert names(job.train_source) | names(job.eval_source) == names(whole.train_source)
        evaluated |= names(job.eval_source)
    assert evaluated == names(whole.train_source)
    with pytest.raises(UserError, match='--fold=5'):
        make_job(dataclasses.replace(small, folds=5, fold=5), roots)


def test_another_network_meets_the_same_data(tmp_path):
    small = config.replace(experiment(), {'dataset.num_train': 8, 'dataset.num_val': 2})
    job = make_job(small, Roots(tmp_path, tmp_path))
    wider = dataclasses.replace(small, model=small.model.clone(widths=(4, 8)))
    other = job.with_network(wider)
    assert other.experiment is wider and other.evaluation is not job.evaluation
    assert (other.train_source, other.eval_source) == (job.train_source, job.eval_source)
    assert other.steps_per_epoch == job.steps_per_epoch


def test_a_ramp_of_supervision_is_as_long_as_the_training_unless_a_length_is_given(tmp_path):
    small = config.replace(experiment(), {'num_steps': 30, 'task.supervision': 'ramp'})
    for given, wanted in ((0, 30), (7, 7)):
        ramp = config.replace(small, {'task.supervision_steps': given})
        assert make_job(ramp, Roots(tmp_path, tmp_path)).experiment.task.supervision_steps == wanted
