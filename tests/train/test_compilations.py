"""A storm of compilations is counted and told."""

import jax
import numpy as np

from segjax.data.dataset import Roots
from segjax.train.compilations import watch_compilations
from segjax.train.job import make_job
from tests.train.test_loop import tiny


def test_each_shape_counts_once_and_the_fourth_is_told():
    def score(x):
        return x + 1

    def other(x):
        return x - 1

    told = []
    score, other = jax.jit(score), jax.jit(other)
    with watch_compilations(told.append) as counts:
        for size in (1, 2, 2, 3, 3):
            score(np.ones(size, np.float32))
            other(np.ones(size, np.float32))
        assert counts == {'train_step': 0, 'score': 3, 'predict_canvas': 0} and told == []
        score(np.ones(4, np.float32))
        score(np.ones(5, np.float32))
    score(np.ones(6, np.float32))
    assert counts['score'] == 5
    (text,) = told
    assert text.startswith('score was compiled 4 times') and '--eval.round_to' in text


def test_the_names_are_those_of_the_programs():
    """Training and evaluation are recognised by the names of their jitted functions."""
    job = make_job(tiny(), Roots(None, None), devices=jax.devices()[:1])
    state, batch = job.initial_state(), next(job.train_batches(0))
    with watch_compilations(print) as counts:
        job.evaluate(state, batches=iter([next(job.eval_batches())]))
        place = job.parallel
        job.train_step()(place.place_state(state), place.place_batch(batch))
    assert counts == {'train_step': 1, 'score': 1, 'predict_canvas': 0}
