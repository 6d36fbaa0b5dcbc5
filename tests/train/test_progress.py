"""The bar says how far, how fast and how long still."""

import io
import itertools

from segjax.train.progress import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_a_line_at_every_tenth():
    out = io.StringIO()
    seconds = itertools.count()
    bar = Bar(40, 'pictures', out=out, clock=lambda: next(seconds) / 2)
    for done in range(1, 41):
        bar.show(done)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[4] == '[============------------] 20/40  8 pictures/s  ETA 0:02'
    assert lines[-1].endswith('40/40  8 pictures/s  in 0:05')


def test_a_terminal_sees_one_line_that_grows():
    out = Terminal()
    bar = Bar(3, 'pictures', out=out)
    for done in (1, 2, 3):
        bar.show(done)
    assert out.getvalue().count('\n') == 1 and out.getvalue().count('\r') == 3


def test_a_closed_stream_stops_nothing():
    out = io.StringIO()
    bar = Bar(1, 'pictures', out=out)
    out.write = lambda text: (_ for _ in ()).throw(BrokenPipeError)
    bar.show(1)
