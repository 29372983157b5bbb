"""report.html: everything about a run on one page that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import io
import json
import math
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from classicnets.data.imageset import ImageSet
from classicnets.evaluation.report import Report
from classicnets.reports import figures as plots
from classicnets.reports.canvas import DARK, LIGHT, Theme, png
from classicnets.scorer import Answer
from classicnets.system.storage import written_aside


def write_html(folder: str | Path, report: Report, images: ImageSet) -> Path:
    """Write `folder`/report.html: the report, and what else a run folder holds: curves, recipe, environment.

    `images` are those of the report. Returns the page's path. Raises StorageError when the disk refuses.
    """
    page = Path(folder) / "report.html"
    text = render(Path(folder), report, images)
    with written_aside(page) as new:
        new.write_text(text, "utf-8")
    return page


def render(folder: Path, report: Report, images: ImageSet) -> str:
    """The page as text. Everything that came from data, a recipe or a file name is escaped."""
    title = escape(" on ".join(filter(None, (report.model, report.data))))
    parts = [_headline(report), *_curves(folder), *_classes(report), *_mistakes(report, images), *_origin(folder)]
    return _PAGE.format(title=title, style=_STYLE, body="\n".join(parts))


# ---- the sections, in the order of the page


def _headline(report: Report) -> str:
    low, high = report.top1_interval
    numbers = [
        ("top-1 accuracy", _percent(report.top1, 2), f"95 % interval {_percent(low)} to {_percent(high)}"),
        ("loss", f"{report.loss:.4f}", f"nats; knowing nothing costs {math.log(len(report.classes)):.2f}"),
        ("macro F1", _percent(report.macro_f1), "every class counts alike"),
        ("calibration error", _percent(report.calibration.ece), "how far scores are off chances"),
    ]
    if len(report.classes) > 5:
        numbers.insert(1, ("top-5 accuracy", _percent(report.top5, 2), "the true class is among five"))
    tiles = "".join(
        f'<div class="tile"><span class="name">{name}</span><b>{value}</b><span class="note">{note}</span></div>'
        for name, value, note in numbers
    )
    wrong = len(report.mistakes)
    said = f"{report.num_images:,} images, {len(report.classes)} classes, {wrong:,} wrong."
    if report.skipped:
        said += f" {len(report.skipped):,} more could not be read and are not counted."
    return f'<p class="lead">{said}</p>\n<div class="tiles">{tiles}</div>'


def _curves(folder: Path) -> Iterator[str]:
    rows = plots.read_curves(folder / "metrics.csv")
    if rows:
        yield "<h2>Training</h2>"
        yield _figure(lambda theme: plots.training_curves(rows, theme), "Loss and accuracy by epoch", "wide")


def _classes(report: Report) -> Iterator[str]:
    yield "<h2>Which class is taken for which</h2>"
    yield _figure(lambda theme: plots.confusion(report, theme), "Confusion matrix", "wide")
    if report.confusions:
        pairs = [(escape(pair.label), escape(pair.predicted), f"{pair.images:,}") for pair in report.confusions[:10]]
        yield "<h3>The most frequent confusions</h3>"
        yield _table(("true class", "taken for", "images"), pairs, words=2)
    yield "<h2>Class by class</h2>"
    rows = [
        (
            escape(name),
            _percent(score.precision),
            _percent(score.recall) if score.support else "no images",
            _percent(score.f1),
            f"{score.support:,}",
        )
        for name, score in report.per_class.items()
    ]
    yield _table(("class", "precision", "recall", "F1", "images"), rows)
    yield (
        '<p class="note">Precision: of what was called this class, how much is. Recall: of what is this class, how '
        "much was called so. F1: their harmonic mean.</p>"
    )
    yield "<h2>Can the scores be believed?</h2>"
    yield _figure(lambda theme: plots.reliability(report, theme), "Reliability diagram", "narrow")


def _mistakes(report: Report, images: ImageSet) -> Iterator[str]:
    wrong = report.mistakes
    if not wrong:
        return
    chosen = wrong[: plots.MOST_MISTAKES]
    many = len(wrong) > len(chosen)
    yield "<h2>The surest mistakes</h2>"
    yield (
        f'<p class="note">{f"{len(chosen)} of {len(wrong):,}" if many else f"All {len(wrong)}"}, the surest first: '
        'its true class, <span class="wrong">the answer and its score</span>, and the name of the image. '
        "Some may be mistakes of the labels.</p>"
    )
    shown = zip(chosen, plots.pictures(chosen, images, side=168), strict=True)
    yield f'<div class="pictures">{"".join(_picture(answer, image) for answer, image in shown)}</div>'


def _picture(answer: Answer, image: Tensor) -> str:
    name, label, predicted = (escape(text, quote=True) for text in (answer.path, answer.truth or "", answer.label))
    out = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(out, "PNG")
    return (
        f'<figure><img src="{_uri(out.getvalue())}" alt="{name}"><figcaption><b>{label}</b>'
        f'<span class="wrong">{predicted}, {_percent(answer.score)}</span>'
        f'<span class="note" title="{name}">{name}</span></figcaption></figure>'
    )


def _origin(folder: Path) -> Iterator[str]:
    recipe, environment = _read(folder / "recipe.toml"), _read(folder / "environment.json")
    config = _parsed(json.loads, _read(folder / "model" / "config.json"))
    data = config.get("classicnets", {}).get("provenance", {}).get("data")
    if data:
        yield "<h2>Data</h2>"
        yield _pairs(data)
    if recipe:
        yield "<h2>Recipe</h2>"
        yield f"<pre>{escape(recipe.strip())}</pre>"
    if environment:
        yield "<h2>Environment</h2>"
        yield _pairs(_parsed(json.loads, environment))
    if config:
        yield "<h2>Do it again</h2>"
        yield f"<pre>{escape(_commands(_parsed(tomllib.loads, recipe)))}</pre>"


def _commands(recipe: dict[str, Any]) -> str:
    """What to type in the run folder."""
    lines = [
        "# measure it again, in this folder",
        "classicnets evaluate .",
        "",
        "# ask it",
        "classicnets predict . IMAGE",
    ]
    model, source = recipe.get("model", {}).get("name"), recipe.get("data", {}).get("source")
    if model and source:
        train = f"classicnets train {shlex.quote(model)} {shlex.quote(source)} --recipe recipe.toml"
        lines = ["# train it again, in this folder", train, "", *lines]
    return "\n".join(lines)


# ---- what they share


def _figure(draw: Callable[[Theme], Figure], name: str, kind: str) -> str:
    """A figure for light pages and one for dark ones; the browser shows what suits it, and prints the light one."""
    light, dark = (_uri(png(draw(theme))) for theme in (LIGHT, DARK))
    return (
        f'<picture class="{kind}"><source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{name}"></picture>'
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A table of cells that are HTML already; after the first `words` columns they are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["" if i < words else ' class="number"' for i in range(len(cells))]
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for cell, kind in zip(cells, kinds, strict=True))}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(columns, "th")}</thead><tbody>{body}</tbody></table></div>'


def _pairs(values: dict[str, Any]) -> str:
    rows = (
        f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>{escape('-' if value is None else str(value))}</dd>"
        for key, value in values.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f}&nbsp;%"


def _read(path: Path) -> str:
    """The text of a file of the run, or nothing: the page is written with what there is."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _parsed(parse: Callable[[str], Any], text: str) -> dict[str, Any]:
    try:
        values = parse(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2024; --faint: #667078; --line: #d9dee2; --soft: #f4f6f7;
  --right: #0b62a8; --wrong: #b84f00; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #16191d; --ink: #e6e9ec; --faint: #98a2ab;
  --line: #353b42; --soft: #1f2429; --right: #56b4e9; --wrong: #f08c3a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.lead { margin: .35rem 0 1.5rem; color: var(--faint); }
.note { color: var(--faint); font-size: .85rem; }
.wrong { color: var(--wrong); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; }
.tile { background: var(--soft); border-radius: .5rem; padding: .9rem 1rem; display: flex; flex-direction: column; }
.tile .name { font-size: .85rem; color: var(--faint); }
.tile b { font-size: 1.6rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.tile:first-child b { color: var(--right); }
picture img { display: block; max-width: 100%; height: auto; }
picture.narrow img { width: 31rem; }
picture.wide img { width: 52rem; }
.scroll { overflow: auto; max-height: 34rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; min-width: 24rem; }
th { text-align: left; color: var(--faint); font-weight: 500; position: sticky; top: 0; background: var(--paper); }
th, td { padding: .3rem 1.5rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1.25rem 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--soft); border-radius: .25rem;
  display: block; }
figcaption { font-size: .85rem; line-height: 1.35; margin-top: .35rem; display: flex; flex-direction: column;
  overflow-wrap: anywhere; }
figcaption .note { font-size: .75rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 0; font-size: .92rem; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: .5rem; padding: 1rem; overflow: auto; font-size: .85rem;
  line-height: 1.45; margin: 0; }
@media print { main { max-width: none; padding: 0; } .scroll { max-height: none; overflow: visible; }
  h2 { break-after: avoid; } picture, .tiles, tr { break-inside: avoid; } th { position: static; }
  pre { white-space: pre-wrap; } .pictures { grid-template-columns: repeat(5, 1fr); } }
"""
