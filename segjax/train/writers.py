"""What a run writes beside its checkpoints: metrics.jsonl, pictures, TensorBoard, result.json.

None of it may stop a training: a full disk costs a warning, and lines that could not be written are
tried again with the next ones. Only result.json, the claim that a run is finished, raises.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from segjax.files import write_whole
from segjax.train.screen import Screen
from segjax.visualize import png_bytes

# JSON


def plain(value: Any) -> Any:
    """A value as JSON can hold it.

    Arrays and scalars of numpy and JAX become numbers and lists, float32 in its shortest decimal
    form (0.1, not 0.10000000149). JSON has no NaN and no infinity: they become null.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, 'dtype'):
        array = np.asarray(value)
        if array.ndim:
            return [plain(entry) for entry in array]
        short = array.dtype.kind in 'fV' and array.dtype.itemsize < 8  # V: bfloat16
        value = float(str(array[()])) if short else array.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _append(path: Path, content: bytes) -> None:
    """Add to a file all of `content` or, raising OSError, nothing."""
    with open(path, 'ab', buffering=0) as file:
        size = file.tell()
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise


def _cut_half_line(path: Path) -> None:
    """Take away what a killed process left of its last line."""
    content = path.read_bytes()
    if content and not content.endswith(b'\n'):
        os.truncate(path, content.rfind(b'\n') + 1)


def _is_before(line: str, step: int) -> bool:
    """Whether a line of metrics.jsonl was measured by the steps up to `step`.

    Evaluations at `step` itself are none of them: whoever resumes there evaluates again.
    """
    try:
        measured = json.loads(line)
        return measured['step'] < step or (measured['step'], measured['split']) == (step, 'train')
    except (ValueError, KeyError, TypeError):
        return False


# TensorBoard


class _EventFile:
    """One TensorBoard event file, written synchronously.

    tensorboardX's own SummaryWriter hands events to a thread by a bounded queue; when the thread
    dies (disk full) the queue fills and the training stands still for ever. Its file writer alone
    does what we need, and raises where it is called.
    """

    def __init__(self, directory: Path, purge_step: int):
        """`purge_step`: TensorBoard hides what earlier files hold from here on; -1 for none."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        self._protos = event_pb2, summary_pb2
        directory.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(directory / 'events'), f'.{time.time_ns()}')
        if purge_step >= 0:
            log = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
            self._event(step=purge_step, session_log=log(status=log.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        _, proto = self._protos
        entries = [proto.Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        self._event(step=step, summary=proto.Summary(value=entries))

    def picture(self, step: int, tag: str, png: bytes, size: tuple[int, int]) -> None:
        _, proto = self._protos
        image = proto.Summary.Image(height=size[0], width=size[1], colorspace=3)
        image.encoded_image_string = png
        entry = proto.Summary.Value(tag=tag, image=image)
        self._event(step=step, summary=proto.Summary(value=[entry]))

    def close(self) -> None:
        self._file.close()

    def _event(self, **fields: Any) -> None:
        event, _ = self._protos
        self._file.write_event(event.Event(wall_time=time.time(), **fields))
        self._file.flush()


# What the loop calls


class Writers:
    """The log files of one run directory.

    A run that resumes calls `truncate_after(step)` before it writes anything, so that no step
    stands twice in its files.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        tensorboard: bool = True,
        warn: Callable[[str], None] | None = None,
        muted: bool = False,
    ):
        """Takes an existing run directory; `warn` is told, once for each file, what went wrong.

        Of several processes only one writes; those of the others are `muted`.
        """
        self._muted = muted
        self._workdir = Path(workdir)
        self._tensorboard, self._purge_step = tensorboard, -1
        self._events: _EventFile | None = None
        self._pending: list[bytes] = []
        self._warn, self._warned = warn or Screen().warn, set[str]()
        if self.metrics_path.exists() and not muted:
            with self._attempt('metrics.jsonl'):
                _cut_half_line(self.metrics_path)

    @property
    def metrics_path(self) -> Path:
        """metrics.jsonl, which `plots.progress_png` draws."""
        return self._workdir / 'metrics.jsonl'

    def truncate_after(self, step: int) -> None:
        """Forget what a run that resumes after `step` will measure again.

        That is every line of metrics.jsonl of later steps, and evaluations at `step` itself; in
        TensorBoard all after `step`.
        """
        self._close_events()
        self._purge_step = step + 1
        if self._muted or not self.metrics_path.exists():
            return
        with self._attempt('metrics.jsonl'):
            lines = self.metrics_path.read_text(encoding='utf-8', errors='replace').splitlines()
            kept = [line + '\n' for line in lines if _is_before(line, step)]
            if len(kept) < len(lines):
                write_whole(self.metrics_path, ''.join(kept).encode())

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Add the line `{"step": step, "epoch": ..., "split": split, ...}` to metrics.jsonl.

        Values are numbers of Python, numpy or JAX; NaN and infinities become null. TensorBoard gets
        them as `split/name`.
        """
        if self._muted:
            return
        line = {'step': int(step), 'epoch': None, 'split': split, **plain(values)}
        if line['epoch'] is None:
            del line['epoch']
        self._pending.append(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b'\n')
        self._write_pending()
        numbers = {
            f'{split}/{name}': value
            for name, value in line.items()
            if isinstance(value, int | float) and name not in ('step', 'epoch')
        }
        self._to_tensorboard(_EventFile.scalars, step, numbers)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> Path:
        """Write RGB pictures (uint8 `h w 3`) to predictions/STEP/NAME.png; returns the folder.

        Characters of a name that file systems dislike become `_`.
        """
        folder = self._workdir / 'predictions' / str(step)
        for name, picture in pictures.items():
            png, file_name = png_bytes(picture), re.sub(r'[^\w.=+-]+', '_', name)
            with self._attempt('predictions'):
                write_whole(folder / f'{file_name}.png', png)
            tag, size = f'predictions/{name}', picture.shape[:2]
            self._to_tensorboard(_EventFile.picture, step, tag, png, size)
        return folder

    def result(self, result: Mapping[str, Any]) -> None:
        """Write result.json, whole or not at all. Raises OSError where that fails."""
        text = json.dumps(plain(result), indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(self._workdir / 'result.json', text.encode() + b'\n')

    def close(self) -> None:
        """Write what is still waiting and close the files; harmless when called twice."""
        self._write_pending()
        self._close_events()

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_pending(self) -> None:
        if self._pending:
            with self._attempt('metrics.jsonl'):
                _append(self.metrics_path, b''.join(self._pending))
                self._pending.clear()

    @contextmanager
    def _attempt(self, name: str) -> Iterator[None]:
        """Turns the failure to write a file into one warning."""
        try:
            yield
        except OSError as error:
            if name not in self._warned:
                self._warned.add(name)
                reason = error.strerror or error
                self._warn(f'cannot write {self._workdir / name} ({reason}); the run goes on')

    def _to_tensorboard(self, write: Callable[..., None], *args: Any) -> None:
        """Call a method of the event file, which is opened when first needed; given up for this run
        when it fails."""
        if not self._tensorboard:
            return
        try:
            if self._events is None:
                self._events = _EventFile(self._workdir / 'tensorboard', self._purge_step)
            write(self._events, *args)
        except Exception as error:  # a third party's: whatever it is, training matters more
            self._tensorboard, self._events = False, None
            self._warn(f'TensorBoard is switched off for this run: {error}')

    def _close_events(self) -> None:
        if self._events is not None:
            self._to_tensorboard(_EventFile.close)
            self._events = None
