"""The notebooks: executed, small, free of this machine, and a fresh run shows what the files show."""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

import classicnets as cn

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

import run_notebooks  # noqa: E402

NOTEBOOKS = {path.stem: run_notebooks.read(path) for path in run_notebooks.notebooks()}
MEGABYTE = 1_000_000
MACHINE = [str(ROOT), str(Path.home()), tempfile.gettempdir(), sys.prefix, "site-packages"]
each = pytest.mark.parametrize("name", NOTEBOOKS)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def statements(notebook: NotebookNode) -> ast.Module:
    """The Python of a notebook, without the commands."""
    return ast.parse("\n".join(re.sub(r"(?m)^!.*$", "", cell.source) for cell in code(notebook)))


def private_names(module: ast.Module) -> list[str]:
    """What a notebook takes of the package that is not public: attributes of `cn`, and modules below it."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            of_package = isinstance(node.value, ast.Name) and node.value.id == "cn"
            if node.attr.startswith("_") or (of_package and node.attr not in cn.__all__):
                found.append(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("classicnets"):
            found.append(str(node.module))
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("classicnets.")]
    return found


def test_there_are_three() -> None:
    assert list(NOTEBOOKS) == ["backbone-for-detection", "own-photos", "test-a-claim"]


@each
def test_a_notebook_was_executed_in_order_without_errors(name: str) -> None:
    cells = code(NOTEBOOKS[name])
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)


@each
def test_a_notebook_says_nothing_of_the_machine_that_ran_it(name: str) -> None:
    text = json.dumps([(cell.source, cell.get("outputs", [])) for cell in NOTEBOOKS[name].cells])
    text = re.sub(r'"image/png": "[^"]*"', "", text)
    assert [place for place in MACHINE if place in text] == []
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|Users|usr|var|opt)/\S*", text) == []
    assert "\\u001b" not in text  # colours of a terminal


@each
def test_a_notebook_is_python_with_public_names_only(name: str) -> None:
    assert private_names(statements(NOTEBOOKS[name])) == []


def test_private_names_are_found() -> None:
    source = (
        "import classicnets.training\nfrom classicnets.data import x\ncn.secret()\nclassifier._model\ncn.load('run')"
    )
    assert set(private_names(ast.parse(source))) == {"classicnets.training", "classicnets.data", "secret", "_model"}


@each
def test_a_notebook_and_its_pictures_are_small(name: str) -> None:
    assert (ROOT / "docs" / "notebooks" / f"{name}.ipynb").stat().st_size < 1.5 * MEGABYTE


@each
def test_commands_of_a_notebook_are_ours(name: str) -> None:
    commands = [line for cell in code(NOTEBOOKS[name]) for line in cell.source.splitlines() if line.startswith("!")]
    assert [command for command in commands if not command.startswith("!classicnets ")] == []


def test_another_output_is_noticed() -> None:
    def notebook(text: str, kind: str = "image/png") -> NotebookNode:
        outputs = [
            new_output("stream", text=text),
            new_output("display_data", data={kind: "", "text/plain": "x at 0x1"}),
        ]
        return new_notebook(cells=[new_code_cell("run()", outputs=outputs)])

    shown = run_notebooks.outline(notebook("top-1 97.2%, verdict: shown\n"))
    assert shown == run_notebooks.outline(notebook("top-1 96.6%, verdict: shown\n"))
    assert shown != run_notebooks.outline(notebook("top-1 97.2%, verdict: not shown\n"))
    assert shown != run_notebooks.outline(notebook("top-1 97.2%, verdict: shown\n", "image/jpeg"))


def test_outputs_become_tidy() -> None:
    picture = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture, "png")
    data = {"image/png": base64.b64encode(picture.getvalue()).decode()}
    texts = (new_output("stream", text=text) for text in ("one  \r\nt", "wo\n"))
    outputs = [*texts, new_output("display_data", data)]
    cell = new_code_cell("1", outputs=outputs, metadata={"execution": {"iopub.execute_input": "2026"}})
    tidy = run_notebooks.tidy(new_notebook(cells=[cell]))
    text, image = tidy.cells[0].outputs
    assert text.text == "one\ntwo\n"
    assert len(image.data["image/png"]) < len(data["image/png"])
    assert Image.open(io.BytesIO(base64.b64decode(image.data["image/png"]))).size == (40, 40)
    assert tidy.cells[0].metadata == {}
    nbformat.validate(tidy)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each
def test_a_fresh_run_shows_what_the_file_shows(name: str) -> None:
    shown = run_notebooks.outline(NOTEBOOKS[name])
    fresh = run_notebooks.execute(run_notebooks.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb"))
    assert run_notebooks.outline(fresh) == shown
