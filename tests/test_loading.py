"""Runs by their folder, networks of others by name, with their files by path."""

import json

import jax
import numpy as np
import pytest

import segjax
from segjax.data.detection import DetectionEval
from segjax.known_networks import NETWORKS, numbered
from segjax.predictor import Detector
from segjax.pretrained import export_arrays, table
from segjax.pretrained.safetensors_io import save_variables
from segjax.types import UserError
from tests.model_folders import INFO, draw, write_run
from tests.pretrained import torch_writer as writer

RESNET18 = {'backbone': 'resnet18', 'backbone_width': 2}
NARROW = {  # fields that make a network quick
    'unet_carvana': {'widths': (2,) * 5},
    'fcn_resnet50': {'width': 2},
    'maskrcnn_resnet50_fpn': {**RESNET18, 'width': 4, 'fc_features': 4},
    'fasterrcnn_resnet50_fpn_v2': {**RESNET18, 'width': 4, 'fc_features': 4},
    'smp_unet_resnet18': {'width': 2, 'backbone_width': 2},
    'smp_unetplusplus_resnet18': {'widths': (2,) * 5, 'backbone_width': 2, 'full_width': 2},
    'smp_deeplabv3plus_resnet18': {'width': 1 / 32, 'features': 4, 'low_level_features': 2},
    'ternausnet11': {'width': 2, 'backbone_width': 2},
    'deeplabv3_mobilenet_v2_half': {'features': 4},
}


@pytest.fixture
def narrow(monkeypatch):
    """`narrow(name)`: the model of a known network, which is narrow from then on."""

    def make(name):
        model = NETWORKS[name].model.clone(**NARROW[name])
        monkeypatch.setitem(NETWORKS, name, NETWORKS[name]._replace(model=model))
        return model

    return make


def write_torch(path, arrays):
    """A state dict as torch.save writes it."""
    tensors = {n: writer.tensor(str(i), a) for i, (n, a) in enumerate(arrays.items())}
    writer.save_zip(path, tensors)
    return path


def assert_same(found, expected):
    """Equal trees, to the bit."""
    same = lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    jax.tree.map(same, found, expected)


def test_a_run_is_found_by_its_folder_its_files_and_its_name(tmp_path, monkeypatch):
    write_run(tmp_path / 'runs' / 'mine')
    monkeypatch.chdir(tmp_path)
    places = ['mine', 'runs/mine', 'runs/mine/model', 'runs/mine/model/model.safetensors']
    for place in places:
        assert segjax.load(place).info == INFO
    with pytest.raises(UserError, match='runs/yours: neither a finished run'):
        segjax.load('runs/yours')
    with pytest.raises(UserError, match=r'Did you mean .*fcn8s'):
        segjax.load('fcn8')
    (tmp_path / 'runs/mine/model/model.json').unlink()
    (tmp_path / 'runs/mine/config.json').write_text('{}')
    with pytest.raises(UserError, match=r'runs/mine is a run that is not finished: .* --workdir='):
        segjax.load('runs/mine')


def test_damage_is_one_clear_message(tmp_path):
    described = write_run(tmp_path) / 'model' / 'model.json'
    whole = json.loads(described.read_text())
    for text in ('{', '[]', json.dumps({**whole, 'model': 3}), json.dumps({'model': {}})):
        described.write_text(text)
        with pytest.raises(UserError, match=r'model\.json is damaged'):
            segjax.load(tmp_path)
    whole['model']['widths'] = [4, 8]
    described.write_text(json.dumps(whole))
    with pytest.raises(UserError, match='misshapen'):
        segjax.load(tmp_path)


@pytest.mark.parametrize('name', NETWORKS)
def test_known_networks_have_weights_of_their_size(name):
    """To download or by path; as many names as classes, of one channel two."""
    model, info, _ = NETWORKS[name]
    assert table.find(name).scope == 'whole'
    assert len(info.class_names) == len(info.palette) == max(model.num_classes, 2)


def test_whole_networks_of_the_table_are_known():
    """All but classifiers and encoders, whose figures are of ImageNet."""
    whole = {n for n, k in table.KNOWN.items() if k.scope == 'whole' and 'ImageNet' not in k.figure}
    assert whole == NETWORKS.keys()


