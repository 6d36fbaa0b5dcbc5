"""--mode=report: a run on one page."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from experiments.maskrcnn_shapes import experiment as detector
from segjax import config
from segjax.config import RunOptions
from segjax.files import write_whole
from segjax.modes import eval as evaluation
from segjax.modes import report, train
from segjax.train import page
from segjax.train.rundir import writing
from segjax.types import UserError
from tests.train.test_instance_page import STATE, Mixed, make_job


def options(workdir, **changes):
    return RunOptions(exp='tiny', workdir=workdir, pictures=False, tensorboard=False, **changes)


@pytest.fixture(scope='module')
def finished(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'tiny'
    assert train.run(tiny, options(folder)) == 0
    return folder


class Page(HTMLParser):
    """What a browser would see: titles, cells of tables, sources of pictures."""

    def __init__(self, content):
        super().__init__()
        self.titles, self.cells, self.sources, self.inside = [], [], [], ''
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.sources += [value for name, value in attrs if name in ('src', 'href')]

    def handle_data(self, data):
        if self.inside in ('h1', 'h2'):
            self.titles.append(data)
        elif self.inside in ('td', 'th'):
            self.cells.append(data)

    def handle_endtag(self, tag):
        self.inside = ''


def test_the_page_holds_all_it_shows_and_the_numbers_of_an_evaluation(tiny, finished, capsys):
    assert report.run(None, RunOptions(mode='report', runs=(str(finished),))) == 0
    assert f'{finished}/report.html' in capsys.readouterr().out
    shown = Page((finished / 'report.html').read_text('utf-8'))
    assert shown.titles[0] == 'tiny'
    for title in ('Metrics on val, 8 pictures', 'Curves', 'Confusion', 'Worst pictures', 'Fields'):
        assert title in shown.titles
    assert evaluation.run(tiny, options(finished)) == 0
    alone = json.loads((finished / 'eval/eval.json').read_text())
    assert f'{alone["metrics"]["val"]["mean_iou"]:.4f}' in shown.cells
    assert f'{alone["metrics"]["val"]["loss"]:.4f}' in shown.cells
    assert f'{alone["iou"]["background"]:.3f}' in shown.cells
    assert {'model.widths', '2,4', 'background', 'absent_classes'} <= set(shown.cells)
    assert len(shown.sources) == 4  # curves, confusion, worst, best
    for source in shown.sources:
        kind, _, content = source.partition(',')
        assert kind == 'data:image/png;base64'
        assert Image.open(io.BytesIO(base64.b64decode(content))).width > 300


@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
def test_the_page_of_a_detector_shows_precision_and_recall(tmp_path, monkeypatch):
    """Everything but the network, which is one that finds what is white."""
    job = make_job(Mixed([(32, 32)] * 4))
    fields = config.flatten(detector()) | {'run': {'exp': 'white'}}
    (tmp_path / 'config.json').write_text(json.dumps(fields))
    monkeypatch.setattr(report, 'make_job', lambda *_, **__: job)
    monkeypatch.setattr(report, 'find_trained', lambda *_: (STATE, 7))
    monkeypatch.setattr(report, '_facts', lambda *_: '')
    assert report.run(None, RunOptions(mode='report', runs=(str(tmp_path),))) == 0
    shown = Page((tmp_path / 'report.html').read_text('utf-8'))
    assert shown.titles == [
        *('white', 'Run', 'Metrics on val, 4 pictures', 'Curves', 'Classes'),
        *('Precision and recall', 'Worst pictures', 'Best pictures', 'Protocol', 'Fields'),
    ]
    assert len(shown.sources) == 3 and {'AP of small objects', 'white', 'never'} <= set(shown.cells)


def test_limit_and_output_are_those_of_the_command(tiny, finished, tmp_path):
    few = config.replace(tiny, {'eval.limit': 3})
    assert report.run(few, options(finished, output=str(tmp_path / 'there'))) == 0
    assert 'Metrics on val, 3 pictures' in (tmp_path / 'there/report.html').read_text('utf-8')


def test_one_run_that_is_there(tiny, finished, tmp_path):
    with pytest.raises(UserError, match='--mode=report is of one run'):
        report.run(None, options(tmp_path, runs=(str(finished), str(finished))))
    with pytest.raises(UserError, match='holds no run'):
        report.run(None, options(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match='Which run'):
        report.run(None, RunOptions(mode='report'))


def test_a_folder_that_cannot_be_written_is_said_before_the_evaluation(tiny, finished, monkeypatch):
    monkeypatch.setattr(report, 'make_job', None)
    asked = options(finished, output=str(finished / 'config.json'))
    with pytest.raises(UserError, match=r'config\.json cannot be written: .*--output=DIR'):
        report.run(tiny, asked)


def test_a_page_that_cannot_be_written_is_the_users_mistake(tmp_path):
    (tmp_path / 'report.html').mkdir()
    with pytest.raises(UserError, match='cannot be written: Is a directory'), writing(tmp_path):
        write_whole(tmp_path / 'report.html', b'')


def test_names_cannot_break_the_page():
    shown = page.page(
        '<a & b>', '', {'x': page.facts({'</table>': '<script>'}), 'y': page.bar(0.5)}
    )
    assert Page(shown).cells == ['</table>', '<script>']
    assert Page(shown).titles == ['<a & b>', 'x', 'y']
    assert page.bar(float('nan')) == ''
    assert not re.search(r'(src|href)="http', shown)
