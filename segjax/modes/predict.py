"""--mode=predict: a folder of pictures, a folder of predictions (gallery/folder.py lists them).

    python launch.py --exp=unet_nuclei --mode=predict --input=photos
    python launch.py --mode=predict --weights=runs/a,runs/b --input=photos --output=found
    python launch.py --mode=predict --weights=smp_unet_resnet34,mine.pth --input=photos

Results are called after the picture's path below the folder, those of the slices of a TIFF of
several pages `stack/00`, `stack/01`, .... Reading, computing and writing run
side by side; each picture is computed by itself, so that no other one has a part in its result.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import jax

from segjax.config import RunOptions, join_names
from segjax.data.dataset import Roots
from segjax.data.inputs import Input, find_inputs
from segjax.evaluate.instance import describe_dropped
from segjax.gallery import Entry, Gallery
from segjax.gallery.folder import SHEET
from segjax.loading import load
from segjax.predictor import Detector, Network, Predictor, abstract_variables, make_predictor
from segjax.pretrained.initial import load_weights
from segjax.pretrained.table import KNOWN
from segjax.train import machine, opening
from segjax.train.checkpoint import Checkpointer
from segjax.train.compilations import watch_compilations
from segjax.train.experiment import Experiment, bind
from segjax.train.model_folder import find_model_folder
from segjax.train.progress import Bar
from segjax.train.rundir import output_folder, output_path
from segjax.train.screen import Screen, duration
from segjax.train.state import init_state
from segjax.types import UserError

UNREADABLE = 3  # the exit code when files were left out
NUM_LISTED = 20

A = TypeVar('A')
B = TypeVar('B')


# --- The network ---------------------------------------------------------------------------------


def _sources(text: str) -> list[str]:
    """What --weights names; a comma may part two names or belong to one."""
    there = lambda name: name in KNOWN or Path(name).expanduser().exists()
    return join_names(text.split(','), lambda name: there(name) or bool(find_model_folder(name)))


def _of_weights(e: Experiment, options: RunOptions) -> Predictor:
    """The experiment's network with the values of --weights."""
    info = e.dataset.info(Roots(options.raw_dir, options.data_dir))
    e = bind(e, info)
    channels = e.dataset.channels
    network = Network(e.model, e.task, e.eval, e.dataset.normalize, channels)
    expected = abstract_variables(e.model, channels)
    sources = _sources(options.weights)
    variables = [load_weights(source, expected) for source in sources]
    return make_predictor([network] * len(sources), variables, info, name=', '.join(sources))


def _of_checkpoint(e: Experiment, options: RunOptions) -> Predictor:
    """A checkpoint of a run that is not finished, or another than the best."""
    info = e.dataset.info(Roots(options.raw_dir, options.data_dir))
    e = bind(e, info)
    image = jax.ShapeDtypeStruct((1, *e.train.crop, e.dataset.channels), float)
    like = jax.eval_shape(
        lambda: init_state(e.model, e.optimizer, num_steps=e.num_steps, image=image, seed=e.seed)
    )
    which = options.checkpoint
    folder = options.workdir / 'checkpoints'
    with Checkpointer(folder) as checkpoints:
        restored = checkpoints.restore(int(which) if which.isdecimal() else which, like=like)
    if restored is None:
        raise UserError(
            f'{options.workdir} holds no trained network. Train first (python launch.py '
            f'--exp={options.exp}), name another run with --workdir=DIR, or give --weights=RUN.'
        )
    step, state = restored
    network = Network(e.model, e.task, e.eval, e.dataset.normalize, e.dataset.channels)
    return make_predictor([network], [state.variables], info, name=str(folder / str(step)))


def find_predictor(experiment: Experiment | None, options: RunOptions) -> Predictor:
    """The network that --exp and --weights mean.

    A finished run is read from its model/ folder; fields of `eval` and `task` that were given hold.

    Raises:
      UserError: there is none, it is damaged, or neither option was given.
    """
    weights = '' if options.weights == 'none' else options.weights
    if experiment is None:
        if not weights:
            raise UserError(
                'Which network? --exp=NAME for a run of it, or --weights=RUN, or a known name.'
            )
        return load(*_sources(weights))
    if weights:
        return _of_weights(experiment, options)
    if options.checkpoint != 'best' or not (options.workdir / 'model' / 'model.json').is_file():
        return _of_checkpoint(experiment, options)
    e, found = experiment, load(options.workdir)
    (said,) = found.networks
    network = Network(said.model, e.task, e.eval, said.normalize, said.channels)
    return make_predictor([network], found.variables, found.info, name=found.name)


