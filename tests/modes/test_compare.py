"""--mode=compare: several runs, one table, the same images side by side."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.maskrcnn_shapes import experiment as detector
from segjax import config
from segjax.config import RunOptions
from segjax.modes import compare, train
from segjax.modes import eval as evaluation
from segjax.train import distributed
from segjax.types import UserError


def options(workdir, **changes):
    return RunOptions(exp='tiny', workdir=workdir, pictures=False, tensorboard=False, **changes)


@pytest.fixture(scope='module')
def runs(tiny, tmp_path_factory):
    """Two finished runs of other seeds, one with a comma in its name."""
    root = tmp_path_factory.mktemp('runs')
    folders = [root / 'tiny', root / 'eval_every=4,seed=1']
    other = dataclasses.replace(tiny, eval_every=4, seed=1)
    for experiment, folder in zip((tiny, other), folders, strict=True):
        assert train.run(experiment, options(folder)) == 0
    return folders


def words(*folders):
    """As the command line splits them."""
    return tuple(','.join(map(str, folders)).split(','))


def test_each_run_has_the_metrics_of_its_own_evaluation(tiny, runs, tmp_path, capsys):
    asked = options(tmp_path / 'out', runs=words(*runs))
    assert compare.run(tiny, asked) == 0
    found = json.loads((tmp_path / 'out/compare/compare.json').read_text())
    assert [entry['run'] for entry in found] == [str(folder) for folder in runs]
    for entry, folder in zip(found, runs, strict=True):
        fields = json.loads((folder / 'config.json').read_text())
        fields.pop('run')
        assert evaluation.run(config.build(fields), options(folder)) == 0
        alone = json.loads((folder / 'eval/eval.json').read_text())
        assert entry['metrics'] == alone['metrics']['val']
        assert (entry['step'], entry['protocol']) == (alone['step'], alone['protocol'])
    printed = capsys.readouterr().out
    assert 'fields, tiny -> eval_every=4,seed=1\n  eval_every: 2 -> 4\n  seed: 0 -> 1' in printed
    assert [entry['fields'] for entry in found] == [[], ['eval_every: 2 -> 4', 'seed: 0 -> 1']]
    assert 'val, 8 images' in printed
    assert f'{found[1]["metrics"]["mean_iou"]:.3f}' in printed
    picture = np.asarray(Image.open(tmp_path / 'out/compare/comparison.png'))
    assert picture.shape[1] > 4 * 160
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_the_model_folder_serves_where_checkpoints_were_deleted(tiny, runs, tmp_path):
    kept = tmp_path / 'kept'
    shutil.copytree(runs[0], kept, ignore=shutil.ignore_patterns('checkpoints'))
    assert compare.run(tiny, options(tmp_path, runs=words(runs[0], kept))) == 0
    first, second = json.loads((tmp_path / 'compare/compare.json').read_text())
    assert first['metrics'] == second['metrics']


def test_a_checkpoint_may_be_named(tiny, runs, tmp_path):
    assert compare.run(tiny, options(tmp_path, runs=words(runs[0]), checkpoint='2')) == 0
    (found,) = json.loads((tmp_path / 'compare/compare.json').read_text())
    lines = map(json.loads, (runs[0] / 'metrics.jsonl').read_text().splitlines())
    logged = next(row for row in lines if row['split'] == 'val' and row['step'] == 2)
    assert (found['step'], found['metrics']['loss']) == (2, logged['loss'])


def test_without_an_experiment_the_first_run_says_what_is_evaluated(runs, tmp_path):
    asked = options(tmp_path, runs=words(*runs))
    assert compare.run(None, asked) == 0
    found = json.loads((tmp_path / 'compare/compare.json').read_text())
    assert [entry['protocol']['images'] for entry in found] == [8, 8]


def test_limit_and_output_are_those_of_the_command(tiny, runs, tmp_path):
    few = config.replace(tiny, {'eval.limit': 3})
    asked = options(tmp_path / 'unused', runs=words(runs[0]), output=str(tmp_path / 'there'))
    assert compare.run(few, asked) == 0
    (found,) = json.loads((tmp_path / 'there/compare.json').read_text())
    assert found['protocol']['images'] == 3
    assert not (tmp_path / 'unused').exists()


def test_runs_with_other_data_are_refused(tiny, runs, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(runs[0], other)
    fields = json.loads((other / 'config.json').read_text())
    (other / 'config.json').write_text(json.dumps(fields | {'dataset.scene_seed': 99}))
    with pytest.raises(UserError, match='have other data, so they cannot be compared'):
        compare.run(tiny, options(tmp_path, runs=words(runs[0], other)))


def test_what_is_no_run_is_named(tiny, runs, tmp_path):
    with pytest.raises(UserError, match='Which runs'):
        compare.run(tiny, options(tmp_path))
    with pytest.raises(UserError, match=r'nowhere holds no run'):
        compare.run(tiny, options(tmp_path, runs=words(runs[1], 'nowhere')))


def test_several_processes_are_refused(tiny, tmp_path, monkeypatch):
    for name, value in zip(distributed.OWN, ('host:1', '2', '0'), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match='is for one process'):
        compare.run(tiny, options(tmp_path, runs=('anything',)))


def test_a_detector_and_a_network_for_class_maps_are_refused_at_once(tiny, tmp_path):
    for name, experiment in (('maps', tiny), ('objects', detector())):
        (tmp_path / name).mkdir()
        fields = config.flatten(experiment) | {'run': {}}
        (tmp_path / name / 'config.json').write_text(json.dumps(fields))
    asked = options(tmp_path, runs=words(tmp_path / 'maps', tmp_path / 'objects'))
    with pytest.raises(UserError, match=r'objects finds objects and \S*maps classifies pixels'):
        compare.run(None, asked)
