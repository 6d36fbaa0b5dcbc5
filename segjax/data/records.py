"""Prepared records: a TFDS builder that writes array_record files, and a reader that needs no TFDS.

A record is a dictionary of byte strings (encoded files as they are, names). It is written once
through tensorflow_datasets, so that `tfds.builder_from_directory(...).as_data_source(...)` opens
the result, and read by position, record i being the i-th written. Importing tensorflow_datasets
costs half a second and more, hence the reader decodes tf.train.Example itself, with protobuf.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segjax.types import UserError

VERSION = '1.0.0'  # of what is inside the records; another number prepares them again
_INDEX = 'segjax.json'  # written last: its presence says that the rest is complete


class Record(NamedTuple):
    """One example: its picture's (height, width), and its features as bytes."""

    size: tuple[int, int]
    features: dict[str, bytes]
    error: str = ''  # why it holds nothing: the raw file could not be read


def digest(*parts: object) -> str:
    """Twelve hexadecimal digits that stand for the text of the parts."""
    return hashlib.sha256('\n'.join(map(str, parts)).encode()).hexdigest()[:12]


def fingerprint(files: Iterable[Path]) -> str:
    """A digest of names, sizes and modification times: another one when a raw file changes."""
    lines = []
    for path in sorted(files):
        stat = path.stat()
        lines.append(f'{path} {stat.st_size} {stat.st_mtime_ns}')
    return digest(VERSION, *lines)


@contextlib.contextmanager
def _quiet_tfds():
    """tensorflow_datasets, used without TensorFlow and without what it prints.

    A None in sys.modules is a common way to block TensorFlow, but TFDS takes any entry for a loaded
    TensorFlow; so such an entry steps aside while TFDS works.
    """
    blocked = 'tensorflow' in sys.modules and sys.modules['tensorflow'] is None
    if blocked:
        del sys.modules['tensorflow']
    try:
        import tensorflow_datasets as tfds

        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
            yield tfds
    finally:
        if blocked:
            sys.modules['tensorflow'] = None  # type: ignore[assignment]


def _make_builder(
    tfds, name: str, features: Sequence[str], splits: Mapping[str, Iterable], sizes, bad
):
    """A TFDS builder class; `sizes[split]` and `bad[split]` are filled while it writes."""
    from tensorflow_datasets.core import registered

    with registered.skip_registration():  # two folders may be prepared in one process

        class Builder(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(VERSION)

            def _info(self):
                # Text is TFDS's name for a string of bytes: encoded pictures stay as they are.
                text = tfds.features.FeaturesDict({f: tfds.features.Text() for f in features})
                return tfds.core.DatasetInfo(builder=self, features=text, disable_shuffling=True)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(split) for split in splits}

            def _generate_examples(self, split):  # pyright: ignore
                for index, record in enumerate(splits[split]):
                    sizes[split].append(record.size)
                    if record.error:
                        bad[split][index] = record.error
                    yield index, record.features

    Builder.name = name
    return Builder


def _write(
    folder: Path, name: str, features: Sequence[str], splits: Mapping[str, Iterable[Record]]
) -> None:
    sizes: dict[str, list] = {split: [] for split in splits}
    bad: dict[str, dict[int, str]] = {split: {} for split in splits}
    with _quiet_tfds() as tfds:
        builder = _make_builder(tfds, name, features, splits, sizes, bad)
        builder(data_dir=os.fspath(folder), file_format='array_record').download_and_prepare()
    (folder / name / _INDEX).write_text(json.dumps({'sizes': sizes, 'bad': bad}))


def prepare(
    target: Path,
    *,
    name: str,
    features: Sequence[str],
    splits: Mapping[str, Iterable[Record]],
) -> None:
    """Writes the splits' records into the folder `target`, all or nothing.

    Two processes may do so at once: each writes beside it, and the first rename wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix='.preparing-', dir=target.parent))
    try:
        _write(draft, name, features, splits)
        if target.exists() and not is_complete(target):
            shutil.rmtree(target, ignore_errors=True)
        try:
            (draft / name).rename(target)
        except OSError:
            if not is_complete(target):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """Whether the folder holds records whose number, split by split, is the number written.

    The check is needed: a truncated array_record file opens as one of 0 records without an error.
    """
    try:
        sizes = json.loads((folder / _INDEX).read_text())['sizes']
        return all(len(_open_split(folder, split)) == len(n) for split, n in sizes.items())
    except (OSError, ValueError, KeyError, RuntimeError):
        return False


def _open_split(folder: Path, split: str):
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    files = sorted((folder / VERSION).glob(f'*-{split}.array_record-*'))
    if not files:
        raise FileNotFoundError(f'{folder}: no array_record files of split {split}')
    return ArrayRecordDataSource([os.fspath(f) for f in files])


@functools.cache
def _example_message() -> type:
    """The protobuf class of tf.train.Example, restricted to features that are bytes.

    Kept in a pool of its own, so that it meets no TensorFlow definition of the same message.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    Field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name='example.proto', package='segjax')
    file.syntax = 'proto3'

    def message(name: str, *fields: tuple[str, int, Any, Any]) -> None:
        proto = file.message_type.add(name=name)
        for field, number, label, kind in fields:
            added = proto.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = Field.TYPE_MESSAGE, f'.segjax.{kind}'
            else:
                added.type = kind

    one, many = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED
    message('BytesList', ('value', 1, many, Field.TYPE_BYTES))
    message('Feature', ('bytes_list', 1, one, 'BytesList'))
    # on the wire a map is a repeated message of key and value
    message('Entry', ('key', 1, one, Field.TYPE_STRING), ('value', 2, one, 'Feature'))
    message('Features', ('feature', 1, many, 'Entry'))
    message('Example', ('features', 1, one, 'Features'))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName('segjax.Example'))


class Records:
    """Random access to the prepared records of one split, from several threads at once.

    Attributes:
      sizes: (height, width) of each.
      bad: {index: why it holds nothing}.
    """

    def __init__(self, folder: Path, split: str):
        """Opens `split` of a folder that is_complete()."""
        self._folder = folder
        index = json.loads((folder / _INDEX).read_text())
        self.sizes: list[tuple[int, int]] = [(h, w) for h, w in index['sizes'][split]]
        self.bad = {int(i): text for i, text in index.get('bad', {}).get(split, {}).items()}
        self._records = _open_split(folder, split)
        _example_message()  # built here, by one thread

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        """The features of record `index`.

        Raises:
          UserError: the file was damaged on disk (array_record checks a hash of each chunk).
        """
        try:
            example = _example_message().FromString(self._records[index])  # pyright: ignore
        except Exception as error:
            raise UserError(
                f'{self._folder}: prepared record {index} cannot be read ({error}). Remove this '
                f'folder; the next start prepares it again from the raw files.'
            ) from error
        entries = example.features.feature
        return {entry.key: entry.value.bytes_list.value[0] for entry in entries}
