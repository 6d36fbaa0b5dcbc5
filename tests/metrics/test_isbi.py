"""The values of Fiji on thirteen small cases (isbi_metrics_*), and first principles."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from segjax.metrics import isbi, partitions, warping

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / 'isbi_metrics_values.json').read_text())
CASES = GOLDEN['cases']


def stacks(case):
    """Labels `d h w` bool and probabilities `d h w` float64."""
    with np.load(HERE / 'isbi_metrics_fixtures.npz') as arrays:
        label, proposal = (arrays[f'{case}__{part}'] for part in ('gt', 'pr'))
    shape = (-1, *label.shape[-2:])
    probability = (proposal / np.float32(255)).astype(np.float64)
    return label.reshape(shape) > 0, probability.reshape(shape)


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def golden(case):
    return CASES[case]


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_five_metrics_are_those_of_the_challenge(case, golden):
    labels, probabilities = stacks(case)
    found = isbi.evaluate(labels.astype(np.uint8), probabilities.astype(np.float32))
    columns = {
        'warping_error': 'warp_minSplitMerge_0..0.9_byType',
        'rand_error': 'rand_1-maxF_fg_0..0.9',
        'pixel_error': 'pixel_1-maxF_0..0.9',
        'v_rand': 'VRand_thin_0..1.0_macro',
        'v_info': 'VInfo_thin_0..1.0',
    }
    assert found.keys() == columns.keys()
    for name, column in columns.items():
        equal(found[name], golden[column])


def mismatches(case, threshold):
    """Pixels and clusters of each kind in each slice, `d 6`."""
    pixels, clusters = [], []
    for label, probability in zip(*stacks(case), strict=True):
        warped = warping.warp(label, probability, threshold)
        found = warping.classify(warped, probability > threshold)
        pixels.append(warping.count_pixels(found))
        clusters.append(warping.count_clusters(found, label.shape))
    return np.array(pixels), np.array(clusters)


def test_each_mismatch_is_of_the_kind_that_fiji_finds(case, golden):
    labels, _ = stacks(case)
    pixels, clusters = mismatches(case, 0.5)
    kinds = '[merge,split,hole+,hole-,obj+,obj-]'
    assert pixels.sum(0).tolist() == json.loads(golden[f'pixels{kinds}'])
    assert clusters.sum(0).tolist() == json.loads(golden[f'clusters{kinds}'])
    equal(pixels.sum() / labels.size, golden['warp_classic_0.5'])
    equal(pixels.sum() / labels.size, golden['warp_byType_all_0.5'])
    equal(clusters.sum() / labels.size, golden['warp_clusterByError_all_0.5'])


def test_clusters_of_splits_and_mergers_at_the_best_threshold(case, golden):
    labels, _ = stacks(case)
    found = [mismatches(case, t)[1][:, :2].sum() / labels.size for t in isbi.thresholds(10)]
    equal(min(found), golden['warp_minSplitMerge_0..0.9_byError'])


def tables(case, threshold, thin=lambda cells: cells):
    return [
        partitions.contingency(label, thin(probability > threshold))
        for label, probability in zip(*stacks(case), strict=True)
    ]


def test_rand_and_information_at_one_half(case, golden):
    plain, thinned = tables(case, 0.5), tables(case, 0.5, partitions.thin)
    both, label, proposal = np.sum([partitions.rand_sums(t) for t in plain], axis=0)
    expected = [float(x) for x in golden['fgRandStats_0.5[metric,prec,rec,f]'].split(',')[1:]]
    equal([both / proposal, both / label, 2 * both / (label + proposal)], expected)
    scores = [partitions.rand_score(partitions.rand_sums(t)) for t in thinned]
    equal(np.mean(scores), golden['VRand_thin_at0.5_macro'])
    information = np.mean([partitions.information_score(t) for t in thinned])
    equal(information, golden['VInfo_thin_at0.5'])
    if case != 'object_added':  # of single cells that agree Fiji says 1 here, 0 in the column above
        information = np.mean([partitions.information_score(t) for t in plain])
        equal(information, golden['VInfo_fg_F_0.5'])


def test_pooled_rand_of_thinned_cells(case, golden):
    found = []
    for threshold in isbi.thresholds(11):
        sums = [partitions.rand_sums(t) for t in tables(case, threshold, partitions.thin)]
        found.append(partitions.rand_score(np.sum(sums, axis=0)))
    equal(max(found), golden['VRand_thin_0..1.0_micro'])


def test_thresholds_are_added_up():
    assert isbi.thresholds(4) == [0.0, 0.1, 0.2, 0.30000000000000004]
    assert isbi.thresholds(11)[10] == 0.9999999999999999


def test_float32_would_compare_otherwise():
    """Pixels at exactly k/10 are the trap: their float32 is larger than the float64 threshold."""
    labels, probabilities = stacks('voronoi64_prob')
    single = [float(np.float32(t)) for t in isbi.thresholds(10)]
    found = [isbi._rand_score(labels, probabilities, t) for t in single]
    assert abs(1 - max(found) - CASES['voronoi64_prob']['rand_1-maxF_fg_0..0.9']) > 0.01


@pytest.mark.parametrize(
    ('labels', 'probabilities'), [((2, 8, 8), (2, 8, 9)), ((64,), (64,)), ((0, 8, 8),) * 2]
)
def test_other_shapes_are_refused(labels, probabilities):
    with pytest.raises(ValueError, match='stacks d h w'):
        isbi.evaluate(np.ones(labels, np.uint8), np.ones(probabilities))


def test_membranes_alone_and_cells_alone_have_finite_scores():
    label = np.zeros((1, 6, 6), np.uint8)
    for probability in (np.zeros((1, 6, 6)), np.ones((1, 6, 6))):
        for labels in (label, label + 1):
            assert np.isfinite(list(isbi.evaluate(labels, probability).values())).all()


def test_simple_points_are_those_of_fiji():
    table = ''.join('01'[simple] for simple in warping.simple_points().astype(int))
    assert table == GOLDEN['simple_point_table_bits']
    assert warping.NEIGHBOURS[0] == (-1, -1) and warping.NEIGHBOURS[-1] == (1, 1)


def components(cells):
    """Cells (4-connected) and membranes (8-connected), the world outside being membrane."""
    outer = np.pad(~cells, 1, constant_values=True)
    return ndimage.label(cells)[1], ndimage.label(outer, np.ones((3, 3)))[1]


def test_warping_changes_no_topology_and_only_what_differs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        label = ndimage.gaussian_filter(rng.random((24, 24)), 1.5) > 0.5
        probability = ndimage.gaussian_filter(rng.random((24, 24)), 2)
        warped = warping.warp(label, probability, 0.5)
        target = probability > 0.5
        assert components(warped) == components(label)
        assert (warped[label == target] == target[label == target]).all()
        assert (warped != target).sum() < (label != target).sum()


def test_a_wall_that_is_thicker_costs_no_warping_error():
    label = np.ones((16, 16), np.uint8)
    label[:, 8] = 0
    proposal = label.astype(float)
    proposal[:, 6:11] = 0
    found = isbi.evaluate(label[None], proposal[None])
    assert found['warping_error'] == 0 and found['v_rand'] == 1 and found['pixel_error'] > 0.1


def pairs(a, b, chosen):
    """Ordered pairs of chosen pixels, each with itself, together in a, in b, in both."""
    a, b = a[chosen], b[chosen]
    b = np.where(b == 0, -1 - np.arange(len(b)), b)  # a membrane pixel is a cell of its own
    same_a, same_b = a[:, None] == a[None, :], b[:, None] == b[None, :]
    return (same_a & same_b).sum(), same_a.sum(), same_b.sum()


def test_rand_counts_pairs_of_pixels():
    rng = np.random.default_rng(1)
    for _ in range(5):
        label, cells = rng.random((2, 9, 11)) > 0.35
        parts = ndimage.label(label)[0], ndimage.label(cells)[0]
        sums = partitions.rand_sums(partitions.contingency(label, cells))
        assert tuple(sums) == pairs(*parts, label)


def test_thinned_cells_are_parted_by_lines_that_touch_two():
    rng = np.random.default_rng(2)
    cells = ndimage.gaussian_filter(rng.random((32, 32)), 2) > 0.52
    thinned = partitions.thin(cells)
    before, number = ndimage.label(cells)
    after, still = ndimage.label(thinned)
    assert number == still > 3
    assert all(len(np.unique(after[before == i])) == 1 for i in range(1, number + 1))
    assert not (cells & ~thinned).any()
    for y, x in np.argwhere(~thinned):
        steps = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        near = {int(after[p]) for p in steps if 0 <= p[0] < 32 and 0 <= p[1] < 32} - {0}
        assert len(near) != 1


def test_a_slice_is_a_stack_of_one():
    labels, probabilities = stacks('shift3')
    assert isbi.evaluate(labels[0], probabilities[0]) == isbi.evaluate(labels, probabilities)


def test_the_order_of_slices_does_not_matter():
    labels, probabilities = stacks('voronoi64_stack3')
    expected = isbi.evaluate(labels, probabilities)
    for order in itertools.islice(itertools.permutations(range(3)), 1, 3):
        found = isbi.evaluate(labels[list(order)], probabilities[list(order)])
        assert found == pytest.approx(expected, abs=1e-14)
