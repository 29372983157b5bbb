"""The commands that the pages show, with what they print.

    python docs/try_it.py             run them all, and write their output into the pages (some minutes)
    python docs/try_it.py --fast      only those that train nothing

A block is fenced as `console` (lines after "$ " are commands: `classicnets ...`, `python examples/...`, `curl ...`) or
`pycon` (a session in Python, one for each page); with the word `slow` behind it, it trains something. A command that
ends with " &" starts a server, which ends with the page. Pages say port 8000, and a run takes a free one. A line "..."
in an output stands for any lines, and is kept. A test runs the pages and compares what they show. A page below zh/
shows the blocks of the English page, with the same output.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from PIL import Image

from classicnets.cli.main import main

DOCS = Path(__file__).parent
_FENCE = re.compile(r"^```(?P<kind>console|pycon)(?P<slow> slow)?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_VOLATILE = (
    (r"\d[\d,]* images/s", "# images/s"),
    (r"\b\d+(:\d\d)+\b", "#:##"),
    (r"\b\d+e-\d+\b", "#e-#"),
    (r"-?\d+\.\d+", "#.#"),
    (r"[ -]{2,}", "  "),
)
"""What differs from machine to machine in the output of a training: times, results, and so the widths of columns."""

PICTURES = {
    "quickstart.md": {"maps/new.png": "images/explained.png"},
    "programs.md": {"segment.png": "images/segment.png", "detect.png": "images/detect.png"},
}
"""What the steps of a page draw and the pages show: from the folder that the steps run in to docs."""


class Step(NamedTuple):
    """A command or a statement of a page, and what the page says that it prints."""

    kind: str
    source: str
    shown: str
    slow: bool

    @property
    def text(self) -> str:
        """The step as the page has it, without its output."""
        if self.kind == "console":
            return f"$ {self.source}\n"
        first, *rest = self.source.splitlines()
        return "".join([f">>> {first}\n", *(f"... {line}\n" for line in rest)])


def blocks(page: str) -> Iterator[tuple[re.Match[str], list[Step]]]:
    """Yield each block of a page's text, and its steps."""
    for match in _FENCE.finditer(page):
        read = _commands if match["kind"] == "console" else _statements
        yield match, [Step(match["kind"], *step, bool(match["slow"])) for step in read(match["body"])]


def steps(page: str) -> list[Step]:
    """All steps of a page, in order."""
    return [step for _, found in blocks(page) for step in found]


