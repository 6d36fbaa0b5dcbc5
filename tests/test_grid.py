"""From words to the arms of a sweep. Nothing is trained."""

import dataclasses
import sys
from pathlib import Path

import pytest

from launch import load_experiment
from segjax import commandline, grid
from segjax.data.dataset import Info, color_map
from segjax.train.experiment import bind
from segjax.types import UserError
from tests.test_commandline import Experiment, Net


@dataclasses.dataclass(frozen=True)
class Folded(Experiment):
    folds: int = 0
    fold: int = 0


BASE = Folded(model=Net())
ROOT = Path(__file__).parents[1]
TWO_CLASSES = Info(('background', 'nucleus'), color_map(2))


def own_sweep(e):
    yield 'plain', dataclasses.replace(e, model=dataclasses.replace(e.model, deep=False))
    yield 'deep', e
    yield 'fast', dataclasses.replace(e, lr=1.0)


def configure(*argv, sweep=None):
    words = commandline.split(['--exp=tiny', '--mode=sweep', *argv])
    options, rest = commandline.parse_options(words)
    return grid.configure(BASE, sweep, options, rest)


def runs(*argv, sweep=None):
    return [arm.run for arm in configure(*argv, sweep=sweep)[0]]


def refusal(*argv, sweep=None):
    with pytest.raises(UserError) as refused:
        configure(*argv, sweep=sweep)
    return str(refused.value)


def test_a_grid_has_every_combination_seed_by_seed():
    arms, _ = configure('--deep=true,false', '--lr=0.1,0.2')
    assert [arm.name for arm in arms] == [
        *('deep=true,lr=0.1', 'deep=true,lr=0.2', 'deep=false,lr=0.1', 'deep=false,lr=0.2'),
    ]
    assert [(a.experiment.model.deep, a.experiment.lr) for a in arms[1:3]] == [
        *((True, 0.2), (False, 0.1)),
    ]
    assert runs('--deep=true,false', '--seed=0,1') == [
        *('deep=true,seed=0', 'deep=false,seed=0', 'deep=true,seed=1', 'deep=false,seed=1'),
    ]


def test_folds_repeat_an_arm():
    assert runs('--folds=2') == ['tiny,seed=0,fold=0', 'tiny,seed=0,fold=1']
    assert runs('--folds=5', '--fold=3', sweep=own_sweep)[0] == 'plain,seed=0,fold=3'
    arms, options = configure('--folds=3', '--fold=0..2', '--seed=1,2', '--deep=true,false')
    assert len(arms) == 3 * 2 * 2 and arms[1].run == 'deep=true,seed=1,fold=1'
    assert str(options.workdir) == 'runs/tiny/folds=3'


def test_folds_that_there_are_not():
    assert refusal('--fold=0,1', '--seed=0') == '--fold=1: needs --folds.'
    assert '--fold=9: with --folds=5 takes 0 to 4' in refusal('--fold=9', '--folds=5')
    assert '--folds=-2: takes 2 or more' in refusal('--folds=-2')


def test_a_range_of_whole_numbers():
    assert runs('--seed=0..2,7') == [f'tiny,seed={s}' for s in (0, 1, 2, 7)]


def test_a_tuple_is_given_several_times():
    arms, _ = configure('--widths=4,8', '--widths=8,16', '--seed=2')
    assert [(a.experiment.model.widths, a.seed) for a in arms] == [((4, 8), 2), ((8, 16), 2)]


def test_seeds_alone_are_one_arm():
    assert runs('--seed=5,6') == ['tiny,seed=5', 'tiny,seed=6']


def test_sweep_is_taken_as_it_is_or_with_seeds():
    assert runs(sweep=own_sweep) == ['plain,seed=0', 'deep,seed=0', 'fast,seed=0']
    seeded = runs('--seed=1,2', '--arms=fast,plain', sweep=own_sweep)
    assert seeded == ['fast,seed=1', 'plain,seed=1', 'fast,seed=2', 'plain,seed=2']


def test_arms_are_named_once_and_by_names_with_commas():
    assert runs('--arms=fast,fast', sweep=own_sweep) == ['fast,seed=0']
    assert runs(
        '--deep=true,false', '--lr=0.1,0.2', '--arms=deep=false,lr=0.2,deep=true,lr=0.1'
    ) == [
        'deep=false,lr=0.2,seed=0',
        'deep=true,lr=0.1,seed=0',
    ]


