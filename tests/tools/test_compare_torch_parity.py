"""The comparison itself, on narrow networks; run with `-m parity` where Torch is installed."""

import importlib
import json
import shutil
import sys

import pytest

from segjax.models import MaskRCNN, UNet
from segjax.tools import race
from segjax.tools.compare_torch.setting import Setting

pytestmark = pytest.mark.parity
PACKAGE = 'segjax.tools.compare_torch'
RATES = {'vs_eager', 'vs_compile', 'jax_ms', 'jax_images_per_s', 'compile_images_per_s'}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Torch may be imported, its compiler does nothing, and a race is short."""
    if sys.modules.get('torch', '') is None:
        del sys.modules['torch']
    torch = pytest.importorskip('torch')
    monkeypatch.setattr(torch, 'compile', lambda module, **options: module)
    monkeypatch.setattr(race, 'ROUNDS', (1, 1))


def part(name):
    return importlib.import_module(f'{PACKAGE}.{name}')


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_network_runs_in_both_types(dtype):
    networks, unet = part('networks'), part('twins.unet')
    network = networks.Network(
        UNet(2, (8, 16, 32), padding='same', norm='batch', dropout=0.0),
        lambda: unet.UNet(2, (8, 16, 32)),
        2,
        (32, 32, 3),
    )
    said = []
    found = networks.compare_network(network, Setting('cpu', dtype, 2), say=said.append)
    assert found.keys() == {'inference', 'train'}
    assert all(found[name].keys() >= RATES for name in found)
    assert len(said) == 2  # how far logits, and loss and gradients, are apart


def test_sides_that_differ_are_not_compared():
    networks, unet = part('networks'), part('twins.unet')

    class Other(unet.UNet):
        def forward(self, x):
            return super().forward(x) + 1

    model = UNet(2, (8, 16), padding='same', norm='batch', dropout=0.0)
    network = networks.Network(model, lambda: Other(2, (8, 16)), 2, (16, 16, 3))
    with pytest.raises(ValueError, match='logits differ'):
        networks.compare_network(network, Setting(), say=print)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_an_operation_runs_in_both_types(dtype):
    operations = part('operations')
    for name in ('depthwise_conv_stride_2', 'conv_transpose_4x4_stride_2', 'max_pool_2x2'):
        operation = operations.OPERATIONS[name]
        kernel = (*operation.kernel[:-1], 96) if operation.kernel else ()
        small = operation._replace(image=(1, 8, 8, operation.image[3]), kernel=kernel)
        found = operations.compare_operation(small, Setting('cpu', dtype, 2))
        assert found['forward']['vs_eager'] > 0
        assert found['gradient']['vs_eager'] > 0


@pytest.mark.skipif(not shutil.which('g++'), reason='no C++ compiler')
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_detector_finds_what_torchvision_finds_and_trains(dtype):
    detectors = part('detectors')
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f'torchvision: {error}')
    golden = importlib.import_module('segjax.tools.detection_golden')
    part('twins.mask_rcnn').prepare_torchvision()
    detector = detectors.Detector(
        MaskRCNN(**golden.FIELDS), lambda: golden._network('mask1'), (96, 128)
    )
    said = []
    setting = Setting('cpu', dtype, 2)
    found = detectors.compare_detector(detector, setting, trains=True, say=said.append)
    assert found.keys() == {'inference', 'train'}
    assert 'found on both sides' in said[0]


def test_a_run_writes_its_table_and_its_file(monkeypatch, tmp_path, capsys):
    main, networks, unet = part('__main__'), part('networks'), part('twins.unet')
    model = UNet(2, (8, 16), padding='same', norm='batch', dropout=0.0)
    tiny = networks.Network(model, lambda: unet.UNet(2, (8, 16)), 2, (16, 16, 3))
    monkeypatch.setitem(networks.NETWORKS, 'unet_64', tiny)
    file = tmp_path / 'ratios.json'
    options = '--nets=unet_64 --ops= --device=cpu --dtype=bfloat16 --batch=2'
    assert main.main([*options.split(), f'--json={file}']) == 0
    assert '| `unet_64` |' in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written['nets']['unet_64']['inference']['vs_compile'] > 0
    assert written['made_with']['dtype'] == 'bfloat16'


def test_a_network_that_lacks_its_twin_is_left_out(monkeypatch):
    main, twin = part('__main__'), part('twins.mask_rcnn')
    for name in ('torchvision', 'torchvision.extension', 'torchvision.ops'):
        monkeypatch.setitem(sys.modules, name, None)
    said = []
    found = main.compare_all(['maskrcnn_resnet50_fpn'], [], Setting(), say=said.append)
    assert found == {'nets': {}, 'ops': {}}
    assert 'left out: torchvision cannot be imported' in said[-1]
    assert twin


def test_a_gpu_that_is_not_there_is_a_user_error(capsys):
    torch = importlib.import_module('torch')
    if torch.cuda.is_available():
        pytest.skip('there is one')
    assert part('__main__').main(['--device=gpu']) == 2
    assert 'Torch sees no GPU' in capsys.readouterr().err