def _commands(body: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def _statements(body: str) -> Iterator[tuple[str, str]]:
    for example in doctest.DocTestParser().get_examples(body):
        yield example.source, example.want


class Server(NamedTuple):
    """A server that a page started, and its port."""

    process: subprocess.Popen[str]
    port: int


_SERVERS: list[Server] = []


def run(step: Step, names: dict[str, Any]) -> str:
    """Run a step in the current folder, and return what it prints. `names` are the variables of the page's session."""
    port = str(_SERVERS[-1].port) if _SERVERS else "8000"
    asked = step._replace(source=step.source.replace(":8000", f":{port}"))
    program = asked.source.partition(" ")[0]
    if step.kind == "console" and step.source.endswith(" &"):
        printed = _start(step.source)
        port = str(_SERVERS[-1].port)
    elif step.kind == "console" and program == "python":
        file, *arguments = shlex.split(asked.source)[1:]
        printed = _run_program(sys.executable, str(DOCS.parent / file), *arguments)
    elif step.kind == "console" and program == "curl":
        printed = _run_program(*shlex.split(asked.source))
    else:
        printed = _run_here(asked, names)
    return "".join(f"{line.rstrip()}\n" for line in printed.replace(f":{port}", ":8000").splitlines())


def _start(source: str) -> str:
    """Start `classicnets serve ... &` on a free port, and return the line that it says when it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program, *arguments = shlex.split(source.removesuffix(" &"))
    assert program == "classicnets", source
    command = [sys.executable, "-m", program, *arguments, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _SERVERS.append(Server(process, port))
    assert process.stderr is not None
    return process.stderr.readline()


@contextlib.contextmanager
def servers_ended() -> Iterator[None]:
    """End the servers that the block started."""
    try:
        yield
    finally:
        while _SERVERS:
            process = _SERVERS.pop().process
            process.kill()
            process.communicate()


def _run_program(*command: str) -> str:
    """Run a program in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def _run_here(step: Step, names: dict[str, Any]) -> str:
    import torch

    threads, printed = torch.get_num_threads(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        if step.kind == "console":
            program, *arguments = shlex.split(step.source)
            assert program == "classicnets", step.source
            with (
                patch.object(sys, "argv", [program, *arguments]),
                patch.dict(os.environ, {"COLUMNS": "120", "OMP_NUM_THREADS": "1"}),
                contextlib.suppress(SystemExit),
            ):
                main()
        else:
            exec(compile(step.source, "<page>", "single"), names)
    torch.set_num_threads(threads)
    return printed.getvalue()


def same(step: Step, printed: str) -> bool:
    """Whether a step printed what its page shows, apart from what varies if it trained something."""
    shown = step.shown
    if step.slow:
        shown, printed = masked(shown), masked(printed)
    parts = [re.escape(part) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)]
    return re.fullmatch(r"(?:.*\n)*?".join(parts), printed) is not None


def masked(output: str) -> str:
    """The output of a training without what differs from machine to machine."""
    for pattern, mask in _VOLATILE:
        output = re.sub(pattern, mask, output)
    return output


def shortened(step: Step, printed: str) -> str:
    """What the page shows of an output: all of it, or as many lines before and after "..." as it did."""
    head, *rest = re.split(r"^\.\.\.\n", step.shown, flags=re.MULTILINE)
    if not rest or not same(step, printed):
        return printed
    lines, first, last = printed.splitlines(keepends=True), head.count("\n"), rest[-1].count("\n")
    return "".join([*lines[:first], "...\n", *lines[len(lines) - last :]])


def record(page: Path, *, fast: bool) -> int:
    """Run a page, write what its steps print into it, and return how many outputs changed."""
    text, names, changed = page.read_text("utf-8"), {}, 0
    written, end = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), servers_ended():
        for match, found in blocks(text):
            body = ""
            for step in found:
                if fast and step.slow:
                    body += step.text + step.shown
                    continue
                printed = run(step, names)
                changed += not same(step, printed)
                body += step.text + shortened(step, printed)
            written += [text[end : match.start("body")], body]
            end = match.end("body")
        for drawn, kept in PICTURES.get(page.name, {}).items():
            if not fast:
                keep_picture(Path(drawn), DOCS / kept)
    page.write_text("".join([*written, text[end:]]), "utf-8")
    return changed


def keep_picture(drawn: Path, kept: Path) -> None:
    """Copy a picture with at most 256 colours: noise would make it three times as large."""
    Image.open(drawn).convert("RGB").quantize(256).save(kept, optimize=True)


def copy_outputs(english: Path, chinese: Path) -> None:
    """Write the outputs of the English page into the Chinese one, which has the same steps."""
    bodies = iter([match["body"] for match, _ in blocks(english.read_text("utf-8"))])
    text = chinese.read_text("utf-8")
    chinese.write_text(_FENCE.sub(lambda m: m[0].replace(m["body"], next(bodies)), text), "utf-8")


def pages() -> list[Path]:
    """The English pages with something to try."""
    found = [page for page in sorted(DOCS.rglob("*.md")) if "zh" not in page.parts and "_build" not in page.parts]
    return [page for page in found if steps(page.read_text("utf-8"))]


if __name__ == "__main__":
    for path in pages():
        print(f"{path.relative_to(DOCS)}: {record(path, fast='--fast' in sys.argv)} outputs changed")
        chinese = DOCS / "zh" / path.relative_to(DOCS)
        if chinese.exists():
            copy_outputs(path, chinese)
