"""Reads a pickle as data: an interpreter of its opcodes that builds containers and calls nothing.

A pickle is a program for a stack machine; two of its instructions, GLOBAL and REDUCE, import and
call whatever the file names. Here a GLOBAL must be in a table that the caller gives, its values are
functions of our own, and everything else is refused before it is looked up. The opcodes are those
that protocols 2 to 4 use for plain containers and for what `torch.save` writes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Hashable, Mapping
from typing import IO, Any

from segjax.types import UserError

Allowed = Mapping[str, Callable[..., Any]]  # 'module.name' -> what to call in its place

_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_VALUES = {
    'BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT',
    'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINBYTES', 'SHORT_BINBYTES',
    'BINSTRING', 'SHORT_BINSTRING',  # text of Python 2; pickletools decodes it
}  # fmt: skip
_EMPTY = {'EMPTY_TUPLE': tuple, 'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_DAMAGE = (
    ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError, MemoryError,
)  # fmt: skip
_PUTS = {'BINPUT', 'LONG_BINPUT'}
_GETS = {'BINGET', 'LONG_BINGET'}


class _Mark:
    """Where on the stack the elements of the next container begin."""


class _Function:
    """A name of the table, to be called by REDUCE."""

    def __init__(self, name: str, call: Callable[..., Any]):
        self.name, self.call = name, call


class _Machine:
    """The stack, the memo and one method an instruction with an effect of its own."""

    def __init__(self, allowed: Allowed, persistent: Callable[[Any], Any]):
        self._allowed, self._persistent = allowed, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What is left when the program has ended."""
        (value,) = self._stack
        return value

    def step(self, name: str, argument: Any) -> None:
        """One instruction. Raises UserError for one that is not in the repertoire."""
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            elements = [self._stack.pop() for _ in range(count)]
            self._stack.append(tuple(reversed(elements)))
        elif name in _PUTS:
            self._memo[int(argument)] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name not in ('PROTO', 'FRAME', 'STOP'):
            self._compound(name, argument)

    def _compound(self, name: str, argument: Any) -> None:
        method = getattr(self, f'_op_{name.lower()}', None)
        if method is None:
            raise UserError(f'it uses the pickle instruction {name}, which weights have no need of')
        method(argument)

    def _to_mark(self) -> list[Any]:
        elements = []
        while not isinstance(value := self._stack.pop(), _Mark):
            elements.append(value)
        return elements[::-1]

    def _op_mark(self, _) -> None:
        self._stack.append(_Mark())

    def _op_memoize(self, _) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _op_pop(self, _) -> None:
        self._stack.pop()

    def _op_tuple(self, _) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _op_list(self, _) -> None:
        self._stack.append(self._to_mark())

    def _op_dict(self, _) -> None:
        self._stack.append(_pairs(self._to_mark()))

    def _op_append(self, _) -> None:
        value = self._stack.pop()
        _of_type(self._stack[-1], list).append(value)

    def _op_appends(self, _) -> None:
        values = self._to_mark()
        _of_type(self._stack[-1], list).extend(values)

    def _op_setitem(self, _) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _of_type(self._stack[-1], dict).update(_pairs([key, value]))

    def _op_setitems(self, _) -> None:
        items = _pairs(self._to_mark())
        _of_type(self._stack[-1], dict).update(items)

    def _op_additems(self, _) -> None:
        items = self._to_mark()
        _of_type(self._stack[-1], set).update(_flat(items))

    def _op_binpersid(self, _) -> None:
        self._stack.append(self._persistent(self._stack.pop()))

    def _op_global(self, argument: str) -> None:
        self._push_global(*argument.split(' ', 1))

    def _op_stack_global(self, _) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_global(_of_type(module, str), _of_type(name, str))

    def _push_global(self, module: str, name: str) -> None:
        full = f'{module}.{name}'
        if full not in self._allowed:
            raise UserError(f'it asks for {full}, which is no part of weights')
        self._stack.append(_Function(full, self._allowed[full]))

    def _op_reduce(self, _) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        call = _of_type(function, _Function).call
        self._stack.append(call(*_of_type(arguments, tuple)))

    _op_newobj = _op_reduce

    def _op_build(self, _) -> None:
        """The attributes of an object (`_metadata` of a state dict): not wanted, not set."""
        self._stack.pop()


def _pairs(elements: list[Any]) -> dict[Hashable, Any]:
    return dict(zip(_flat(elements[::2]), elements[1::2], strict=True))


def _flat(keys: list[Any]) -> list[Any]:
    """Keys without parts: Python hashes a tuple a million deep by overflowing its C stack."""
    for key in keys:
        if not isinstance(key, str | bytes | int | float | None):
            raise ValueError(f'a {type(key).__name__} as a key')
    return keys


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f'a {type(value).__name__} stands where a {kind.__name__} belongs')
    return value


def read_pickle(
    file: IO[bytes], *, allowed: Allowed, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The value of one pickle; the file is left behind its end.

    Args:
      file: opened for reading in binary, standing at the pickle's first byte.
      allowed: full names that the pickle may ask for, and what stands in for them. An allowed
        function that is not called stays an object without meaning.
      persistent: what a persistent id becomes; without it they are refused.

    Raises:
      UserError: it asks for anything outside `allowed`, uses an instruction that plain values do
        not need, or is damaged. Nothing that it names is ever imported or called.
    """
    machine = _Machine(allowed, persistent or _no_persistent)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        return machine.result()
    except _DAMAGE as error:
        raise UserError(f'its pickle is damaged ({type(error).__name__}: {error})') from None


def _no_persistent(_: Any) -> Any:
    raise ValueError('a persistent id where none belongs')