def test_detectors_see_pictures_as_torchvision_shows_them():
    """COCO's names at the places of their ids; 800 pixels, or 1333; one of four canvases."""
    _, info, pipeline = NETWORKS['maskrcnn_resnet50_fpn']
    names = info.class_names
    assert len(names) == 91 and len(set(names)) == 91
    assert sum(name.startswith('nothing') for name in names) == 10
    there = {1: 'person', 13: 'stop sign', 27: 'backpack', 44: 'bottle', 67: 'dining table'}
    assert {i: names[i] for i in there} == there and names[90] == 'toothbrush'
    assert isinstance(pipeline, DetectionEval)
    assert pipeline.fitted((480, 640)) == (800, 1066) and pipeline.canvas((480, 640)) == (800, 1088)
    assert pipeline.canvas((640, 427)) == (1344, 800)
    assert pipeline.fitted((300, 900)) == (444, 1333)


def test_published_weights_by_name(tmp_path, monkeypatch, narrow):
    """As if a file in the names of its publisher had been downloaded."""
    model, file = narrow('unet_carvana'), tmp_path / 'file.safetensors'
    variables = draw(model)
    save_variables(file, export_arrays(model, variables, layout='milesial'))
    monkeypatch.setattr('segjax.pretrained.initial.fetch', lambda *_, **__: file)
    found = segjax.load('unet_carvana')
    assert found.info.class_names == ('background', 'car')
    assert found.networks[0].normalize == 'unit' and found.networks[0].channels == 3
    assert_same(found.variables[0], variables)


@pytest.mark.parametrize('name', NARROW)
def test_a_file_by_its_path_says_how_many_classes_there_are(name, tmp_path, narrow):
    model = narrow(name).clone(num_classes=5)
    variables = draw(model)
    arrays = export_arrays(model, variables, layout=table.find(name).layout)
    file = write_torch(tmp_path / 'mine.pth', arrays)
    found = segjax.load(name, file)
    (network,) = found.networks
    assert network.model == model and found.name == f'{name} {file}'
    assert_same(found.variables[0], variables)
    detects = isinstance(found, Detector)
    assert detects == ('rcnn' in name)
    assert found.info == numbered(5, background=detects)


def test_a_second_head_of_a_file_is_left_out(tmp_path, narrow):
    model = narrow('fcn_resnet50').clone(num_classes=3, aux=True)
    variables = draw(model)
    arrays = export_arrays(model, variables, layout='torchvision')
    assert any(name.startswith('aux_classifier') for name in arrays)
    found = segjax.load('fcn_resnet50', write_torch(tmp_path / 'mine.pth', arrays))
    kept = found.variables[0]['params']
    assert kept.keys() == {n for n in variables['params'] if 'aux' not in n}
    assert_same(kept['score'], variables['params']['score'])


def test_the_known_number_of_classes_keeps_their_names(tmp_path, narrow):
    model = narrow('unet_carvana')
    arrays = export_arrays(model, draw(model), layout='milesial')
    file = write_torch(tmp_path / 'mine.pth', arrays)
    once = segjax.load('unet_carvana', file)
    assert once.info.class_names == ('background', 'car')
    twice = segjax.load('unet_carvana', file, 'unet_carvana', file)
    assert len(twice.networks) == 2


def test_files_that_cannot_be_understood(tmp_path, narrow):
    model = narrow('unet_carvana')
    file = write_torch(tmp_path / 'a.pth', {'some.weight': np.ones(3, np.float32)})
    with pytest.raises(UserError, match=r'a\.pth: of which network\? .*--weights=NAME,'):
        segjax.load(file)
    with pytest.raises(UserError, match='do not fit the model'):
        segjax.load('unet_carvana', file)
    with pytest.raises(UserError, match='no file of it to download'):
        segjax.load('smp_unet_resnet18')
    with pytest.raises(UserError, match='neither a finished run'):
        segjax.load('unet_carvana', tmp_path / 'b.pth')
    other = model.clone(widths=(3,) * 5)
    arrays = export_arrays(other, draw(other), layout='milesial')
    with pytest.raises(UserError, match='misshapen'):
        segjax.load('unet_carvana', write_torch(tmp_path / 'c.pth', arrays))


def test_names_of_classes_that_a_file_does_not_tell():
    assert numbered(1, background=False).class_names == ('background', 'foreground')
    assert numbered(3, background=True).class_names == ('background', 'class 1', 'class 2')
    assert numbered(2, background=False).class_names == ('class 0', 'class 1')
