"""--mode=sweep: train every arm with every seed, and say what made a difference.

    python launch.py --exp=NAME --mode=sweep                                          its sweep()
    python launch.py --exp=NAME --mode=sweep --deep_supervision=true,false --seed=0,1,2    a grid
    python launch.py --exp=NAME --mode=sweep --from_runs                              draw again

Each training is a run of its own, in runs/NAME/sweep/ARM,seed=N, and is resumed or passed over like
any other. What it scored, after its last step, is kept beside it (scores.jsonl, samples.npz): no
weights are chosen by the images that are compared. In runs/NAME/sweep/:

    runs.jsonl         a row a seed, arm, level and image
    costs.jsonl        a row an arm and level: parameters, multiply-accumulates, latency, memory
    table.md table.csv a line an arm and level; iou_vs_macs.png iou_vs_latency.png seeds.png
    side_by_side.png   the same images segmented by every arm (class maps alone)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from segjax.ablation import plots, table
from segjax.ablation.arm import Arm
from segjax.ablation.estimate import seconds_per_mac, work
from segjax.ablation.levels import levels, main_level
from segjax.ablation.measure import Row, cost, load_samples, measure, save_samples
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.files import write_whole
from segjax.modes import train
from segjax.modes.eval import find_state
from segjax.tasks import Instance
from segjax.train import machine, opening
from segjax.train.job import Job, make_job
from segjax.train.rundir import output_folder, read_result
from segjax.train.screen import Screen, duration
from segjax.types import UserError
from segjax.visualize import Compared, comparison, write_png


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    write_whole(path, ''.join(f'{json.dumps(row)}\n' for row in rows).encode())


def _read_rows(path: Path) -> list[Row]:
    """Raises UserError when the file is not there or damaged."""
    try:
        return [json.loads(line) for line in path.read_text('utf-8').splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({error}); leave out --from_runs.') from error


class _Sweep:
    """The directories and jobs of a sweep."""

    def __init__(self, arms: Sequence[Arm], options: RunOptions, screen: Screen):
        self.arms, self.screen = arms, screen
        self.folder = output_folder(options, 'sweep')
        self._options = options
        self._roots = Roots(options.raw_dir, options.data_dir)

    @property
    def first_seed(self) -> list[Arm]:
        """An arm of each name, the control first."""
        found: dict[str, Arm] = {}
        for arm in self.arms:
            found.setdefault(arm.name, arm)
        return list(found.values())

    def options(self, arm: Arm) -> RunOptions:
        """Those of its run, which is trained by one process."""
        folder = self.folder / arm.run
        return dataclasses.replace(self._options, mode='train', workdir=folder, distributed='off')

    def job(self, arm: Arm) -> Job:
        """Raises what make_job raises."""
        options = self._options
        return make_job(
            arm.experiment, self._roots, kind=options.parallelism, num_threads=options.num_threads
        )

    def describe(self) -> None:
        """The number of runs and the hours that they will take, before the first begins."""
        works = {arm.name: work(self.job(arm)) for arm in self.first_seed}
        taken, done, left = 0.0, 0.0, []  # seconds and work of what is finished; what is not
        for arm in self.arms:
            result = None if self._options.fresh else read_result(self.folder / arm.run)
            if result is None:
                left.append(arm)
            else:
                taken, done = taken + result['wall_time_s'], done + works[arm.name]
        runs = f'{len(self.arms)} runs: {", ".join(works)}'
        finished = f'{len(self.arms) - len(left)} runs'
        self.screen.facts({'sweep': runs, 'finished': finished})
        if left:
            rate = taken / done if done else self._rate(left[0])
            seconds = rate * sum(works[arm.name] for arm in left)
            text = f'{seconds / 3600:.2f} hours ({duration(seconds)}) for {len(left)} runs'
            text += '' if done else ', compilation not counted'
            self.screen.facts({'estimate': text})

    def _rate(self, arm: Arm) -> float:
        self.screen.line(f'Timing a few steps of {arm.name}.')
        return seconds_per_mac(self.job(arm))

    def train(self) -> int:
        """Train and score what is not finished; the first exit code that is not 0."""
        for number, arm in enumerate(self.arms, start=1):
            self.screen.heading(f'{number}/{len(self.arms)}  {arm.run}')
            if code := train.run(arm.experiment, self.options(arm)):
                return code
            if not (self.folder / arm.run / 'scores.jsonl').exists():
                self._score(arm)
        return 0

    def _score(self, arm: Arm) -> None:
        job, folder = self.job(arm), self.folder / arm.run
        last = dataclasses.replace(self.options(arm), weights='', checkpoint='latest')
        state, _ = find_state(job, last)
        found = measure(arm, job, state.variables)
        save_samples(folder / 'samples.npz', found.samples)
        _write_rows(folder / 'scores.jsonl', found.rows)

    def gather(self) -> None:
        """runs.jsonl and costs.jsonl, of the arms of this sweep."""
        files = [self.folder / arm.run / 'scores.jsonl' for arm in self.arms]
        rows = [row for file in files for row in _read_rows(file)]
        _write_rows(self.folder / 'runs.jsonl', rows)
        path = self.folder / 'costs.jsonl'
        costs = _read_rows(path) if path.exists() and not self._options.fresh else []
        known = {row['arm'] for row in costs}
        for arm in self.first_seed:
            if arm.name not in known:
                self.screen.line(f'Timing {arm.name}.')
                costs += self._costs(arm)
                _write_rows(path, costs)

    def _costs(self, arm: Arm) -> list[Row]:
        job = self.job(arm)
        networks = levels(job, job.initial_state().variables)
        return [
            {'arm': arm.name, 'level': level, **cost(there, own)}
            for level, (there, own) in networks.items()
        ]

    def draw(self) -> None:
        """Table and plots, from what was gathered."""
        runs = {(arm.name, arm.seed, arm.experiment.fold) for arm in self.arms}
        run = lambda row: (row['arm'], row['seed'], row['fold'])
        rows = [row for row in _read_rows(self.folder / 'runs.jsonl') if run(row) in runs]
        if missing := runs - {run(row) for row in rows}:
            raise UserError(
                f'{self.folder / "runs.jsonl"} has not all runs of this sweep, for one not '
                f'{min(missing)}; leave out --from_runs.'
            )
        costs = _read_rows(self.folder / 'costs.jsonl')
        level = lambda row: (row['arm'], row['level'])
        if untimed := set(map(level, rows)) - set(map(level, costs)):
            raise UserError(
                f'{self.folder / "costs.jsonl"} says nothing of {min(untimed)}; leave out '
                '--from_runs.'
            )
        control = self.arms[0].name, main_level(self.arms[0].experiment.model)
        lines = table.summarise(rows, costs, control)
        write_whole(self.folder / 'table.md', table.markdown(lines).encode())
        write_whole(self.folder / 'table.csv', table.csv_text(lines).encode())
        write_png(self.folder / 'iou_vs_macs.png', plots.over_macs(lines))
        write_png(self.folder / 'iou_vs_latency.png', plots.over_latency(lines))
        write_png(self.folder / 'seeds.png', plots.seeds(lines))
        if not isinstance(self.arms[0].experiment.task, Instance):
            self._draw_side_by_side()
        self.screen.line()
        self.screen.table(*table.short(lines))
        self.screen.facts({'written to': f'{self.folder}/table.md'})

    def _draw_side_by_side(self) -> None:
        """Some images, and what the whole networks of the first seed made of them; where the runs
        themselves are not here, as when the rows alone were copied, it says so."""
        arms = self.first_seed
        described = self.folder / arms[0].run / 'model' / 'model.json'
        try:
            made = [load_samples(self.folder / arm.run / 'samples.npz') for arm in arms]
            model = json.loads(described.read_text('utf-8'))
        except FileNotFoundError as error:
            self.screen.warn(f'side_by_side.png was not drawn: {error.filename} is not there.')
            return
        images = [
            Compared(sample.image, sample.label, [own[i].prediction for own in made])
            for i, sample in enumerate(made[0])
        ]
        picture = comparison(
            images,
            [arm.name for arm in arms],
            class_names=model['class_names'],
            palette=[tuple(color) for color in model['palette']],
        )
        write_png(self.folder / 'side_by_side.png', picture)


def run(arms: Sequence[Arm], options: RunOptions) -> int:
    """Train, score, compare; the exit code.

    Raises:
      UserError: data that is absent, a run with other fields, --from_runs without what it needs.
    """
    screen = Screen()
    sweep = _Sweep(arms, options, screen)
    if not options.from_runs:
        machine.prepare()
        opening.describe_devices(screen)
        sweep.describe()
        if code := sweep.train():
            return code
        sweep.gather()
    sweep.draw()
    return 0