# --- The pictures --------------------------------------------------------------------------------


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], number: int
) -> Iterator[tuple[A, Future[B]]]:
    """Each item, in order, with its work, which is done for `number` of them ahead."""
    waiting: deque[tuple[A, Future[B]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > number:
            yield waiting.popleft()
    yield from waiting


def _predict_all(
    predictor: Predictor, inputs: Sequence[Input], folder: Gallery, num_threads: int
) -> tuple[list[Entry], dict[str, str], int]:
    """Read, predict and write; the gallery's entries, the files that could not be read, and the
    boxes that detections left out (`Prediction.dropped`)."""
    written: deque[Future[Entry]] = deque()
    entries: list[Entry] = []
    unreadable: dict[str, str] = {}
    dropped = 0
    bar = Bar(len(inputs), 'pictures')
    keep = folder.keep != 'none'
    with ThreadPoolExecutor(num_threads) as readers, ThreadPoolExecutor(num_threads) as writers:
        read = lambda item: predictor.read(item.path)
        for done, (item, pixels) in enumerate(_ahead(readers, read, inputs, num_threads), start=1):
            try:
                found = predictor.predict(pixels.result(), probabilities=keep)
            except UserError as error:
                unreadable[str(item.path)] = str(error).removeprefix(f'{item.path}: ')
            else:
                dropped += found.dropped
                written.append(writers.submit(folder.add, item.name, item.file, found))
            while len(written) > num_threads or (written and done == len(inputs)):
                entries.append(written.popleft().result())
            bar.show(done)
    return entries, unreadable, dropped


def _list_unreadable(screen: Screen, unreadable: dict[str, str], total: int) -> None:
    if not unreadable:
        return
    screen.warn(f'{len(unreadable)} of {total} files were not read; index.html names them all:')
    for path, reason in [*unreadable.items()][:NUM_LISTED]:
        screen.line(f'  {path}: {reason}')


def _left_out(predictor: Predictor, dropped: int) -> dict[str, str]:
    """The line about boxes that detections left out, if any."""
    if not dropped:
        return {}
    return {'left out': describe_dropped(dropped, predictor.networks[0].model.detection_candidates)}


def run(experiment: Experiment | None, options: RunOptions) -> int:
    """Predict --input into --output; the exit code, 3 if files could not be read.

    Raises:
      UserError: there is no network or no file, or the folder cannot be written.
    """
    screen = Screen()
    machine.prepare()
    opening.describe_devices(screen)
    if not options.input:
        raise UserError('Which pictures? --input=FOLDER, a file, or a pattern as "photos/*.jpg".')
    inputs = find_inputs(options.input, output=output_path(options, 'predict'))
    predictor = find_predictor(experiment, options)
    if isinstance(predictor, Detector) and options.probabilities != 'none':
        raise UserError('--probabilities is for class maps; detections have scores.')
    output = output_folder(options, 'predict')
    screen.facts({'network': repr(predictor), 'pictures': str(len(inputs))})
    names = [item.name for item in inputs]
    shown = frozenset(names[:: -(-len(names) // SHEET)])
    folder = Gallery(output, predictor.info, keep=options.probabilities, sheet=shown)
    begin = time.perf_counter()
    try:
        with watch_compilations(screen.warn):
            entries, unreadable, dropped = _predict_all(
                predictor, inputs, folder, options.num_threads
            )
        facts = {'network': predictor.name, 'made': time.strftime('%Y-%m-%d %H:%M')}
        folder.close(entries, unreadable, facts)
    except OSError as error:
        raise UserError(
            f'{output} cannot be written: {error.strerror or error}. Name another: --output=DIR.'
        ) from error
    _list_unreadable(screen, unreadable, len(inputs))
    pages = [output / name for name in ('index.html', 'sheet.png') if (output / name).is_file()]
    screen.facts(
        {
            'predicted': f'{len(entries)} pictures in {duration(time.perf_counter() - begin)}',
            **_left_out(predictor, dropped),
            'look at': f'{" or ".join(map(str, pages))} (in a browser)',
            'labels': f'{output / "labels"}/',
        }
    )
    return UNREADABLE if unreadable else 0
