"""What the pages of the course are made of, as a Sphinx extension.

    ```{layer-table} alexnet     what `inspect` counts, stage by stage
    ```{drawing} alexnet         what `inspect --svg` draws, in a box that scrolls
    ```{accuracies} vgg16 nin    what `compare --figure` draws
    ```{study} relu dropout      the verdicts of committed studies, or the command that runs them

Everything is made when the pages are built, so nothing on them can disagree with the code. A page below zh/ is Chinese.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive
from matplotlib.figure import Figure
from sphinx.application import Sphinx

import classicnets as cn
from classicnets.analysis import Row, draw_unit, inspect_unit
from classicnets.analysis.table import sides
from classicnets.models.facts import human
from classicnets.reports.canvas import DARK, LIGHT
from classicnets.reports.networks import accuracy_figure

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"


class Words(NamedTuple):
    """What the directives say in one language."""

    header: tuple[str, ...]
    head: str
    whole_image: str
    training_only: str
    totals: str
    drawing: str
    accuracies: str
    open_drawing: str
    study_header: tuple[str, str, str]
    verdicts: dict[str, str]
    setting: str
    counted: str
    run_it: str


ENGLISH = Words(
    header=("stage", "output", "kernel", "stride", "parameters", "multiply-adds", "receptive field"),
    head="head",
    whole_image="all",
    training_only="training only",
    totals="{model} at {size}: {parameters} parameters, {macs} multiply-adds, {depth} layers with weights on the "
    "longest path. The receptive field is in pixels a side.",
    drawing="{model}, layer by layer",
    accuracies="Published accuracy of the networks against their multiply-adds",
    open_drawing="Open the drawing alone",
    study_header=("hypothesis", "found", "verdict"),
    verdicts={"shown": "shown", "not shown": "not shown", "contradicted": "contradicted"},
    setting="{preset} preset: {images} training images of {data}, {seeds} seeds for each network.",
    counted="Counted, without a training.",
    run_it="Not measured here yet. Run it:",
)
CHINESE = Words(
    header=("级", "输出", "核", "步幅", "参数量", "乘加次数", "感受野"),
    head="head（分类头）",
    whole_image="全图",
    training_only="仅训练时",
    totals="{model}，输入 {size}：参数 {parameters}，乘加 {macs} 次，最长路径上带权重的层有 {depth} 个。"
    "感受野以像素边长计。",
    drawing="{model} 的逐层结构",
    accuracies="各网络公布的准确率与乘加次数",
    open_drawing="单独打开这张图",
    study_header=("假设", "测得", "结论"),
    verdicts={"shown": "成立", "not shown": "未能证实", "contradicted": "与数据相反"},
    setting="{preset} 档：{data} 的 {images} 张训练图片，每个网络 {seeds} 个种子。",
    counted="直接计数，无需训练。",
    run_it="此处还没有测得的结果，请自行运行：",
)


_QUERIES = {"light": "not all", "dark": "all"}
"""What takes the place of "prefers-color-scheme: dark" in a drawing of one theme."""

_CENTRE = 'onload="if (offsetWidth) parentElement.scrollLeft = (offsetWidth - parentElement.clientWidth) / 2"'
"""On a narrow screen, a wide drawing begins at its axis, where the signal runs."""


class CourseDirective(Directive):
    """A directive whose arguments are names, and which speaks the language of its page."""

    required_arguments = 1
    final_argument_whitespace = True

    @property
    def env(self) -> Any:
        return self.state.document.settings.env

    @property
    def words(self) -> Words:
        return CHINESE if self.env.docname.startswith("zh/") else ENGLISH


class LayerTable(CourseDirective):
    """The stages of a model: a table, and a line with the sums."""

    def run(self) -> list[nodes.Node]:
        summary = cn.inspect(self.arguments[0])
        rows = [self.cells(row) for row in summary.stages]
        sums = self.words.totals.format(
            model=summary.model,
            size=times(summary.input),
            parameters=f"{summary.parameters:,}",
            macs=human(summary.macs),
            depth=summary.depth,
        )
        return [table(self.words.header, rows, kind="layers"), nodes.paragraph(text=sums, classes=["sums"])]

    def cells(self, row: Row) -> tuple[str, ...]:
        """A stage's numbers. An auxiliary head has only parameters: it does not run in inference."""
        words = self.words
        return (
            words.head if row.name == "head" else row.name,
            times(row.output) or words.training_only,
            ", ".join(map(times, row.kernels)),
            sides(row.stride),
            f"{row.parameters:,}" if row.parameters else "",
            human(row.macs) if row.macs else "",
            sides(row.receptive_field) or (words.whole_image if row.output else ""),
        )


