"""The figures of the page about operations: they are drawn, shown, and hold the right numbers."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.tools.figures.__main__ import DRAWINGS, main

ROOM = Path(__file__).parents[2] / 'segjax' / 'ops'


def _numbers(figure):
    texts = [text.get_text() for text in figure.axes[0].texts]
    return [float(text) for text in texts if re.fullmatch(r'-?\d+(\.\d+)?', text)]


def test_the_page_shows_every_figure():
    shown = re.findall(r'!\[\w+\]\(figures/(\w+)\.png\)', (ROOM / 'README.md').read_text())
    assert sorted(shown) == sorted(DRAWINGS)
    assert sorted(path.stem for path in (ROOM / 'figures').glob('*.png')) == sorted(DRAWINGS)


@pytest.mark.parametrize(
    'name, last',
    [
        ('convolution', [5, -2, 0, -6]),  # 1 + 10 + 0 - 0 - 2 - 4, ...
        ('pooling', [2.75, 1.5, 1.75, 2.75]),
        ('unpooling', [1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0]),
        ('conv_transpose', [3, 6, 7, 8, 4]),
        ('label_map', [0, 0, 0, 1, 0, 1]),
    ],
)
def test_numbers_by_hand(name, last):
    assert _numbers(DRAWINGS[name]())[-len(last) :] == last


def test_a_region_by_hand():
    # The middles of the bins are at x = 2.8 and 4.8, y = 1.95 and 3.45; cell i is at i + 1/2.
    numbers = _numbers(DRAWINGS['roi_align']())
    assert numbers[:4] == [13.45, 15.45, 23.95, 25.95]
    assert numbers[-4:] == [19, 21, 33, 35]  # the last cell of each bin


def test_the_matrix_is_drawn_square_by_square():
    numbers = _numbers(DRAWINGS['conv_matrix']())
    assert len(numbers) == 9 + 4 * 16 + 9 + 4 * 25


def test_one_figure_is_written_where_it_is_asked_for(tmp_path, capsys):
    main(['receptive_field', f'--output={tmp_path}'])
    path = tmp_path / 'receptive_field.png'
    assert capsys.readouterr().out == f'{path}\n'
    assert np.asarray(Image.open(path)).std() > 0
    assert [path] == list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match='2'):
        main(['receptive_field', f'--output={tmp_path}/file'])
    assert f'--output={tmp_path}/file: File exists' in capsys.readouterr().err


def test_a_name_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(['convolutions'])
    assert "invalid choice: 'convolutions'" in capsys.readouterr().err
