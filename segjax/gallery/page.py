"""A folder of predictions as a page that a browser opens from the disk: no server, no network.

The page lies in the folder and shows its small pictures; a click opens the large one. Classes can
be chosen, and a slider lays the prediction over the picture. Of class maps it tells what share of
the pixels each class has, of detections how many objects.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from segjax.data.dataset import Info

MAX_NAMED = 4  # classes that are written below a picture
MAX_LISTED = 5  # files that were not read and are named without a click


class Entry(NamedTuple):
    """One picture of the gallery; paths are relative to the page."""

    file: str  # what it is called
    size: tuple[int, int]  # height and width
    shares: dict[str, float]  # of the pixels, by class, the largest first
    picture: str  # small
    overlay: str  # small
    full: str  # the overlay at full size
    objects: dict[str, int] | None = None  # a detector's, by class, the most first

    @property
    def classes(self) -> tuple[str, ...]:
        """What is there, the most of it first."""
        return tuple(self.shares if self.objects is None else self.objects)


_STYLE = """
:root { --overlay: 1; color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #212126; background: #f4f4f6; margin: 0; }
header, main, section { padding: 0 28px; }
header { background: #fff; border-bottom: 1px solid #dedee3; padding: 18px 28px; }
h1 { font-size: 24px; margin: 0 0 4px; }
summary { font-size: 17px; margin-top: 18px; cursor: pointer; }
p { margin: 0 0 12px; color: #66666e; overflow-wrap: anywhere; }
button { font: inherit; border: 1px solid #d0d0d6; border-radius: 14px; background: #fff;
         margin: 0 6px 6px 0; padding: 2px 12px; cursor: pointer; }
button.chosen { border-color: #212126; box-shadow: 0 0 0 1px #212126; }
i { display: inline-block; width: 11px; height: 11px; margin-right: 7px; border: 1px solid #0003; }
label { color: #66666e; display: block; margin-top: 4px; }
input { vertical-align: middle; margin: 0 6px; width: 180px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 18px;
       padding-top: 20px; padding-bottom: 28px; }
figure { margin: 0; background: #fff; border: 1px solid #dedee3; border-radius: 8px;
         overflow: hidden; }
figure[hidden] { display: none; }
figure a { position: relative; display: block; height: 230px; background: #e9e9ed; }
figure img { position: absolute; width: 100%; height: 100%; object-fit: contain; }
img.overlay { opacity: var(--overlay); } a:hover img.overlay { opacity: 0; }
.bar { display: flex; height: 7px; }
figcaption { padding: 8px 12px 10px; font-size: 13px; color: #66666e; }
figcaption b { color: #212126; display: block; overflow-wrap: anywhere; }
li { overflow-wrap: anywhere; }
"""

_SCRIPT = """
const figures = [...document.querySelectorAll('figure')];
const buttons = [...document.querySelectorAll('button')];
const choose = (button) => {
  const chosen = button.classList.contains('chosen') ? '' : button.dataset.id;
  buttons.forEach((b) => b.classList.toggle('chosen', b.dataset.id === chosen));
  figures.forEach((f) => { f.hidden = chosen && !f.dataset.ids.split(' ').includes(chosen); });
};
buttons.forEach((button) => button.addEventListener('click', () => choose(button)));
document.querySelector('input').addEventListener('input', (event) =>
  document.documentElement.style.setProperty('--overlay', event.target.value));
"""


def _color(rgb: Sequence[int]) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*rgb)


def _percent(share: float) -> str:
    return f'{100 * share:.0f}%' if share >= 0.01 else '&lt; 1%'


def _bar(entry: Entry, ids: Mapping[str, int], info: Info) -> str:
    """The shares of the classes in their colours; objects are drawn in colours of their own."""
    if entry.objects is not None:
        return ''
    parts = ''.join(
        f'<span style="flex:{share:.5f};background:{_color(info.palette[ids[c]])}" '
        f'title="{html.escape(c)}"></span>'
        for c, share in entry.shares.items()
    )
    return f'<div class="bar">{parts}</div>'


def _told(entry: Entry) -> str:
    """What is there, in words."""
    if entry.objects is None:
        named = [f'{html.escape(c)} {_percent(share)}' for c, share in entry.shares.items()]
    else:
        named = [f'{html.escape(c)} {number}' for c, number in entry.objects.items()]
    more = len(named) - MAX_NAMED
    return (', '.join(named[:MAX_NAMED]) or 'nothing') + (f' and {more} more' if more > 0 else '')


def _figure(entry: Entry, ids: Mapping[str, int], info: Info) -> str:
    escape = html.escape
    name, (height, width) = escape(entry.file), entry.size
    return (
        f'<figure data-ids="{" ".join(str(ids[c]) for c in entry.classes)}">'
        f'<a href="{quote(entry.full)}"><img src="{quote(entry.picture)}" alt="{name}" '
        f'loading="lazy"><img class="overlay" src="{quote(entry.overlay)}" '
        f'alt="prediction" loading="lazy"></a>{_bar(entry, ids, info)}'
        f'<figcaption><b>{name}</b>{width} x {height}<br>{_told(entry)}</figcaption></figure>'
    )


def _legend(entries: Sequence[Entry], ids: Mapping[str, int], info: Info) -> str:
    """A button for each class that occurs, with the number of its pictures."""
    counts = Counter(name for entry in entries for name in entry.classes)
    mapped = any(entry.objects is None for entry in entries)
    swatch = lambda name: (
        f'<i style="background:{_color(info.palette[ids[name]])}"></i>' if mapped else ''
    )
    return ''.join(
        f'<button data-id="{ids[name]}">{swatch(name)}{html.escape(name)} {counts[name]}</button>'
        for name in info.class_names
        if name in counts
    )


def page(
    entries: Sequence[Entry],
    unreadable: Mapping[str, str],
    *,
    info: Info,
    title: str,
    subtitle: str,
) -> str:
    """The page, as HTML.

    Args:
      entries: the pictures, in their order.
      unreadable: files without a prediction, and why.
      subtitle: a line of text: by what, and when.
    """
    ids = {name: i for i, name in enumerate(info.class_names)}
    figures = '\n'.join(_figure(entry, ids, info) for entry in entries)
    bad = ''.join(
        f'<li><b>{html.escape(file)}</b>: {html.escape(reason)}</li>'
        for file, reason in unreadable.items()
    )
    problems = (
        f'<section><details{" open" * (len(unreadable) <= MAX_LISTED)}><summary>Not read: '
        f'{len(unreadable)}</summary><ul>{bad}</ul></details></section>'
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n'
        f'<body><header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p>'
        f'<div title="a click shows the pictures of a class alone">{_legend(entries, ids, info)}'
        '</div><label>picture <input type="range" min="0" max="1" step="0.05" value="1">'
        'prediction</label></header>\n'
        f'{problems if unreadable else ""}<main>\n{figures}\n</main>'
        f'<script>{_SCRIPT}</script></body></html>\n'
    )
