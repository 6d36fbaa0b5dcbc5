"""Downloads a file once: into one cache, whole or not at all, checked by its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from segjax.types import UserError

OPEN_SECONDS = 4.5  # until the server answers; a name server that is silent counts too
STALL_SECONDS = 30  # between two pieces of a body
MAX_BYTES = 2 << 30
_PIECE = 1 << 20


def cache_folder() -> Path:
    """Where weights are kept: SEGJAX_WEIGHTS_DIR, or ~/.cache/segjax/weights."""
    given = os.environ.get('SEGJAX_WEIGHTS_DIR')
    return Path(given or '~/.cache/segjax/weights').expanduser()


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _open(url: str):
    """The server's answer within OPEN_SECONDS, whatever it is that waits.

    The look-up of a host's name knows no timeout, so a thread of its own opens the connection.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def work():
        try:
            answers.put(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True, name='segjax-download').start()
    try:
        answer = answers.get(timeout=OPEN_SECONDS)
    except queue.Empty:
        raise TimeoutError(f'no answer within {OPEN_SECONDS} s') from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _copy(response, path: Path, *, max_bytes: int) -> None:
    """The body into `path`. Raises OSError when it is cut off or longer than `max_bytes`."""
    length = response.headers.get('Content-Length')
    expected = int(length) if length and length.isdecimal() else None
    if expected is not None and expected > max_bytes:
        raise OSError(f'it has {expected} bytes, more than the {max_bytes} allowed')
    received = 0
    with path.open('wb') as file:
        while piece := response.read(_PIECE):
            received += len(piece)
            if received > max_bytes:
                raise OSError(f'it is longer than the {max_bytes} bytes allowed')
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if expected is not None and received != expected:
        raise OSError(f'cut off after {received} of {expected} bytes')


def _download(url: str, path: Path, sha256: str, max_bytes: int) -> None:
    partial = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with contextlib.closing(_open(url)) as response:
            _copy(response, partial, max_bytes=max_bytes)
        if not (digest := _sha256(partial)).startswith(sha256):
            raise OSError(f'its SHA-256 begins with {digest[: len(sha256)]} instead of {sha256}')
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def fetch(
    url: str,
    *,
    sha256: str,
    folder: Path | None = None,
    max_bytes: int = MAX_BYTES,
    say: Callable[[str], None] = print,
) -> Path:
    """The file at `url` in the cache, downloaded unless it is there already.

    It is written beside its place as `NAME.PID.part` and moved there when it is whole and its
    hash agrees. A file in the cache with another hash is downloaded again.

    Args:
      url: http or https.
      sha256: the first digits of the hash, lower case; '' checks the length alone.
      folder: of the cache; default `cache_folder()`.
      max_bytes: refuse anything longer.
      say: is told what is being downloaded.

    Raises:
      UserError: it cannot be had (within 5 s when the machine is offline), is cut off, too long,
        or has another hash; or the cache cannot be written.
    """
    if not url.startswith(('https://', 'http://')):
        raise UserError(f'{url}: weights are downloaded over http or https')
    folder = folder or cache_folder()
    path = folder / url.rpartition('/')[2]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file() and _sha256(path).startswith(sha256):
            return path
        say(f'Downloading {url} to {folder}')
        _download(url, path, sha256, max_bytes)
    except (OSError, HTTPException, ValueError) as error:
        answered = isinstance(error, urllib.error.HTTPError)  # 404 and the like; else its cause
        reason = error if answered else getattr(error, 'reason', error)
        raise UserError(
            f'{url} could not be downloaded ({reason}). Offline? Place the file at {path} by hand, '
            'name a file or a run instead, or start with --weights=none.'
        ) from None
    return path
