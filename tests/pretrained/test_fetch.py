"""Downloads from a server on this machine: whole, checked, or not at all."""

import hashlib
import http.server
import os
import socket
import threading

import pytest

from segjax.pretrained.fetch import cache_folder, fetch
from segjax.types import UserError

BODY = bytes(range(256)) * 64
DIGEST = hashlib.sha256(BODY).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """/whole, /cut (half of what it announces), /endless (half, without a length), else 404."""

    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path.split('/')[1]
        if kind not in ('whole', 'cut', 'endless'):
            self.send_error(404)
            return
        self.send_response(200)
        if kind != 'endless':
            self.send_header('Content-Length', str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY if kind == 'whole' else BODY[: len(BODY) // 2])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as server:
        server.asked = []
        server.url = f'http://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')


def test_a_file_is_downloaded_once(server, tmp_path):
    said = []
    for _ in range(2):
        path = fetch(
            f'{server.url}/whole/a.pth', sha256=DIGEST[:8], folder=tmp_path / 'new', say=said.append
        )
        assert path == tmp_path / 'new/a.pth' and path.read_bytes() == BODY
    assert server.asked == ['/whole/a.pth']
    assert os.listdir(tmp_path / 'new') == ['a.pth']
    assert len(said) == 1 and 'a.pth' in said[0]


def test_a_damaged_file_in_the_cache_is_downloaded_again(server, tmp_path):
    (tmp_path / 'a.pth').write_bytes(BODY[:-1])
    fetch(f'{server.url}/whole/a.pth', sha256=DIGEST[:8], folder=tmp_path, say=lambda _: None)
    assert (tmp_path / 'a.pth').read_bytes() == BODY


@pytest.mark.parametrize(
    ('kind', 'sha256', 'problem'),
    [
        ('cut', '', rf'cut off after {len(BODY) // 2} of {len(BODY)} bytes'),
        ('endless', DIGEST[:8], rf'SHA-256 begins with \w{{8}} instead of {DIGEST[:8]}'),
        ('whole', '00000000', rf'begins with {DIGEST[:8]} instead of 00000000'),
        ('nowhere', '', '404'),
    ],
)
def test_anything_else_leaves_nothing_behind(server, tmp_path, kind, sha256, problem):
    with pytest.raises(UserError, match=problem) as error:
        fetch(f'{server.url}/{kind}/a.pth', sha256=sha256, folder=tmp_path, say=lambda _: None)
    assert '\n' not in str(error.value) and str(tmp_path / 'a.pth') in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_failed_download_leaves_the_old_file(server, tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'old')
    with pytest.raises(UserError, match='cut off'):
        fetch(f'{server.url}/cut/a.pth', sha256=DIGEST[:8], folder=tmp_path, say=lambda _: None)
    assert (tmp_path / 'a.pth').read_bytes() == b'old'


@pytest.mark.parametrize('kind', ['whole', 'endless'])
def test_nothing_longer_than_allowed(server, tmp_path, kind):
    """Announced or not."""
    with pytest.raises(UserError, match=r'1000 (bytes )?allowed'):
        fetch(
            f'{server.url}/{kind}/a.pth',
            sha256='',
            folder=tmp_path,
            max_bytes=1000,
            say=lambda _: None,
        )
    assert os.listdir(tmp_path) == []


def test_a_server_that_is_not_there(tmp_path):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))  # bound, not listening: refused at once
        url = f'http://127.0.0.1:{taken.getsockname()[1]}/a.pth'
        with pytest.raises(UserError, match='Offline'):
            fetch(url, sha256='', folder=tmp_path, say=lambda _: None)


def test_a_server_that_never_answers(tmp_path, monkeypatch):
    monkeypatch.setattr('segjax.pretrained.fetch.OPEN_SECONDS', 0.2)
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/a.pth'
        with pytest.raises(UserError, match=r'no answer within 0\.2 s'):
            fetch(url, sha256='', folder=tmp_path, say=lambda _: None)


def test_other_protocols_and_unwritable_folders_are_refused(server, tmp_path):
    with pytest.raises(UserError, match='over http or https'):
        fetch('file:///etc/passwd', sha256='', folder=tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='could not be downloaded'):
        fetch(f'{server.url}/whole/a.pth', sha256='', folder=tmp_path / 'file' / 'below')


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv('SEGJAX_WEIGHTS_DIR', str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv('SEGJAX_WEIGHTS_DIR')
    monkeypatch.setenv('HOME', '/home/somebody')
    assert str(cache_folder()) == '/home/somebody/.cache/segjax/weights'