def test_one_value_holds_for_all_arms_and_names_the_directory():
    arms, options = configure('--widths=2,4', '--seed=1', sweep=own_sweep)
    assert {arm.experiment.model.widths for arm in arms} == {(2, 4)}
    assert [arm.experiment.model.deep for arm in arms] == [False, True, True]
    assert str(options.workdir) == 'runs/tiny/widths=2,4'
    assert str(configure('--seed=1,2')[1].workdir) == 'runs/tiny'
    assert str(configure('--seed=1', '--workdir=there')[1].workdir) == 'there'
    assert str(configure('--head=1', '--seed=1,2')[1].workdir) == 'runs/tiny/head=1'


def test_other_fields_with_several_values_take_the_place_of_sweep():
    assert runs('--deep=true,false', sweep=own_sweep) == ['deep=true,seed=0', 'deep=false,seed=0']


FILES = sorted((ROOT / 'experiments').glob('[!_]*.py'))


def arms_of(name, *argv):
    """The experiments by arm, of a sweep() with what was typed."""
    experiment = load_experiment(ROOT / 'experiments', name)
    own = sys.modules[f'experiments.{name}'].sweep
    words = commandline.split([f'--exp={name}', '--mode=sweep', *argv])
    options, rest = commandline.parse_options(words)
    arms, _ = grid.configure(experiment, own, options, rest)
    return {arm.name: arm.experiment for arm in arms}


@pytest.mark.parametrize(
    'name', [file.stem for file in FILES if 'def sweep(' in file.read_text('utf-8')]
)
def test_sweeps_of_the_experiments(name):
    experiment = load_experiment(ROOT / 'experiments', name)
    arms = arms_of(name)  # refuses two that are the same
    assert len(arms) == len(list(sys.modules[f'experiments.{name}'].sweep())) > 1
    same = ('dataset', 'train', 'eval', 'num_steps', 'seed')  # what every comparison rests on
    assert all(getattr(arm, of) == getattr(experiment, of) for arm in arms.values() for of in same)


def test_arms_follow_the_widths_that_are_given():
    """The published U-Net++, with the wide U-Net of its paper."""
    models = {k: e.model for k, e in arms_of('unetpp_nuclei', '--widths=32,64,128,256,512').items()}
    assert models['wide_unet'].widths == (35, 70, 140, 280, 560)
    assert models['unetpp'].widths == models['unet'].widths == (32, 64, 128, 256, 512)
    assert models['unetpp_l2_alone'].widths == (32, 64, 128)


def test_the_ramp_of_an_arm_is_as_long_as_its_training():
    arms = arms_of('unetpp_nuclei', '--num_steps=100')
    assert bind(arms['unetpp_ds_ramp'], TWO_CLASSES).task.supervision_steps == 100


def test_a_value_that_an_arm_does_not_take_is_refused():
    assert 'arm fast has a value of its own, 1.0' in refusal('--lr=0.5', sweep=own_sweep)
    assert runs('--lr=0.5', '--arms=plain,deep', sweep=own_sweep) == ['plain,seed=0', 'deep,seed=0']
    for given in ('--supervision=halving', '--deep_supervision=false'):
        with pytest.raises(UserError, match='arm unetpp_ds_mean has a value of its own'):
            arms_of('unetpp_nuclei', given)


def test_a_sweep_without_an_argument_has_the_values_in_all_its_arms():
    arms, _ = configure('--lr=0.5', '--arms=plain,deep', sweep=lambda: own_sweep(BASE))
    assert [arm.experiment.lr for arm in arms] == [0.5, 0.5]
    assert not arms[0].experiment.model.deep
    assert 'arms deep and fast are the same' in refusal('--lr=1', sweep=lambda: own_sweep(BASE))


def test_arms_that_become_the_same_are_refused():
    text = refusal('--lr=1', sweep=own_sweep)
    assert 'arms deep and fast are the same' in text and 'lr: 0.1 -> 1.0' in text
    assert runs('--lr=1', '--arms=plain,fast', sweep=own_sweep) == ['plain,seed=0', 'fast,seed=0']


def test_mistakes_are_one_line():
    assert 'has no sweep() of its own' in refusal()
    assert 'has no sweep() of its own' in refusal('--lr=0.5')
    assert '--deep takes true or false' in refusal('--deep=true,perhaps')
    assert 'Did you mean plain?' in refusal('--arms=plane', sweep=own_sweep)
    assert "--seed takes an int; given '4..0'" in refusal('--seed=4..0')
    assert '--dep: no such field' in refusal('--dep=1,2')


def test_other_modes_are_as_ever():
    options, rest = commandline.parse_options(commandline.split(['--exp=tiny', '--lr=2']))
    experiment, options = grid.configure(BASE, own_sweep, options, rest)
    assert experiment.lr == 2 and str(options.workdir) == 'runs/tiny/lr=2.0'
