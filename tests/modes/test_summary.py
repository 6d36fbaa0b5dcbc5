"""--mode=summary: counts that a person can check; nothing is allocated."""

import dataclasses
import json

import pytest

from segjax import config
from segjax.config import RunOptions
from segjax.models import FCN
from segjax.modes import summary


@pytest.fixture
def summarise(tmp_path):
    """summary.json of an experiment."""

    def call(experiment, **options):
        assert summary.run(experiment, RunOptions(workdir=tmp_path / 'run', **options)) == 0
        return json.loads((tmp_path / 'run' / 'summary.json').read_text())

    return call


def with_model(experiment, model, **optimizer):
    rule = dataclasses.replace(experiment.optimizer, **optimizer)
    return dataclasses.replace(experiment, model=model, optimizer=rule)


VGG16_CONVS = 14_714_688  # the thirteen layers, as torchvision's vgg16().features
FC6, FC7 = 7 * 7 * 512 * 4096, 4096 * 4096
SCORES = 4096 * 21 + 512 * 21 + 256 * 21


def test_published_fcn8s_is_counted_to_the_last_parameter(tiny, summarise):
    found = summarise(with_model(tiny, FCN(num_classes=21)), input='224x224')
    assert found['params'] == 134_362_751
    assert found['params'] == VGG16_CONVS + (FC6 + 4096) + (FC7 + 4096) + SCORES + 3 * 21
    assert found['params_frozen'] == 0
    # 15.35 GMAC is VGG16's convolutional part at 224x224; then a 7x7 map for fc6, fc7 and the
    # scores, 14x14 and 28x28 for the scores of the skips
    vgg16, skips = 15_346_630_656, (14 * 14 * 512 + 28 * 28 * 256) * 21
    assert found['macs_per_image'] == vgg16 + 49 * (FC6 + FC7 + 4096 * 21) + skips
    assert found['input_shape'] == [1, 224, 224, 3]


def test_a_network_larger_than_any_memory_is_summed_up(tiny, summarise):
    found = summarise(with_model(tiny, FCN(num_classes=21, fc_features=1_000_000)))
    assert found['params'] > 1e12


def test_every_layer_has_a_line(tiny, summarise, capsys):
    summarise(with_model(tiny, FCN(num_classes=21)), input='32x64')
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    # path, kind, input, output, parameters, MMAC: 32 * 64 * 3 * 3 * 3 * 64 / 1e6
    first = ['vgg16/stage1/conv1_1', 'Conv', '32x64x3', '32x64x64', '1,792', '3.5']
    assert lines['vgg16/stage1/conv1_1'] == first
    assert lines['fc6/conv'][2:4] == ['1x2x512', '1x2x4096']
    assert sum(path.startswith('vgg16/') for path in lines) == 13


def test_frozen_parameters_are_counted_apart(tiny, summarise):
    found = summarise(with_model(tiny, FCN(num_classes=21), frozen=('^vgg16/',)))
    assert found['params_frozen'] == VGG16_CONVS
    assert found['params'] == 134_362_751 - VGG16_CONVS


def test_the_experiments_own_crop_is_the_default_size(tiny, summarise):
    assert summarise(tiny)['input_shape'] == [1, 16, 16, 3]
    twice = summarise(tiny, input='32x16')
    assert twice['input_shape'] == [1, 32, 16, 3]
    # every layer of a 'same'-padded network works on twice the pixels
    assert twice['macs_per_image'] == 2 * summarise(tiny)['macs_per_image']


def test_classes_left_open_are_those_of_the_data(tiny, summarise):
    assert config.flatten(tiny)['model.num_classes'] == 6
    open_model = config.replace(tiny, {'model.num_classes': 0})
    assert summarise(open_model) == summarise(tiny)


def test_compile_reports_the_memory_of_a_step(tiny, summarise):
    assert 'step_memory' not in summarise(tiny)
    found = summarise(tiny, compile=True)
    memory, b, pixels = found['step_memory'], 8, 16 * 16
    state = 4 * 2 * found['params']  # float32 parameters and their momentum
    batch = b * pixels * (3 + 4)  # uint8 RGB, int32 labels
    assert state + batch <= memory['arguments'] <= state + batch + 1024  # step, key, counts
    # at full resolution, the backward pass needs the 2 channels of at least one layer of the batch
    assert memory['temporary'] >= 4 * b * pixels * 2


def test_output_names_another_folder(tiny, tmp_path):
    options = RunOptions(workdir=tmp_path / 'run', output=str(tmp_path / 'elsewhere'))
    assert summary.run(tiny, options) == 0
    assert (tmp_path / 'elsewhere' / 'summary.json').is_file()
    assert not (tmp_path / 'run').exists()
