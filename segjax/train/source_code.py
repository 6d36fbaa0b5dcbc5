"""An experiment as the source of a file of experiments/, with comments beside its fields."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from segjax.config import is_node, own_fields

_WIDTH = 100
_INDENT = '    '
Notes = Mapping[str, str]  # what to say of a field, by its dotted path


def _arguments(node: Any, path: str, notes: Notes) -> Iterator[tuple[str, str, Any]]:
    """(what stands before the value, path, value) of what a call or a tuple holds.

    A field that has its default is left out, unless there is something to say of it or in it.
    """
    if isinstance(node, tuple):
        yield from (('', f'{path}{i}', item) for i, item in enumerate(node))
        return
    for field in own_fields(node):
        value, place = getattr(node, field.name), path + field.name
        said = any(note == place or note.startswith(f'{place}.') for note in notes)
        if said or field.default is dataclasses.MISSING or value != field.default:
            yield f'{field.name}=', place, value


def _brackets(node: Any) -> tuple[str, str]:
    return ('(', ')') if isinstance(node, tuple) else (f'{type(node).__name__}(', ')')


def _one_line(value: Any) -> str:
    if not is_node(value):
        return repr(value)
    opening, closing = _brackets(value)
    parts = [before + _one_line(item) for before, _, item in _arguments(value, '', {})]
    comma = ',' if isinstance(value, tuple) and len(parts) == 1 else ''
    return opening + ', '.join(parts) + comma + closing


def _lines(before: str, value: Any, path: str, notes: Notes, indent: str) -> list[str]:
    """The lines of `before` and the value, a comma behind it; its note goes before."""
    comment = textwrap.wrap(notes.get(path, ''), _WIDTH - len(indent) - 2)
    lines = [f'{indent}# {text}' for text in comment]
    whole = f'{indent}{before}{_one_line(value)},'
    inside = f'{path}.' if path else ''
    noted_inside = any(note != path and note.startswith(inside) for note in notes)
    if len(whole) <= _WIDTH and not noted_inside:
        return [*lines, whole]
    if not is_node(value) and not isinstance(value, tuple):
        return [*lines, whole]  # a long text; nothing to break
    opening, closing = _brackets(value)
    lines.append(f'{indent}{before}{opening}')
    for name, place, item in _arguments(value, inside, notes):
        lines += _lines(name, item, place, notes, indent + _INDENT)
    return [*lines, f'{indent}{closing},']


def _classes(node: Any, path: str, notes: Notes) -> Iterator[type]:
    """The classes that the source names."""
    if not isinstance(node, tuple):
        yield type(node)
    for _, place, item in _arguments(node, path, notes):
        if is_node(item):
            yield from _classes(item, f'{place}.', notes)


def _home(found: type) -> str:
    """The module to import a class from: the package that offers it, else its own module."""
    package = found.__module__.rpartition('.')[0]
    offered = getattr(sys.modules.get(package), found.__name__, None)
    return package if offered is found else found.__module__


def _imports(node: Any, notes: Notes) -> list[str]:
    homes: dict[str, set[str]] = {}
    for found in _classes(node, '', notes):
        homes.setdefault(_home(found), set()).add(found.__name__)
    lines = []
    for home, names in sorted(homes.items()):
        line = f'from {home} import {", ".join(sorted(names))}'
        if len(line) > _WIDTH:
            inside = [f'{_INDENT}{name},' for name in sorted(names)]
            line = '\n'.join([f'from {home} import (', *inside, ')'])
        lines.append(line)
    return lines


def experiment_source(experiment: Any, *, text: str, summary: str, notes: Notes) -> str:
    """A file whose experiment() makes `experiment` again.

    Args:
      text: the file's docstring, wrapped.
      summary: that of experiment(), one line.
      notes: comments, by dotted paths of fields; these stand even where they have their default.
    """
    home = type(experiment).__name__
    returned = _lines('return ', experiment, '', notes, _INDENT)
    returned[-1] = returned[-1].removesuffix(',')
    return '\n'.join(
        [
            f'"""{text.strip()}\n"""',
            '',
            *_imports(experiment, notes),
            '',
            '',
            f'def experiment() -> {home}:',
            f'{_INDENT}"""{summary}"""',
            *returned,
            '',
        ]
    )
