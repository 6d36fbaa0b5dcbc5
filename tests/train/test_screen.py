"""What stands on the screen, letter by letter; the pace under clocks good and bad."""

import io
import math

import numpy as np
import pytest

from segjax.train.screen import Pace, Screen, Speed, duration, quantity


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def said():
    return io.StringIO()


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0, '0:00'),
        (7.4, '0:07'),
        (59.6, '1:00'),
        (92, '1:32'),
        (7384, '2:03:04'),
        (3 * 86400 + 4 * 3600 + 5 * 60, '3 d 04:05'),
        (math.nan, '?'),
        (math.inf, '?'),
        (-1, '?'),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ('number', 'text'),
    [
        (0, '0'),
        (870, '870'),
        (1336, '1.34 k'),
        (999_600, '1.00 M'),
        (15.52e9, '15.5 G'),
        (134.3e6, '134 M'),
        (5e15, '5000 T'),
    ],
)
def test_quantity(number, text):
    assert quantity(number) == text


@pytest.mark.parametrize(
    ('loss', 'learning_rate', 'speed', 'text'),
    [
        (
            0.8123,
            3e-4,
            Speed(96.4, 0.021, 92.0),
            'step  100/1200  loss 0.812  lr 3.0e-4  96 img/s  wait 2%  ETA 1:32',
        ),
        (
            np.float32(1e-4),
            0.0,
            Speed(1.25, 0.0, 7384.0),
            'step  100/1200  loss 1.00e-04  lr 0  1.2 img/s  wait 0%  ETA 2:03:04',
        ),
        (
            math.nan,
            1e-10,
            Speed(math.nan, math.nan, math.nan),
            'step  100/1200  loss nan  lr 1.0e-10  ETA ?',
        ),
    ],
)
def test_step_line(said, loss, learning_rate, speed, text):
    Screen(said).step(100, 1200, loss=loss, learning_rate=learning_rate, speed=speed)
    assert said.getvalue() == text + '\n'


def test_class_table(said):
    Screen(said).class_table(
        ('background', 'disc', 'yacht'),
        iou=np.array([0.9, 0.5, np.nan]),
        accuracy=[0.95, 0.75, math.nan],
        pixels=np.array([900, 100, 0]),
    )
    assert said.getvalue().splitlines() == [
        '  class          IoU   accuracy   pixels',
        '  background   0.900      0.950    90.0%',
        '  disc         0.500      0.750    10.0%',
        '  yacht          n/a        n/a     0.0%',
        '  mean         0.700      0.850',
    ]


def test_class_table_of_nothing(said):
    Screen(said).class_table(('a',), iou=[math.nan], accuracy=[math.nan], pixels=[0])
    assert said.getvalue().splitlines()[-1] == '  mean    n/a        n/a'


def test_evaluation_line_leaves_classes_to_the_table(said):
    metrics = {'loss': 0.61, 'mean_iou': 0.5121, 'iou/disc': 0.3, 'dice': math.nan}
    Screen(said).evaluation(200, 'val', metrics, best=True)
    expected = '  val at step 200  loss 0.610  mean IoU 0.512  dice n/a  (best so far)\n'
    assert said.getvalue() == expected


def test_facts_are_aligned(said):
    Screen(said).facts({'model': 'FCN'})
    Screen(said).facts({'data': 'shapes\n200 pictures', 'none': ''})
    assert said.getvalue() == (
        'model     FCN\ndata      shapes\n          200 pictures\nnone      \n'
    )
    Screen(said).facts({'multiply-accumulates': '3.1 G', 'model': 'FCN'})
    assert said.getvalue().splitlines()[-2:] == [
        'multiply-accumulates  3.1 G',
        'model                 FCN',
    ]


def test_bold_on_terminals_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv('NO_COLOR', raising=False)
    monkeypatch.setenv('TERM', 'xterm')
    terminal, pipe = Terminal(), io.StringIO()
    Screen(terminal).heading('Result')
    Screen(pipe).heading('Result')
    assert '\033[1m' in terminal.getvalue()
    assert pipe.getvalue() == '\nResult\n'
    monkeypatch.setenv('NO_COLOR', '1')
    plain = Terminal()
    Screen(plain).heading('Result')
    assert plain.getvalue() == '\nResult\n'


def test_warnings_go_to_stderr(capsys):
    Screen().warn('disk full')
    Screen().line('hello')
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('hello\n', 'WARNING: disk full\n')


def test_a_broken_or_narrow_stream_stops_nobody():
    closed = io.StringIO()
    closed.close()
    Screen(closed).line('nobody hears this')
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    Screen(ascii_only).line('Straße')
    assert ascii_only.buffer.getvalue() == b'Stra?e\n'


def test_pace_by_hand():
    clock = Clock()
    pace = Pace(100, clock=clock)
    assert math.isnan(pace.seconds_left(0))
    clock.now += 60  # compilation
    pace.start(1)
    with pace.waiting():
        clock.now += 2
    clock.now += 6
    with pace.pause():  # evaluation
        clock.now += 3
    assert pace.report(9, batch_size=4) == Speed(4.0, 0.25, 91 * (1.0 + 3 / 8))
    clock.now += 20  # ten steps of two seconds, smoothed with the first report's one second
    speed = pace.report(19, batch_size=4)
    assert speed[:2] == (2.0, 0.0)
    assert speed.seconds_left == pytest.approx(81 * (0.7 * 1.0 + 0.3 * 2.0 + 3 / 18))


@pytest.mark.parametrize('jump', [0.0, -50.0])
def test_pace_survives_clocks_that_stand_or_jump_back(jump):
    clock = Clock()
    pace = Pace(100, clock=clock)
    clock.now += 10
    pace.report(10, batch_size=4)
    clock.now += jump
    speed = pace.report(20, batch_size=4)
    assert math.isnan(speed.images_per_s) and math.isnan(speed.wait)
    assert speed.seconds_left == 80.0  # what was known before
    assert pace.report(20, batch_size=4).seconds_left == 80.0  # no step since


def test_pace_has_nothing_left_at_the_end():
    clock = Clock()
    pace = Pace(10, clock=clock)
    clock.now += 10
    assert pace.report(10, batch_size=1).seconds_left == 0.0
