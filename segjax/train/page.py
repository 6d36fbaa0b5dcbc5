"""A page of HTML that needs no server, no network and no second file: pictures are in it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from segjax.visualize import png_bytes

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #212126; background: #f4f4f6; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 24px; }
section { background: #fff; border: 1px solid #dedee3; border-radius: 8px; padding: 4px 24px 20px;
          margin: 18px 0; overflow-x: auto; }
h1 { font-size: 26px; margin: 10px 0 0; } h2 { font-size: 18px; }
p, th, caption { color: #66666e; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 3px 18px 3px 0; text-align: left; vertical-align: top;
         border-bottom: 1px solid #ececf0; font-weight: normal; overflow-wrap: anywhere; }
td.number { text-align: right; }
meter { width: 140px; } summary { cursor: pointer; color: #1f5fa8; }
img { max-width: 100%; height: auto; }
"""


def text(value: object) -> str:
    """What is written as it is, whatever characters it has."""
    return html.escape(str(value))


def note(value: object) -> str:
    """A paragraph."""
    return f'<p>{text(value)}</p>'


def facts(values: Mapping[str, object]) -> str:
    """A table of two columns."""
    rows = (f'<tr><th>{text(k)}</th><td>{text(v)}</td></tr>' for k, v in values.items())
    return f'<table>{"".join(rows)}</table>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under a header; all but the first hold numbers, or HTML of their own."""
    lines = [f'<tr>{"".join(f"<th>{text(name)}</th>" for name in header)}</tr>']
    for first, *others in rows:
        cells = ''.join(f'<td class="number">{cell}</td>' for cell in others)
        lines.append(f'<tr><td>{text(first)}</td>{cells}</tr>')
    return f'<table>{"".join(lines)}</table>'


def bar(share: float) -> str:
    """A number of 0..1 as a bar; nothing for NaN."""
    return f'<meter min="0" max="1" value="{share:.4f}"></meter>' if share == share else ''


def picture(rgb: np.ndarray, name: str) -> str:
    """A picture (uint8 `h w 3`); `name` is what is read out in its place."""
    content = base64.b64encode(png_bytes(rgb)).decode('ascii')
    return f'<img alt="{text(name)}" src="data:image/png;base64,{content}">'


def folded(title: str, content: str) -> str:
    """What is seen after a click on its title."""
    return f'<details><summary>{text(title)}</summary>{content}</details>'


def page(title: str, subtitle: str, sections: Mapping[str, str]) -> str:
    """The whole page: sections of HTML by their titles."""
    body = ''.join(
        f'<section><h2>{text(name)}</h2>{content}</section>' for name, content in sections.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><style>{_STYLE}</style></head>\n'
        f'<body><main><h1>{text(title)}</h1><p>{text(subtitle)}</p>{body}</main></body></html>\n'
    )
