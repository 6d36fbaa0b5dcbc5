"""Which pictures a word of the command line means, and what their results are called."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segjax.data.images import list_slices
from segjax.types import UserError


class Input(NamedTuple):
    """A file that may be a picture, or a slice of a stack."""

    path: Path  # as read_image takes it
    file: str  # the path below the folder that was named
    name: str  # of its results: the same without suffix; `stack/07` for stack.tif/07


def _files(text: str) -> tuple[Path, list[Path]]:
    """A folder, and the files below it that are meant, hidden ones left out."""
    path = Path(text).expanduser()
    if path.is_dir():
        hidden = lambda file: any(p.startswith('.') for p in file.relative_to(path).parts)
        return path, [file for file in path.rglob('*') if file.is_file() and not hidden(file)]
    if path.is_file():
        return path.parent, [path]
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    fixed = [part for part in path.parts[:-1]]
    wild = next((i for i, part in enumerate(fixed) if glob.has_magic(part)), len(fixed))
    return Path(*fixed[:wild]), [file for file in found if file.is_file()]


def _names(files: Sequence[str], short: Sequence[str]) -> list[str]:
    """The short names; where two would have the same the files', then numbered."""
    count = Counter(short)
    names = [stem if count[stem] == 1 else file for stem, file in zip(short, files, strict=True)]
    taken: set[str] = set()
    for i, name in enumerate(names):
        number = 2
        while names[i] in taken:
            names[i] = f'{name}-{number}'
            number += 1
        taken.add(names[i])
    return names


def find_inputs(text: str, *, output: Path) -> list[Input]:
    """The files that --input means, in order of their paths; of a stack its slices.

    Args:
      text: a folder, with all that is below it; a file; or a pattern, `photos/**/*.jpg`.
      output: what lies in this folder is left out.

    Raises:
      UserError: there is no file.
    """
    root, found = _files(text)
    output = output.resolve()
    kept = sorted(file for file in found if output not in file.resolve().parents)
    if not kept:
        raise UserError(f'--input={text}: no file. It takes a folder, a file or a pattern.')
    slices = [(file, path) for file in kept for path in list_slices(file)]
    paths = [path for _, path in slices]
    files = [path.relative_to(root).as_posix() for path in paths]
    short = [
        (file.relative_to(root).with_suffix('') / path.relative_to(file)).as_posix()
        for file, path in slices
    ]
    return [Input(*parts) for parts in zip(paths, files, _names(files, short), strict=True)]
