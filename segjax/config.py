"""An experiment as plain values: {dotted path: value}, there and back, and the options of a run.

A *node* is a frozen dataclass (a Linen module is one too) or a tuple of them; everything else is
a *leaf*: plain data (int, float, bool, str, None and tuples of these). `train.transforms.0.low` is
the field `low` of the first transform. Imports no JAX: the command line answers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from segjax.types import UserError

# segjax/modes/NAME.py
Mode = Literal[
    'train',
    'eval',
    'predict',
    'sweep',
    'summary',
    'check_data',
    'benchmark',
    'compare',
    'report',
    'export',
    'new',
    'doctor',
]

CACHE = Path('~/.cache/segjax')

NodeT = TypeVar('NodeT')


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is carried out. Nothing here changes what is computed or is compared on resume.

    Raises UserError for values that no mode could use.
    """

    exp: str = ''
    """Name of the experiment, a file of experiments/ (see --list)."""
    mode: Mode = 'train'
    """What to do with the experiment; train also evaluates."""
    workdir: Path = Path('runs')
    """Directory of the run. Default: runs/NAME, with overrides runs/NAME/field=value,..."""
    fresh: bool = False
    """Start again and keep the old run beside the new one."""
    weights: str = ''
    """Initial values when the run has no checkpoint yet: a name, a file, a run, or none.
    Empty: what the experiment says. predict: finished runs, which are averaged: A,B,C."""
    checkpoint: str = 'best'
    """Which checkpoint to evaluate or predict with: best, latest or a step."""
    runs: tuple[str, ...] = ()
    """compare: the run directories to draw side by side, as in --runs=A,B,C or as words of their
    own; report: one; eval, export: finished runs whose predictions are averaged."""
    arms: tuple[str, ...] = ()
    """sweep: these arms alone, in this order; the first is the control. Empty: all."""
    from_runs: bool = False
    """sweep: draw table and plots again from what was measured; nothing is trained."""
    prune: int = 0
    """eval, export: the network that pruning leaves of a U-Net++, 1 to 4 for L1 to L4. 0: the
    whole."""
    raw_dir: Path = dataclasses.field(
        default_factory=lambda: _folder('SEGJAX_RAW_DIR', CACHE / 'raw')
    )
    """Downloaded or hand-placed data, one folder a data set (env SEGJAX_RAW_DIR)."""
    data_dir: Path = dataclasses.field(
        default_factory=lambda: _folder('SEGJAX_DATA_DIR', CACHE / 'datasets')
    )
    """Prepared records; may be deleted at any time (env SEGJAX_DATA_DIR)."""
    parallelism: Literal['jit', 'pmap'] = 'jit'
    """How several devices share a step; both give the same answer within float tolerance."""
    shard_height: int = 1
    """Devices that share the rows of every training image, for images too large for one device."""
    distributed: Literal['auto', 'off'] = 'auto'
    """Join the processes of a cluster where there is one (segjax/train/README.md), or run alone."""
    start_timeout: int = 300
    """Seconds in which the processes of a cluster must find one another."""
    heartbeat_timeout: int = 30
    """Seconds of silence after which a process of a cluster counts as lost and all others end."""
    step_timeout: int = 1800
    """Seconds that a step, a batch of an evaluation or a checkpoint may take, compilation included;
    then the process prints where it hangs and ends. 0 waits for ever."""
    like: str = 'unet_folder'
    """new: the experiment to begin with."""
    name: str = ''
    """new: of the experiment that is written. Empty: the folder's."""
    input: str = ''
    """predict: the pictures, as a folder, a file or a pattern. summary and benchmark: the input
    size HEIGHTxWIDTH; empty: the experiment's own."""
    probabilities: Literal['none', 'npz', 'png'] = 'none'
    """predict: also write the probability of each class, as 16-bit floats or 16-bit pictures."""
    layout: str = ''
    """export: also write the values under the names of another project: torchvision, smp, ..."""
    sizes: tuple[str, ...] = ()
    """export: HEIGHTxWIDTH of the pictures, a program each. Empty: one program for any size, which
    is compiled once for each size it meets; detectors have none."""
    output: str = ''
    """Where a mode writes its files. Empty: into the run directory."""
    compile: bool = False
    """summary: also compile the training step and report its memory."""
    log_every: int = 20
    """Steps between two lines of progress."""
    checkpoint_every: int = 200
    """Steps between two checkpoints; the best and the last are always kept."""
    max_skips: int = 3
    """Steps in a row that are skipped when loss or gradient is NaN or infinite; then it stops."""
    keep: int = 2
    """Number of latest checkpoints to keep, beside the best."""
    num_threads: int = 2
    """Threads that read and augment images."""
    tensorboard: bool = True
    """Write TensorBoard files."""
    pictures: bool = True
    """Draw predictions and curves at every evaluation."""

    def __post_init__(self):
        for name in ('workdir', 'raw_dir', 'data_dir'):
            object.__setattr__(self, name, Path(getattr(self, name)).expanduser())
        positive = ('log_every', 'checkpoint_every', 'keep', 'num_threads')
        for name in (*positive, 'shard_height', 'start_timeout', 'heartbeat_timeout'):
            if getattr(self, name) < 1:
                raise UserError(f'--{name}={getattr(self, name)}: must be at least 1.')
        if self.max_skips < 0:
            raise UserError(f'--max_skips={self.max_skips}: must be at least 0.')
        if self.checkpoint not in ('best', 'latest') and not self.checkpoint.isdecimal():
            raise UserError(f'--checkpoint={self.checkpoint}: takes best, latest or a step.')
        sized = self.input and self.mode != 'predict'
        if sized and not re.fullmatch(r'[1-9]\d*x[1-9]\d*', self.input):
            raise UserError(f'--input={self.input}: takes HEIGHTxWIDTH, as in --input=360x480.')
        for size in self.sizes:
            if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', size):
                raise UserError(
                    f'--sizes={size}: takes HEIGHTxWIDTH, as in --sizes=512x512,96x128.'
                )

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) of --input, None when it was not given."""
        height, _, width = self.input.partition('x')
        return (int(height), int(width)) if width else None


def join_names(words: Sequence[str], known: Callable[[str], bool]) -> list[str]:
    """The names that were given with commas between them, where a comma may belong to a name.

    Of the known names that begin at a word the longest is meant; a word that begins none stands
    for itself.
    """
    names, first = [], 0
    while first < len(words):
        ends = range(len(words), first, -1)  # as in runs/NAME/stride=8,seed=1
        end = next((end for end in ends if known(','.join(words[first:end]))), first + 1)
        names.append(','.join(words[first:end]))
        first = end
    return names


class Leaf(NamedTuple):
    """One field that holds plain data."""

    value: Any
    hint: Any  # its type, as annotated
    compared: bool  # False: may differ between the parts of one run


def is_node(value: Any) -> bool:
    """True for a dataclass instance and for a tuple with one inside: what has fields of its own."""
    if isinstance(value, tuple):
        return any(is_node(item) for item in value)
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def class_name(node: Any) -> str:
    """The full name of a node's class, which flatten records under `PATH.class`."""
    return f'{type(node).__module__}.{type(node).__qualname__}'


