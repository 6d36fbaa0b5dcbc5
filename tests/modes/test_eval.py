"""--mode=eval: the numbers of training again, to the last bit, from what it left on disk."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from segjax import config
from segjax.config import RunOptions
from segjax.models import UNetPlusPlus
from segjax.modes import eval as evaluation
from segjax.modes import train
from segjax.tasks import Semantic
from segjax.types import UserError


@pytest.fixture(scope='module')
def trained(tiny, tmp_path_factory):
    """The directory of a finished run."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    assert train.run(tiny, options(workdir)) == 0
    return workdir


def options(workdir, **changes):
    return RunOptions(exp='tiny', workdir=workdir, pictures=False, tensorboard=False, **changes)


def evaluate(experiment, workdir, **changes):
    """eval.json."""
    assert evaluation.run(experiment, options(workdir, **changes)) == 0
    return json.loads((workdir / 'eval' / 'eval.json').read_text())


def read(path):
    return json.loads(path.read_text())


def test_the_last_checkpoint_gives_the_metrics_of_the_run(tiny, trained):
    found, result = evaluate(tiny, trained, checkpoint='latest'), read(trained / 'result.json')
    assert found['metrics'] == result['metrics']
    assert found['step'] == result['step'] == 4
    assert found['protocol'] == result['protocol']
    assert found['protocol']['images'] == 8


def test_the_best_checkpoint_is_the_default(tiny, trained):
    best = read(trained / 'result.json')['best']
    found = evaluate(tiny, trained)
    assert found['step'] == best['step']
    assert found['metrics']['val']['mean_iou'] == best['value']


def test_the_model_folder_holds_the_best_weights(tiny, trained):
    best = evaluate(tiny, trained)
    assert evaluate(tiny, trained, weights=str(trained))['metrics'] == best['metrics']


def test_a_step_may_be_named(tiny, trained):
    lines = (trained / 'metrics.jsonl').read_text().splitlines()
    logged = [row for row in map(json.loads, lines) if row['split'] == 'val' and row['step'] == 2]
    found = evaluate(tiny, trained, checkpoint='2')['metrics']['val']
    assert found['mean_iou'] == logged[0]['mean_iou']
    assert found['loss'] == logged[0]['loss']


def test_the_confusion_matrix_counts_every_pixel_once(tiny, trained):
    found = evaluate(tiny, trained, checkpoint='latest')
    counts = found['confusion']
    assert sum(map(sum, counts)) == 8 * 16 * 16
    right = sum(counts[i][i] for i in range(6))
    assert found['metrics']['val']['pixel_accuracy'] == right / (8 * 16 * 16)


def test_a_batch_of_training_that_devices_cannot_share_matters_to_none(tiny, trained):
    odd = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, batch_size=3))
    assert evaluate(odd, trained)['metrics'] == evaluate(tiny, trained)['metrics']


def test_limit_evaluates_fewer_images(tiny, trained):
    found = evaluate(config.replace(tiny, {'eval.limit': 3}), trained)
    assert found['protocol']['images'] == 3
    assert sum(map(sum, found['confusion'])) == 3 * 16 * 16


def test_a_missing_checkpoint_says_what_where_and_how(tiny, tmp_path):
    with pytest.raises(UserError) as error:
        evaluate(tiny, tmp_path / 'never')
    message = str(error.value)
    assert str(tmp_path / 'never') in message
    assert '--exp=tiny' in message and '--workdir' in message and '--weights' in message
    assert not (tmp_path / 'never').exists()


def test_a_folder_that_cannot_be_made_is_said_before_evaluating(
    tiny, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr('segjax.train.job.Job.evaluate', None)
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='--output'):
        evaluate(tiny, trained, output=str(tmp_path / 'file' / 'below'))


def test_a_missing_step_names_those_that_are_there(tiny, trained):
    with pytest.raises(UserError, match=r'no checkpoint 7 .*steps there: .*4'):
        evaluate(tiny, trained, checkpoint='7')


def test_missing_weights_are_named(tiny, trained):
    with pytest.raises(UserError, match=r'nowhere\.safetensors'):
        evaluate(tiny, trained, weights='nowhere.safetensors')


def test_a_pruned_network_predicts_as_its_head_and_is_smaller(tiny, tmp_path):
    model = UNetPlusPlus(num_classes=6, widths=(2, 2, 2), depth=2, dropout=0.0)
    deep = dataclasses.replace(tiny, model=model, task=Semantic(supervision='mean'))
    assert train.run(deep, options(tmp_path / 'deep')) == 0
    head = dataclasses.replace(deep, task=Semantic(supervision='mean', head='1'))
    wanted = evaluate(head, tmp_path / 'deep')
    assert evaluation.run(deep, options(tmp_path / 'deep', prune=1)) == 0
    folder = tmp_path / 'deep/eval_L1'
    found = read(folder / 'eval.json')
    assert found['confusion'] == wanted['confusion']
    assert found['metrics']['val']['loss'] == pytest.approx(wanted['metrics']['val']['loss'])
    described = read(folder / 'model/model.json')
    assert (described['model']['depth'], described['task']['head']) == (1, 'main')
    size = lambda path: (path / 'model/model.safetensors').stat().st_size
    assert size(folder) < size(tmp_path / 'deep')
    with pytest.raises(UserError, match=r'can be pruned to 1\.\.2'):
        evaluation.run(deep, options(tmp_path / 'deep', prune=3))


def test_only_a_unetpp_is_pruned(tiny, trained):
    with pytest.raises(UserError, match='--prune=1: only a U-Net'):
        evaluate(tiny, trained, prune=1)


def test_runs_are_averaged_by_their_probabilities(tiny, trained, tmp_path):
    other = tmp_path / 'seed=1'
    assert train.run(dataclasses.replace(tiny, seed=1), options(other)) == 0

    def mean(*folders):
        asked = options(tmp_path, runs=tuple(map(str, folders)))
        assert evaluation.run(tiny, asked) == 0
        return read(tmp_path / 'eval_mean/eval.json')

    alone = evaluate(tiny, trained)
    assert mean(trained, trained)['confusion'] == alone['confusion']
    both = mean(trained, other)
    assert both['metrics']['val']['loss'] != alone['metrics']['val']['loss']
    assert both['metrics'] == mean(other, trained)['metrics']
    assert str(other) in both['weights'] and str(trained) in both['weights']


def test_only_runs_of_the_network_are_averaged(tiny, trained, tmp_path):
    def refused(message, **changes):
        asked = options(tmp_path, runs=(str(trained),))
        with pytest.raises(UserError, match=message):
            evaluation.run(config.replace(tiny, changes), asked)

    refused(r'dataset\.normalize: centered -> ', **{'dataset.normalize': 'centered'})
    refused(r'fold: 1 -> 0', folds=2, fold=1)


def test_what_holds_no_weights_is_said_without_an_experiment_too(tmp_path):
    job = SimpleNamespace(abstract_state=dict)
    with pytest.raises(UserError, match=r'holds no checkpoint\. Train first, name another'):
        evaluation.find_trained(job, tmp_path, RunOptions())
    with pytest.raises(UserError, match=r'Train first \(python launch\.py --exp=tiny\)'):
        evaluation.find_trained(job, tmp_path, options(tmp_path))


def test_a_damaged_description_of_a_model_is_named(tmp_path):
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model/model.json').write_text('{')
    with pytest.raises(UserError, match=r'model\.json is damaged'):
        evaluation.find_trained(SimpleNamespace(), tmp_path, RunOptions())
