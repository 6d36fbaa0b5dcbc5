"""--bad_samples: what stops, what is replaced by what, and how many."""

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.folder import Folder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.types import UserError

NAMES = [f'p{i}' for i in range(8)]


@pytest.fixture
def roots(tmp_path):
    return Roots(tmp_path, tmp_path / 'records')


@pytest.fixture
def folder(tmp_path):
    """Eight pictures to train and two to evaluate; picture i has the value i everywhere."""
    (tmp_path / 'splits').mkdir()
    (tmp_path / 'classes.txt').write_text('ground\ncell\n')
    (tmp_path / 'splits/train.txt').write_text('\n'.join(NAMES))
    (tmp_path / 'splits/val.txt').write_text('v0\nv1')
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
    for value, name in enumerate([*NAMES, 'v0', 'v1']):
        for kind, content in (('images', value), ('masks', 1)):
            array = np.full((4, 4), content, np.uint8)
            Image.fromarray(array).save(tmp_path / kind / f'{name}.png')
    return tmp_path


def dataset(folder, **fields):
    return Folder(folder=str(folder), bad_samples='skip', **fields)


def values(source, steps, *, seed=0, start=0, num_threads=0) -> list[list[int]]:
    """The pictures of batches start..steps-1, by their values."""
    pipeline = TrainPipeline(batch_size=4, crop=(4, 4))
    batches = pipeline.batches(source, seed=seed, start=start, num_threads=num_threads)
    return [next(batches).image[:, 0, 0, 0].tolist() for _ in range(start, steps)]


def test_without_skip_it_stops_by_name_and_says_what_would_not(folder, roots):
    (folder / 'images/p2.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'p2\.png: the file is empty.*--bad_samples=skip'):
        Folder(folder=str(folder)).source('train', roots)


BAD = {
    'empty picture': ('images/p2.png', b''),
    'no picture': ('images/p2.png', b'<html>404</html>'),
    'empty mask': ('masks/p2.png', b''),
}


@pytest.mark.parametrize('kind', BAD)
def test_the_next_sample_stands_in_and_all_else_stays(folder, roots, capsys, kind):
    whole = values(Folder(folder=str(folder)).source('train', roots), 6)
    path, content = BAD[kind]
    (folder / path).write_bytes(content)
    source = dataset(folder).source('train', roots)
    expected = [[3 if value == 2 else value for value in batch] for batch in whole]
    assert values(source, 6) == expected
    assert values(source, 6, start=3, num_threads=3) == expected[3:]  # as a resumed run sees it
    assert len(source.bad) == 1 and source.bad.may_be_replaced
    assert source.name(2).endswith('p2.png')
    warnings = capsys.readouterr().err
    assert warnings.count('WARNING') == 1 and path in warnings


def test_wrong_ids_and_sizes_are_bad_too(folder, roots):
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(folder / 'masks/p2.png')
    Image.fromarray(np.full((4, 3), 1, np.uint8)).save(folder / 'masks/p3.png')
    source = dataset(folder).source('train', roots)
    assert len(source.bad) == 2
    assert set(np.ravel(values(source, 4)).tolist()) == {0, 1, 4, 5, 6, 7}


def test_records_prepared_with_skip_do_not_serve_a_run_that_fails(folder, roots):
    (folder / 'images/p2.png').write_bytes(b'')
    dataset(folder).source('train', roots)
    with pytest.raises(UserError, match=r'1 samples .* --bad_samples=fail.*p2\.png'):
        Folder(folder=str(folder)).source('train', roots)


def test_a_mended_picture_counts_again(folder, roots):
    good = (folder / 'images/p2.png').read_bytes()
    (folder / 'images/p2.png').write_bytes(b'')
    assert len(dataset(folder).source('train', roots).bad) == 1
    (folder / 'images/p2.png').write_bytes(good)
    source = dataset(folder).source('train', roots)
    assert len(source.bad) == 0
    assert sorted(np.ravel(values(source, 2)).tolist()) == list(range(8))


def test_there_is_a_maximum(folder, roots):
    for name in ('p1', 'p2', 'p3'):
        (folder / f'images/{name}.png').write_bytes(b'')
    assert len(dataset(folder, max_bad=3).source('train', roots).bad) == 3
    with pytest.raises(UserError, match='3 samples cannot be read and --max_bad=2'):
        dataset(folder, max_bad=2).source('train', roots)
    with pytest.raises(UserError, match='at least 1'):
        dataset(folder, max_bad=0)


def test_records_damaged_later_are_replaced_too(folder, roots, capsys):
    source = dataset(folder).source('train', roots)
    whole = values(source, 4)
    real = type(source).__getitem__

    class Damaged(type(source)):
        def __getitem__(self, index):
            if index in (2, 3):
                raise UserError(f'record {index} is damaged')
            return real(self, index)

    source.__class__ = Damaged
    assert values(source, 4) == [[4 if v in (2, 3) else v for v in batch] for batch in whole]
    assert len(source.bad) == 2 and capsys.readouterr().err.count('WARNING') == 2


def test_evaluation_replaces_nothing(folder, roots):
    (folder / 'images/v1.png').write_bytes(b'')
    source = dataset(folder).source('val', roots)
    with pytest.raises(UserError, match=r'split val is evaluated, and 1 .*v1\.png'):
        EvalPipeline().batches(source, rows=1)


def test_errors_of_the_program_are_never_passed_over(folder, roots):
    source = dataset(folder).source('train', roots)

    class Broken(type(source)):
        def __getitem__(self, index):
            raise ZeroDivisionError

    source.__class__ = Broken
    with pytest.raises(ZeroDivisionError):
        values(source, 1)


def test_when_nothing_can_be_read_nothing_stands_in(folder, roots):
    for name in NAMES:
        (folder / f'images/{name}.png').write_bytes(b'')
    source = dataset(folder).source('train', roots)
    with pytest.raises(UserError, match='None of 8 samples can be read'):
        values(source, 1)