class Drawing(CourseDirective):
    """The drawing of a model, or of one unit of it, light and dark, in a box that scrolls."""

    def run(self) -> list[nodes.Node]:
        model, *unit = self.arguments[0].split()
        if unit:
            stage, *place = unit[0].split(",")
            svg = draw_unit(inspect_unit(model, stage, *map(int, place)))
        else:
            svg = cn.inspect(model).to_svg()
        themes = {name: svg.replace("(prefers-color-scheme: dark)", query) for name, query in _QUERIES.items()}
        title = self.words.drawing.format(model=model)
        return [self.figure("-".join([model, *unit]), title, {**themes, "": svg})]

    def figure(self, name: str, title: str, svgs: dict[str, str]) -> nodes.Node:
        """Write the drawings `light`, `dark` and `` (which follows the theme itself), and show the first two."""
        folder = Path(self.env.app.outdir) / "drawings"
        folder.mkdir(parents=True, exist_ok=True)
        url = f"{'../' * self.env.docname.count('/')}drawings"
        files = {theme: f"{name}-{theme}.svg" if theme else f"{name}.svg" for theme in svgs}
        for theme, file in files.items():
            (folder / file).write_text(svgs[theme], "utf-8")
        html = f'<div class="drawing" tabindex="0" role="region" aria-label="{escape(title)}">'
        for theme in _QUERIES:
            html += f'<img class="only-{theme}" src="{url}/{files[theme]}" alt="{escape(title)}" {_CENTRE}>'
        html += "</div>"
        if "" in files:
            html += f'<p class="sums"><a href="{url}/{files[""]}">{self.words.open_drawing}</a></p>'
        return nodes.raw("", html, format="html")


class Accuracies(Drawing):
    """The figure of `compare --figure`: published accuracy against multiply-adds."""

    def run(self) -> list[nodes.Node]:
        networks = cn.compare(*self.arguments[0].split(), latency=False).networks
        svgs = {name: svg_of(accuracy_figure(networks, theme)) for name, theme in (("light", LIGHT), ("dark", DARK))}
        return [self.figure("accuracies", self.words.accuracies, svgs)]


def svg_of(figure: Figure) -> str:
    """A matplotlib figure as an SVG document."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


class Study(CourseDirective):
    """What the studies of some claims found, if their outcomes are committed below `RESULTS`; else how to run them."""

    def run(self) -> list[nodes.Node]:
        found = outcomes()
        missing = [name for name in self.arguments[0].split() if name not in found]
        shown: list[nodes.Node] = []
        for name in self.arguments[0].split():
            for file in found.get(name, ()):
                shown += self.outcome(file)
        if missing:
            shown.append(nodes.paragraph(text=self.words.run_it))
            commands = "\n".join(f"$ classicnets study {name}" for name in missing)
            shown.append(nodes.literal_block(commands, commands, language="console"))
        return shown

    def outcome(self, file: Path) -> list[nodes.Node]:
        """A study: its verdict and claim, a row for each hypothesis, its figure and its setting."""
        words, study = self.words, json.loads(file.read_text("utf-8"))
        self.env.note_dependency(str(file))
        lead = nodes.paragraph("", "", nodes.strong(text=f"{study['name']}: {words.verdicts[study['verdict']]}."))
        lead += nodes.Text(f" {study['claim']} ({study['source']})")
        rows = [(one["hypothesis"], one["found"], words.verdicts[one["verdict"]]) for one in study["findings"]]
        setting = words.counted
        if study["seeds"]:
            images = f"{study['images'][0]:,}"
            setting = words.setting.format(**{**study, "images": images})
        made: list[nodes.Node] = [lead, table(words.study_header, rows, kind="study")]
        figure = file.with_suffix(".png")
        if figure.exists():
            url = Path(os.path.relpath(figure, Path(self.env.doc2path(self.env.docname)).parent)).as_posix()
            made.append(nodes.image(uri=url, alt=study["claim"], classes=["study"]))
        return [*made, nodes.paragraph(text=setting, classes=["sums"])]


def outcomes() -> dict[str, list[Path]]:
    """The committed outcomes of studies, `studies/*.json` below `RESULTS`, by the name of their claim."""
    found: dict[str, list[Path]] = {}
    for file in sorted(RESULTS.glob("studies/*.json")):
        found.setdefault(json.loads(file.read_text("utf-8"))["name"], []).append(file)
    return found


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str) -> nodes.table:
    """A table; its `kind` is its class in the style."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in header), cols=len(header))
    group += nodes.thead("", table_row(header))
    group += nodes.tbody("", *map(table_row, rows))
    return nodes.table("", group, classes=[kind])


