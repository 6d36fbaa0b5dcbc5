"""The table of an ablation, from rows made by hand."""

import csv

import numpy as np
import pytest

from segjax.ablation import plots, table
from segjax.types import UserError

ARMS = {'control': ('main',), 'same': ('main',), 'better': ('L1', 'L2', 'mean')}
GAIN = {'control': 0.0, 'same': 0.0, 'better': 0.1}
CONTROL = ('control', 'main')


def rows(seeds=(0, 1, 2), images=12):
    """Scores with noise of seeds and images that arms share, and a little of their own."""
    shared = np.random.default_rng(0).normal(0.6, 0.1, (10, images))
    own = np.random.default_rng(1).normal(0, 0.005, (10, 5, images))
    keys = [(arm, level) for arm, levels in ARMS.items() for level in levels]
    return [
        {
            **{'arm': arm, 'level': level, 'seed': seed, 'image': f'{i:02}', 'group': ''},
            'iou': float(shared[seed, i] + own[seed, k, i] + GAIN[arm]),
            'dice': float(shared[seed, i] + GAIN[arm] + 0.05),
        }
        for seed in seeds
        for k, (arm, level) in enumerate(keys)
        for i in range(images)
    ]


def costs():
    spent = {'latency_p50_s': 0.01, 'latency_p95_s': 0.02, 'memory_bytes': 3_000_000}
    of = {'input': [1, 96, 64, 3], 'device': 'CPU', **spent}
    return [
        {'arm': arm, 'level': level, 'params': 1234 * (i + 1), 'macs': 10**9 * (i + 1), **of}
        for arm, levels in ARMS.items()
        for i, level in enumerate(levels)
    ]


@pytest.fixture(scope='module')
def lines():
    return table.summarise(rows(), costs(), CONTROL)


def test_each_arm_and_level_has_a_line_with_the_means_of_its_rows(lines):
    assert [(line.arm, line.level) for line in lines] == [
        *(('control', 'main'), ('same', 'main')),
        *(('better', 'L1'), ('better', 'L2'), ('better', 'mean')),
    ]
    for line in lines:
        own = [row for row in rows() if (row['arm'], row['level']) == (line.arm, line.level)]
        assert line.interval.mean == pytest.approx(np.mean([row['iou'] for row in own]))
        by_seed = [np.mean([r['iou'] for r in own if r['seed'] == seed]) for seed in line.seeds]
        assert table.values(line)['iou_sd'] == pytest.approx(np.std(by_seed, ddof=1))
        assert (line.images, line.seeds) == (12, (0, 1, 2))


def test_results_are_named(lines):
    control, same, *better = lines
    assert control.comparison is None
    assert same.comparison.verdict == 'no difference shown'
    for line in better:
        assert line.comparison.verdict == 'better'
        assert line.comparison.difference.mean == pytest.approx(0.1, abs=0.01)
        assert line.comparison.p == pytest.approx(4 * 2 / 2**12)  # all of 12 pairs, Holm's 4 of 4
        assert line.comparison.detectable < 0.02


def test_rows_may_come_in_any_order(lines):
    last_first = table.summarise(rows()[::-1], costs(), CONTROL)
    assert {line.arm: line.comparison for line in last_first if line.level in ('main', 'L1')} == {
        line.arm: line.comparison for line in lines if line.level in ('main', 'L1')
    }


def test_the_images_of_all_folds_are_one_set(lines):
    apart = sorted(rows(), key=lambda row: int(row['image']) // 4)  # as folds of 4 images come
    for whole, folded in zip(lines, table.summarise(apart, costs(), CONTROL), strict=True):
        assert (whole.comparison, whole.images) == (folded.comparison, folded.images)


def test_one_seed_decides_nothing():
    found = table.summarise(rows(seeds=(1,)), costs(), CONTROL)
    assert {line.comparison.verdict for line in found[1:]} == {'one seed'}
    assert 'one seed says nothing' in table.markdown(found)
    assert table.markdown(found).split('\n\n')[0].count('±') == 2  # in the header alone


def test_csv_and_markdown_say_the_same(lines):
    read = list(csv.DictReader(table.csv_text(lines).splitlines()))
    assert [row['verdict'] for row in read] == ['control', 'no difference shown', *['better'] * 3]
    assert float(read[2]['gmac']) == 1.0 and read[0]['difference'] == ''
    text = table.markdown(lines).splitlines()
    assert len({line.count('|') for line in text[:7]}) == 1  # heading, rule, five lines
    assert '| 3,702 | 3 | 10.0 / 20.0 | 3 |' in text[6]
    assert f'{float(read[2]["iou"]):.3f} ± {float(read[2]["iou_sd"]):.3f}' in text[4]
    assert '12 images, 3 seeds an arm' in table.markdown(lines)
    titles, short = table.short(lines)
    assert 'difference of IoU (95 %)' in titles and len(short[0]) == len(titles)


def test_what_cannot_be_compared_is_refused():
    others = [
        row for row in rows() if row['arm'] != 'same' or row['seed'] > 0 or row['image'] > '0'
    ]
    others[-1] = {**others[-1], 'image': 'another'}
    with pytest.raises(UserError, match='scored on other images'):
        table.summarise(others, costs(), CONTROL)
    apart = [row for row in rows() if (row['arm'] == 'same') == (row['seed'] == 0)]
    with pytest.raises(UserError, match='no seed in common'):
        table.summarise(apart, costs(), CONTROL)


@pytest.mark.parametrize('draw', [plots.over_macs, plots.over_latency, plots.seeds])
def test_plots_show_every_arm_in_a_colour_of_its_own(draw, lines):
    picture = draw(lines)
    assert picture.dtype == np.uint8
    for color in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # C0 to C2
        assert (np.abs(picture.astype(int) - color).max(axis=-1) < 30).sum() > 20


def test_objects_are_compared_by_their_average_precision():
    """Two arms, two images: .5 against .25 and .75."""
    row = lambda arm, image, ap: {
        **{'arm': arm, 'seed': 0, 'fold': 0, 'level': 'main', 'image': image, 'group': ''},
        **{'mask_ap': ap, 'box_ap': ap + 0.1},
    }
    rows = [row('a', 'x', 0.5), row('a', 'y', 0.5), row('b', 'x', 0.25), row('b', 'y', 0.75)]
    cost = {'level': 'main', 'params': 1, 'macs': 1, 'memory_bytes': 1, 'device': 'CPU'}
    cost |= {'latency_p50_s': 1.0, 'latency_p95_s': 1.0, 'input': [1, 8, 8, 3]}
    lines = table.summarise(rows, [cost | {'arm': arm} for arm in 'ab'], ('a', 'main'))
    values = table.values(lines[1])
    assert values['mask_ap'] == pytest.approx(0.5) and values['box_ap'] == pytest.approx(0.6)
    assert values['difference'] == pytest.approx(0)
    assert 'difference of mask AP (95 %)' in table.markdown(lines)
