"""From a finished run, or weights that others published, to predictions: `segjax.load(...)`.

    network = segjax.load('runs/unet_nuclei')
    found = network.predict('cells.png')
    found.label  # h w, class ids
    found.show()

It needs the model/ folder of a run and nothing else: no data, no experiment file. Networks that
others published are known by name, and so are those whose files one has: segjax.load('fcn8s'),
segjax.load('smp_unet_resnet34', 'mine.pth').
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segjax.data.dataset import Info
from segjax.data.detection import DetectionEval
from segjax.known_networks import NETWORKS, KnownNetwork, numbered
from segjax.predictor import File, Network, Predictor, abstract_variables, make_predictor
from segjax.pretrained.initial import count_classes, load_weights
from segjax.pretrained.table import KNOWN
from segjax.tasks import Instance, Semantic
from segjax.train.model_folder import find_model_folder, read_model_folder
from segjax.types import UserError

CHANNELS = 3  # of the pictures that known networks take


class Loaded(NamedTuple):
    """A network, what it learned, the names of its classes, and what it is called."""

    network: Network
    variables: dict[str, Any]
    info: Info
    name: str


def _as_in(file: str, known: KnownNetwork, layout: str) -> KnownNetwork:
    """The network with as many classes as a file has."""
    model, given = known.model, known.model.num_classes
    expected = abstract_variables(model, CHANNELS)
    number = count_classes(file, expected, layout=layout, num_classes=given)
    if number == given:
        return known
    info = numbered(number, background=isinstance(known.pipeline, DetectionEval))
    return known._replace(model=model.clone(num_classes=number), info=info)


def _load_known(name: str, file: str) -> Loaded:
    """A network of NETWORKS; `file` has its values, '' for those that are published."""
    row, known = KNOWN[name], NETWORKS[name]
    known = _as_in(file, known, row.layout) if file else known
    task = Instance() if isinstance(known.pipeline, DetectionEval) else Semantic()
    network = Network(known.model, task, known.pipeline, row.preprocessing, CHANNELS)
    expected = abstract_variables(known.model, CHANNELS)
    variables = load_weights(file or name, expected, layout=row.layout)
    return Loaded(network, variables, known.info, f'{name} {file}'.rstrip())


def _load_run(name: str) -> Loaded:
    folder = find_model_folder(name)
    assert folder is not None
    said = read_model_folder(folder)
    network = Network(said.model, said.task, said.pipeline, said.normalize, said.channels)
    expected = abstract_variables(said.model, said.channels)
    variables = load_weights(str(folder.absolute()), expected)
    return Loaded(network, variables, said.info, name)


def _is_weights_file(source: File) -> bool:
    """Whether it is a file that does not say which network it is of."""
    return Path(source).expanduser().is_file() and find_model_folder(source) is None


def _pair(sources: Sequence[str]) -> list[tuple[str, str]]:
    """Each run or name, with the file that follows it or ''. Raises UserError."""
    found, rest = [], [*sources]
    while rest:
        source = rest.pop(0)
        if source in NETWORKS:
            has_file = rest and _is_weights_file(rest[0])
            found.append((source, rest.pop(0) if has_file else ''))
        elif find_model_folder(source) is not None:
            found.append((source, ''))
        elif _is_weights_file(source):
            raise UserError(
                f'{source}: of which network? Name one that --list_weights lists before the file, '
                f'as segjax.load(NAME, {Path(source).name!r}) or --weights=NAME,{source}; or '
                'predict with --exp=NAME of an experiment.'
            )
        else:
            raise UserError(_unknown(source))
    return found


def _unknown(source: str) -> str:
    """Why nothing can be loaded from what is no finished run, no file and no name."""
    if (Path(source).expanduser() / 'config.json').is_file():
        return (
            f'{source} is a run that is not finished: it has no model/model.json. Train it to the '
            f'end, or predict with its checkpoints: --exp=NAME --workdir={source}.'
        )
    near = difflib.get_close_matches(source, NETWORKS, n=3)
    return (
        f'{source}: neither a finished run, which is a directory with model/model.json, nor a '
        'file, nor a network known by name; --list_weights lists them.'
        + (f' Did you mean {" or ".join(near)}?' if near else '')
    )


def load(*sources: File) -> Predictor:
    """A predictor of a finished run; of several, the mean of their probabilities.

    Args:
      sources: run directories (`runs/unet_nuclei`, or `unet_nuclei` for short), their model/
        folders or a file in one; or networks of `known_networks.NETWORKS` by name. Such a name may
        be followed by a file of weights, in the layout of its publisher, whose number of classes
        may be another; without one, published weights are downloaded once.

    Raises:
      UserError: there is no such run, network or file, it is damaged, their classes differ, or one
        of several finds objects.
    """
    if not sources:
        raise UserError('Which run? segjax.load(RUN) takes the directory of a finished training.')
    found = [
        _load_known(source, file) if source in NETWORKS else _load_run(source)
        for source, file in _pair([*map(str, sources)])
    ]
    first, *others = found
    for other in others:
        if other.info.class_names != first.info.class_names:
            raise UserError(
                f'{other.name} was trained on other classes than {first.name}; '
                'only networks of the same classes can be averaged.'
            )
    return make_predictor(
        [each.network for each in found],
        [each.variables for each in found],
        first.info,
        name=', '.join(each.name for each in found),
    )
