"""Which pictures a report shows."""

import numpy as np

from segjax.train.ranking import Ranking


def test_best_and_worst_are_kept_and_no_picture_is_both():
    ranking = Ranking(2)
    for name, score in zip('abcde', (0.25, 1.0, 0.0, 0.125, 1.0), strict=True):
        ranking.add(score, name)
    assert ranking.worst == ['c', 'd'] and ranking.best == ['b', 'e']
    assert ranking.told('score')[0] == ('score: median', '0.2500')


def test_a_single_picture_is_the_worst_and_one_without_a_score_is_none():
    ranking = Ranking(2)
    assert ranking.told('score') == []
    ranking.add(0.5, 'a')
    ranking.add(np.nan, 'b')
    assert (ranking.worst, ranking.best, ranking.scores) == (['a'], [], [0.5])
