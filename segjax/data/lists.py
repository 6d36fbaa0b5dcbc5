"""Text files that people write: names and classes, one a line."""

from __future__ import annotations

from pathlib import Path

from segjax.types import UserError


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without the blanks around them.

    Raises:
      UserError: it cannot be opened, or is of another encoding.
    """
    try:
        return [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b'\n') + 1
        raise UserError(
            f'{path}, line {number}: is not UTF-8 text; save it in that encoding.'
        ) from None
    except OSError as error:
        raise UserError(f'{path}: cannot be opened: {error.strerror or error}.') from None
