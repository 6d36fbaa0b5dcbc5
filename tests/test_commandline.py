"""From words to an experiment: names, values, the run that is meant."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args

import flax.linen as nn
import pytest

from segjax import commandline, config
from segjax.config import RunOptions
from segjax.train import rundir
from segjax.types import UserError


class Net(nn.Module):
    widths: tuple[int, ...] = (4, 8)
    norm: Literal['none', 'batch'] = 'batch'
    deep: bool = True
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Transform:
    pass


@dataclasses.dataclass(frozen=True)
class Scale(Transform):
    low: float = 0.5

    def __post_init__(self):
        if self.low <= 0:
            raise ValueError('low must be positive')


@dataclasses.dataclass(frozen=True)
class Flip(Transform):
    low: float = 0.1


@dataclasses.dataclass(frozen=True)
class Train:
    crop: tuple[int, int] = (96, 64)
    batch_size: int = 8
    transforms: tuple[Transform, ...] = (Scale(), Flip())


@dataclasses.dataclass(frozen=True)
class Eval:
    batch_size: int = 4
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Task:
    head: Literal['1', 'mean'] = 'mean'
    norm: str = ''
    class_weights: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Experiment:
    model: nn.Module
    task: Task = Task()
    train: Train = Train()
    eval: Eval = Eval()
    folder: str = ''
    lr: float = 0.1
    seed: int = 0
    eval_every: int = dataclasses.field(default=5, metadata={'compared': False})


BASE = Experiment(model=Net())


def configure(*argv, base=BASE):
    options, rest = commandline.parse_options(commandline.split(['--exp=tiny', *argv]))
    return commandline.configure(base, options, rest)


def experiment(*argv):
    return configure(*argv)[0]


def workdir(*argv):
    return str(configure(*argv)[1].workdir)


def refusal(*argv):
    with pytest.raises(UserError) as refused:
        configure(*argv)
    return str(refused.value)


def test_split_takes_values_after_equals_spaces_or_none():
    arguments = commandline.split(['--a=1', '--b-c', '2', '-3', '--d', '-h'])
    assert arguments == [('a', ('1',)), ('b_c', ('2', '-3')), ('d', ()), ('help', ())]


@pytest.mark.parametrize('argv', [['x'], ['--a=1', 'x'], ['-a'], ['--a=1', '--', 'b']])
def test_split_refuses_words_without_a_name(argv):
    with pytest.raises(UserError, match='Unexpected'):
        commandline.split(argv)


@pytest.mark.parametrize(
    'argv',
    [
        ['--mode=compare', 'runs/a', 'runs/b,seed=1', 'c'],
        ['runs/a', 'runs/b,seed=1', '--mode=compare', 'c'],
        ['--mode=compare', '--runs=runs/a', 'runs/b,seed=1', 'c'],
        ['--mode=compare', '--runs', 'runs/a', 'runs/b,seed=1', 'c'],
    ],
)
def test_runs_may_be_words_of_their_own(argv):
    options, rest = commandline.parse_options(commandline.split(argv))
    assert options.runs == ('runs/a', 'runs/b', 'seed=1', 'c')
    assert options.exp == ''
    assert rest == []


@pytest.mark.parametrize(
    ('argv', 'get', 'value'),
    [
        (['--lr=1e-3'], lambda e: e.lr, 0.001),
        (['--lr', '-2'], lambda e: e.lr, -2.0),
        (['--deep=FALSE'], lambda e: e.model.deep, False),
        (['--model.deep', 'false'], lambda e: e.model.deep, False),
        (['--widths=1,2,3'], lambda e: e.model.widths, (1, 2, 3)),
        (['--widths=(1, 2)'], lambda e: e.model.widths, (1, 2)),
        (['--model.widths', '3', '4'], lambda e: e.model.widths, (3, 4)),
        (['--widths=5'], lambda e: e.model.widths, (5,)),
        (['--widths='], lambda e: e.model.widths, ()),
        (['--crop=32'], lambda e: e.train.crop, (32, 32)),
        (['--crop=32,48'], lambda e: e.train.crop, (32, 48)),
        (['--folder=~/a b'], lambda e: e.folder, '~/a b'),
        (['--folder='], lambda e: e.folder, ''),
        (['--folder=--x'], lambda e: e.folder, '--x'),
        (['--model.norm=none'], lambda e: e.model.norm, 'none'),
        (['--train.transforms.1.low=.3'], lambda e: e.train.transforms[1].low, 0.3),
        (['--transforms.1.low=.3'], lambda e: e.train.transforms[1].low, 0.3),
        (['--batch-size=2'], lambda e: (e.train.batch_size, e.eval.batch_size), (2, 2)),
        (['--eval.batch_size=2'], lambda e: (e.train.batch_size, e.eval.batch_size), (8, 2)),
        (['--seed=3'], lambda e: (e.seed, e.model.seed), (3, 1)),
        (['--lr=1', '--lr=2'], lambda e: e.lr, 2.0),
        (['--batch_size=2', '--train.batch_size=3'], lambda e: e.train.batch_size, 3),
        (['--train.batch_size=3', '--batch_size=2'], lambda e: e.train.batch_size, 2),
    ],
)
def test_overrides(argv, get, value):
    found = get(experiment(*argv))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ('argv', 'parts'),
    [
        (['--seed=ten'], ["--seed takes an int; given 'ten'."]),
        (['--seed=1.5'], ['--seed takes an int']),
        (['--seed='], ['--seed takes an int; given']),
        (['--seed'], ['--seed takes an int; given nothing']),
        (['--widths=4,a'], ['--widths takes a list of int', "'4,a'"]),
        (['--crop=1,2,3'], ['--crop takes 2 values (int, int)', "'1,2,3'"]),
        (['--deep=maybe'], ['--deep takes true or false', "'maybe'"]),
        (['--head=men'], ['--head takes one of 1, mean', 'Did you mean mean?']),
        (['--mode=trian'], ['--mode takes one of train, eval', 'Did you mean train?']),
        (['--fresh=x'], ['--fresh takes true or false']),
        (['--norm=none'], ['ambiguous', '--model.norm', '--task.norm']),
        (['--low=1'], ['ambiguous', '--train.transforms.0.low', '--train.transforms.1.low']),
        (['--model=x'], ['--model is a group of fields', '--model.widths']),
        (['--transforms.0=x'], ['is a group of fields: --train.transforms.0.low']),
        (['--width=4'], ['--width: no such field', 'Did you mean widths']),
        (['--freshh'], ['Did you mean fresh']),
        (['--train.transforms.0.low=-1'], ['low=-1.0: low must be positive']),
    ],
)
def test_refusals_name_field_want_and_given(argv, parts):
    text = refusal(*argv)
    for part in parts:
        assert part in text
    assert '\n' not in text


def test_an_experiment_must_be_named():
    with pytest.raises(UserError, match='Which experiment'):
        commandline.parse_options(commandline.split(['--mode=eval']))


def test_an_option_of_another_mode_is_refused():
    told = '--prune is for --mode=eval and --mode=export; --mode=summary takes no notice.'
    assert refusal('--mode=summary', '--prune=9') == told
    assert '--arms is for --mode=sweep' in refusal('--arms=foo')
    assert commandline.OPTIONS_OF_MODES.keys() <= config.leaves(RunOptions()).keys()
    assert set().union(*commandline.OPTIONS_OF_MODES.values()) <= set(get_args(config.Mode))


def test_run_options_are_separated_from_fields(tmp_path):
    words = [f'--work-dir={tmp_path}', '--fresh', '--exp', 'tiny', '--num-threads=3', '--lr=2']
    options, rest = commandline.parse_options(commandline.split(words))
    assert options == RunOptions(exp='tiny', workdir=tmp_path, fresh=True, num_threads=3)
    assert rest == [('lr', ('2',))]


@pytest.mark.parametrize(
    ('argv', 'name'),
    [
        ([], 'runs/tiny'),
        (['--seed=3', '--deep=False'], 'runs/tiny/deep=false,seed=3'),
        (['--model.deep=false', '--seed=3'], 'runs/tiny/deep=false,seed=3'),
        (['--lr=1e-1'], 'runs/tiny/lr=0.1'),
        (['--crop=32'], 'runs/tiny/crop=32,32'),
        (['--batch_size=2'], 'runs/tiny/batch_size=2'),
        (['--train.batch_size=2'], 'runs/tiny/train.batch_size=2'),
        (['--model.seed=2'], 'runs/tiny/model.seed=2'),
        (['--eval.scale=2'], 'runs/tiny/scale=2.0'),
        (['--eval_every=2'], 'runs/tiny'),
        (['--log_every=2'], 'runs/tiny'),
        (['--mode=eval', '--eval.scale=2', '--head=1', '--deep=false'], 'runs/tiny/deep=false'),
        (['--mode=summary', '--widths=1'], 'runs/tiny/widths=1'),
        (['--workdir=a/b', '--seed=3'], 'a/b'),
    ],
)
def test_the_run_is_named_by_its_overrides(argv, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert workdir(*argv) == name


def test_unsafe_and_long_names_stay_apart(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tree = [workdir(f'--folder={text}') for text in ('a/b', 'a b', 'a_b', '.' * 300, '.' * 301)]
    assert len(set(tree)) == 5
    assert all(len(Path(name).parts) == 3 and len(Path(name).name) <= 120 for name in tree)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """A working directory with a run of `--lr=2 --deep=false --eval.scale=3` in runs/tiny."""
    monkeypatch.chdir(tmp_path)
    made, _ = configure('--lr=2', '--deep=false', '--eval.scale=3')
    rundir.open_run(RunOptions(exp='tiny', workdir=Path('runs/tiny')), made).close()
    return made


def test_other_modes_read_the_runs_own_config(trained):
    assert configure('--mode=eval') == (
        trained,
        RunOptions(exp='tiny', mode='eval', workdir=Path('runs/tiny')),
    )


def test_evaluation_fields_lie_over_the_runs_config(trained):
    found = experiment('--mode=eval', '--head=1', '--eval.batch_size=7')
    assert (found.task.head, found.eval.batch_size) == ('1', 7)
    assert (found.lr, found.model.deep, found.eval.scale) == (2.0, False, 3.0)


def test_a_shared_field_means_the_evaluation_unless_a_run_was_trained_with_it(trained):
    found, options = configure('--mode=eval', '--batch_size=3')
    assert options.workdir == Path('runs/tiny')
    assert (found.train.batch_size, found.eval.batch_size, found.lr) == (8, 3, 2.0)

    made, _ = configure('--batch_size=3')
    rundir.open_run(RunOptions(exp='tiny', workdir=Path('runs/tiny/batch_size=3')), made).close()
    found, options = configure('--mode=eval', '--batch_size=3')
    assert options.workdir == Path('runs/tiny/batch_size=3')
    assert (found.train.batch_size, found.lr) == (3, 0.1)


def test_a_run_trained_with_evaluation_fields_is_found_unless_there_is_one_without(trained):
    made, _ = configure('--eval.scale=2', '--seed=5')
    both, without = Path('runs/tiny/scale=2.0,seed=5'), Path('runs/tiny/seed=5')
    rundir.open_run(RunOptions(exp='tiny', workdir=both), made).close()
    argv = ('--mode=eval', '--eval.scale=2', '--seed=5')
    assert workdir(*argv) == str(both)
    rundir.open_run(RunOptions(exp='tiny', workdir=without), made).close()
    assert workdir(*argv) == str(without)


def test_a_field_that_contradicts_the_run_is_refused(trained):
    text = refusal('--mode=eval', '--workdir=runs/tiny', '--deep=true', '--lr=2')
    assert 'model.deep: false -> true' in text
    assert 'lr:' not in text
    assert 'batch_size: 8 -> 16' in refusal(
        '--mode=benchmark', '--workdir=runs/tiny', '--batch_size=16'
    )


def test_train_does_not_read_the_runs_config(trained):
    assert experiment() == BASE


def test_help_lists_fields_and_options(capsys):
    commandline.print_help(BASE, RunOptions(exp='tiny'))
    text = capsys.readouterr().out
    for part in ('--workdir PATH', '--model.widths', '--train.transforms.1.low', '(default: 0.1)'):
        assert part in text
    assert '--model.parent' not in text
    assert 'train.transforms.1 Flip' in ' '.join(text.split())