def table_row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


def times(shape: Iterable[int]) -> str:
    """64 × 55 × 55 for (64, 55, 55)."""
    return " × ".join(map(str, shape))


_CHINESE = "[\u3000-\u9fff\uff00-\uffef]"
_BREAK = re.compile(f"(?<={_CHINESE})\n(?={_CHINESE})")
"""A line break within a Chinese sentence, which browsers would show as a space."""


def read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Prepare the text of a page.

    Links to benchmarks/results, which is outside of docs, lead to the page `results`, which holds its files. A number
    stays on the line of its %. A line that ends within a Chinese sentence adds no space.
    """
    text = re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", source[0])
    text = _BREAK.sub("", text)
    if docname == "results":
        for file in sorted(RESULTS.glob("*.md")):
            result = re.sub(r"\]\((?!\w+:)", "](../benchmarks/results/", file.read_text("utf-8"))
            text += f"\n({file.stem})=\n" + re.sub("(?m)^#", "##", result)
    # Sphinx warns of a folder in a table of contents that has no page yet, and cannot be told not to.
    text = re.sub(r"(?m)^\w+/\*\n", lambda line: line[0] if any(DOCS.glob(line[0].strip())) else "", text)
    up = "../" * docname.count("/")
    source[0] = re.sub(r"\]\((?:\.\./)+benchmarks/results/(\w+)\.md\)", rf"]({up}results.md#\1)", text)


_ARGUMENT = re.compile(r"(?P<names>\w+(?:, \w+)*) {2,}(?P<text>\S.*)")
_STAR = re.compile(r"(`[^`]*`)|\*")


def mark_up(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make reStructuredText of a docstring: `names   what they mean`, in two columns, becomes a list; a * is a *."""
    marked: list[str] = []
    in_list = False
    for line in lines:
        text = line if line.lstrip().startswith(">>>") else _STAR.sub(lambda match: match[1] or r"\*", line)
        argument = _ARGUMENT.fullmatch(text)
        in_list = bool(argument) or (in_list and text.startswith(" "))
        if argument:
            names = ", ".join(f"**{name}**" for name in argument["names"].split(", "))
            marked.append(f"* {names}: {argument['text']}")
        else:
            marked.append(f"  {text.strip()}" if in_list else text)
    lines[:] = marked


def say_language(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Tell browsers and screen readers that a page is Chinese."""
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def keep_in_build(app: Sphinx) -> None:
    """Put the pictures of notebooks into the folder of the build; myst-nb writes them beside it."""
    folder = Path(app.outdir) / "notebook-pictures"
    app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=str(folder))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything with Sphinx."""
    app.add_directive("layer-table", LayerTable)
    app.add_directive("drawing", Drawing)
    app.add_directive("accuracies", Accuracies)
    app.add_directive("study", Study)
    app.connect("builder-inited", keep_in_build, priority=900)  # after myst-nb
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", mark_up, priority=400)  # before napoleon
    app.connect("html-page-context", say_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
