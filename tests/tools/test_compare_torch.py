"""The part of the comparison that needs no Torch: the device, rates, tables, what is the same."""

import jax
import numpy as np
import pytest

from segjax.tools.compare_torch import rates, setting, tables
from segjax.tools.compare_torch.agreement import Found, difference, found_again, require
from segjax.tools.compare_torch.setting import Setting
from segjax.types import UserError


@pytest.fixture
def platforms(monkeypatch):
    """What JAX is told to use."""
    told = []
    monkeypatch.setattr(jax.config, 'update', lambda name, value: told.append((name, value)))
    return told


@pytest.mark.parametrize(
    ('asked', 'torch_sees', 'jax_sees', 'device'),
    [
        (None, True, 'gpu', 'gpu'),
        ('gpu', True, 'gpu', 'gpu'),
        ('cpu', True, 'gpu', 'cpu'),
        (None, True, 'cpu', 'cpu'),
        (None, False, 'gpu', 'cpu'),
    ],
)
def test_the_device_is_one_that_both_sides_see(
    monkeypatch, platforms, asked, torch_sees, jax_sees, device
):
    monkeypatch.setattr(jax, 'default_backend', lambda: jax_sees)
    assert setting.choose_device(asked, torch_sees_gpu=torch_sees) == device
    assert platforms == ([('jax_platforms', 'cpu')] if device == 'cpu' else [])


@pytest.mark.parametrize(
    ('torch_sees', 'jax_sees', 'blind'), [(False, 'gpu', 'Torch'), (True, 'cpu', 'JAX')]
)
def test_says_who_does_not_see_the_gpu(monkeypatch, platforms, torch_sees, jax_sees, blind):
    monkeypatch.setattr(jax, 'default_backend', lambda: jax_sees)
    with pytest.raises(UserError, match=f'{blind} sees no GPU'):
        setting.choose_device('gpu', torch_sees_gpu=torch_sees)


def test_a_batch_is_one_image_on_a_cpu_unless_another_is_asked_for():
    assert Setting('cpu').images(32) == 1
    assert Setting('gpu').images(32) == 32
    assert Setting('gpu', batch=4).images(32) == Setting('cpu', batch=4).images(32) == 4


@pytest.mark.parametrize(
    ('kind', 'bfloat16', 'float32'),
    [
        ('NVIDIA H200', 989.5e12, 494.7e12),
        ('NVIDIA H100 80GB HBM3', 989.5e12, 494.7e12),
        ('NVIDIA H100 PCIe', 756e12, 378e12),
        ('NVIDIA A100-SXM4-80GB', 312e12, 156e12),
        ('cpu', None, None),
    ],
)
def test_the_peak_of_a_card(kind, bfloat16, float32):
    assert rates.peak_flops(kind, 'bfloat16') == bfloat16
    assert rates.peak_flops(kind, 'float32') == float32


def test_rates_of_a_batch():
    times = {'vs_eager': 0.5, 'jax_ms': 20.0, 'eager_ms': 40.0}
    found = rates.with_rates(times, images=4, macs=10**9, passes=3, peak=2.4e12)
    # 4 images in 20 ms; 2 * 3 * 1e9 operations each, of 2.4e12 a second
    assert found == times | {
        'jax_images_per_s': pytest.approx(200),
        'eager_images_per_s': pytest.approx(100),
        'jax_mfu': pytest.approx(0.5),
        'eager_mfu': pytest.approx(0.25),
    }
    unknown = rates.with_rates(times, images=4, macs=10**9, passes=3, peak=None)
    assert not any(key.endswith('mfu') for key in unknown)


def test_tables_show_what_there_is():
    inference = {'vs_eager': 0.5, 'vs_compile': 0.75, 'jax_images_per_s': 1234.5, 'jax_mfu': 0.42}
    nets = {'a': {'inference': inference, 'train': {'vs_eager': 1.5, 'vs_compile': 2.0}}}
    ops = {'b': {'forward': {'vs_cpp': 0.25, 'jax_ms': 1.0}}}
    said = []
    tables.print_tables({'nets': nets, 'ops': ops}, say=said.append)
    assert said[1] == '| `a` | 0.50 | 0.75 | 1,234.5 | 42% | 1.50 | 2.00 | - | - |'
    assert said[3] == '| `b` | 0.25 | - |'
    columns = {line.count('|') for text in said[:2] for line in text.strip().split('\n')}
    assert len(columns) == 1
    said.clear()
    tables.print_tables({'nets': {}, 'ops': ops}, say=said.append)
    assert not any('network' in text for text in said)


def test_detections_are_found_again_whatever_their_order():
    boxes = np.array([[0, 0, 8, 8], [20, 20, 40, 40], [20, 20, 40, 40]], np.float32)
    expected = Found(boxes, np.array([0.9, 0.8, 0.7]), np.array([1, 2, 3]))
    turned = Found(*(x[::-1] for x in expected))
    assert found_again(turned, expected) == 1
    moved = expected._replace(boxes=boxes + np.array([[0.1], [0.1], [1.0]], np.float32))
    assert found_again(moved, expected) == pytest.approx(2 / 3)
    assert found_again(expected._replace(classes=np.array([1, 2, 2])), expected) == pytest.approx(
        2 / 3
    )
    assert found_again(expected._replace(scores=np.array([0.9, 0.7, 0.7])), expected) < 0.7


def test_difference_is_relative_and_over_the_whole_tree():
    expected = {'a': np.array([3.0, 0.0]), 'b': np.array([[4.0]])}
    found = {'a': np.array([3.0, 0.5]), 'b': np.array([[4.0]])}
    assert difference(found, expected) == pytest.approx(0.1)


@pytest.mark.parametrize('apart', [2e-3, float('nan')])
def test_what_differs_is_not_compared(apart):
    require(1e-3, 1e-3, 'logits')
    with pytest.raises(ValueError, match='logits differ from those of Torch'):
        require(apart, 1e-3, 'logits')