def own_fields(node: Any) -> list[dataclasses.Field]:
    """The fields that its author gave a dataclass; Linen adds `parent` and `name` to modules."""
    linen = sys.modules.get('flax.linen')  # an experiment without Linen modules needs no Flax
    added = ('parent', 'name') if linen and isinstance(node, linen.Module) else ()
    return [field for field in dataclasses.fields(node) if field.init and field.name not in added]


def _hints(node: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(type(node))
    except NameError as error:
        raise TypeError(f'{class_name(node)}: an annotation cannot be resolved: {error}') from error


def _children(node: Any) -> Iterator[tuple[str, Leaf]]:
    """The parts of a node by name; those of a tuple are named 0, 1, ..."""
    if isinstance(node, tuple):
        yield from ((str(i), Leaf(item, type(item), True)) for i, item in enumerate(node))
        return
    hints = _hints(node)
    for field in own_fields(node):
        compared = field.metadata.get('compared', True)
        yield field.name, Leaf(getattr(node, field.name), hints[field.name], compared)


def leaves(node: Any, *, prefix: str = '', compared: bool = True) -> dict[str, Leaf]:
    """All leaves under `node` by dotted path, in order of definition.

    A dataclass field with metadata={'compared': False} says of everything under it that a run may
    go on when it changes (evaluation frequency, logging).
    """
    found = {}
    for name, child in _children(node):
        path, child_compared = prefix + name, compared and child.compared
        if is_node(child.value):
            found |= leaves(child.value, prefix=f'{path}.', compared=child_compared)
        else:
            found[path] = child._replace(compared=child_compared)
    return found


def _plain(value: Any, path: str) -> Any:
    """The JSON form of a leaf: tuples become lists."""
    if isinstance(value, tuple):
        return [_plain(item, path) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f'{path} holds a {type(value).__name__}. Fields of an experiment are plain data: int, '
        'float, bool, str, a tuple of these, or a frozen dataclass.'
    )


def flatten(experiment: Any, *, prefix: str = '') -> dict[str, Any]:
    """{dotted path: JSON value} of all fields, and the class of every node under `PATH.class`.

    Raises TypeError for a field that is not plain data.
    """
    is_tuple = isinstance(experiment, tuple)
    found = {} if is_tuple else {f'{prefix}class': class_name(experiment)}
    for name, child in _children(experiment):
        path = prefix + name
        if is_node(child.value):
            found |= flatten(child.value, prefix=f'{path}.')
        else:
            found[path] = _plain(child.value, path)
    return found


def replace(node: NodeT, values: Mapping[str, Any], *, prefix: str = '') -> NodeT:
    """`node` with the leaves named by dotted path in `values` exchanged."""
    changed = {}
    for name, child in _children(node):
        path = prefix + name
        if is_node(child.value):
            changed[name] = replace(child.value, values, prefix=f'{path}.')
        else:
            changed[name] = values.get(path, child.value)
    if isinstance(node, tuple):
        return tuple(changed.values())  # pyright: ignore[reportReturnType]
    return type(node)(**changed)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def restore(experiment: NodeT, flat: Mapping[str, Any]) -> NodeT:
    """`experiment` with the values of `flat`, as flatten wrote them.

    A field that `flat` does not know (it was added to the code since) keeps its value. Raises
    UserError when the classes differ or `flat` has fields that the experiment no longer has.
    """
    now = flatten(experiment)
    classes = {path for path in {*now, *flat} if path.rpartition('.')[2] == 'class'}
    wrong = [path for path in classes if now.get(path) != flat.get(path)]
    if lost := sorted({*wrong, *(flat.keys() - now.keys())}):
        lines = diff({k: v for k, v in flat.items() if k in lost}, {k: now.get(k) for k in lost})
        raise UserError(
            'The experiment is no longer made of what this run was made of:\n'
            + '\n'.join(f'  {line}' for line in lines)
            + '\nBring back the experiment as it was, or name another run with --workdir=DIR.'
        )
    return replace(experiment, {path: _tuples(value) for path, value in flat.items()})


def _find_class(name: str) -> Any:
    """The dataclass of a full name; nothing outside segjax is imported for it."""
    module, _, attribute = name.rpartition('.')
    if module.startswith('segjax.'):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    found = getattr(sys.modules.get(module), attribute, None)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise UserError(f'{name}: there is no such class; it was made by other code than this.')
    return found


def build(flat: Mapping[str, Any]) -> Any:
    """The object that flatten wrote as `flat`, made from its classes without another to start from.

    A field that `flat` does not know has the default of its class. Raises UserError when a class or
    a field is no longer there.
    """
    parts: dict[str, Any] = {}
    for path, value in flat.items():
        name, dot, rest = path.partition('.')
        if dot:
            parts.setdefault(name, {})[rest] = value
        else:
            parts[name] = _tuples(value)
    values = {k: build(v) if isinstance(v, dict) else v for k, v in parts.items()}
    if 'class' not in values:  # a tuple, its parts named 0, 1, ...
        return tuple(values[str(i)] for i in range(len(values)))
    made = _find_class(values.pop('class'))
    try:
        return made(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f'{made.__name__} cannot be made as it was: {error}') from error


def uncompared(experiment: Any) -> set[str]:
    """Dotted paths of the fields that may change when a run is resumed."""
    return {path for path, leaf in leaves(experiment).items() if not leaf.compared}


def show(value: Any) -> str:
    """A value as one would type it: true, 0.1, 4,8."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ','.join(show(item) for item in value)
    return str(value)


def diff(
    old: Mapping[str, Any], new: Mapping[str, Any], *, ignore: Collection[str] = ()
) -> list[str]:
    """What changed between two flattened experiments, a line each: `model.stride: 32 -> 8`."""

    def side(flat: Mapping[str, Any], path: str) -> str:
        return (show(flat[path]) or "''") if flat.get(path) is not None else '(absent)'

    paths = dict.fromkeys([*new, *old])
    return [
        f'{path}: {side(old, path)} -> {side(new, path)}'
        for path in paths
        if path not in ignore and old.get(path) != new.get(path)
    ]
