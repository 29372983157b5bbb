"""The notebooks, executed from their first cell to their last, with their outputs as the pages show them.

    python docs/run_notebooks.py              run them all, and write their outputs into the files (some minutes)
    python docs/run_notebooks.py test-a-claim only this one

A notebook runs in a folder of its own, beside which the examples lie as in the repository. A test runs them too, and
compares the outputs with those in the files.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image
from try_it import masked

DOCS = Path(__file__).parent
_COLOURS = 128
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


def notebooks() -> list[Path]:
    """The notebooks of the docs."""
    return sorted((DOCS / "notebooks").glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """Read a notebook and check that it is one."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook with the outputs of a fresh run. Raises CellExecutionError if a cell fails."""
    programs = Path(sys.executable).parent  # where `classicnets` is
    environment = {
        **os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        "COLUMNS": "120", "TTY_COMPATIBLE": "0",  # no bars
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "docs", "notebooks")
        folder.mkdir(parents=True)
        Path(root, "examples").symlink_to(DOCS.parent / "examples")
        client = NotebookClient(
            notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute(env=environment)
    return tidy(notebook)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Remove what says nothing to a reader: times of cells, how an output was cut into pieces, colours beyond 128."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = _smaller(output.data["image/png"])
    return notebook


def _joined(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Join the pieces of a stream, and remove spaces at the ends of its lines."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = "".join(f"{line.rstrip()}\n" for line in output.text.splitlines())
    return joined


def _smaller(png: str) -> str:
    """A picture in base64 with a palette, if that makes it smaller."""
    out = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(_COLOURS).save(out, "png", optimize=True)
    return min(png, base64.b64encode(out.getvalue()).decode(), key=len)


def outline(notebook: NotebookNode) -> list[str]:
    """What a notebook shows, a line for each cell and output: texts without what varies, and the kinds of the rest."""
    lines = []
    for cell in notebook.cells:
        lines.append(f"{cell.cell_type}: {cell.source}")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            kinds = ", ".join(sorted(kind for kind in data if kind != "text/plain"))
            lines.append(kinds or masked(data["text/plain"]))
    return lines


if __name__ == "__main__":
    for path in notebooks():
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            before = read(path)
            after = execute(read(path))
            nbformat.write(after, path)
            changed = sum(one != other for one, other in zip(outline(before), outline(after), strict=False))
            print(f"{path.relative_to(DOCS)}: {changed} outputs changed, {path.stat().st_size / 1024:,.0f} KiB")
