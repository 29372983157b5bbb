"""Imports point down: the contract is in pyproject.toml."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp

import classicnets

ROOT = Path(__file__).parents[1]


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    """import-linter in a process of its own, over what stands on the disk now."""
    program = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    )
    return subprocess.run([sys.executable, "-c", program, str(config)], capture_output=True, text=True, check=False)


def test_imports_point_down() -> None:
    done = lint_imports(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_the_check_sees_an_import_that_points_up(tmp_path: Path) -> None:
    upside_down = tmp_path / "importlinter.toml"
    upside_down.write_text(
        """
        [tool.importlinter]
        root_package = "classicnets"
        [[tool.importlinter.contracts]]
        name = "Upside down"
        type = "layers"
        layers = ["classicnets.errors", "classicnets.images"]
        """,
        encoding="utf-8",
    )
    assert lint_imports(upside_down).returncode == 1


def test_every_module_has_a_layer() -> None:
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    names = [name.strip() for line in contract["layers"] for name in line.replace("|", ":").split(":")]
    needed = {name for name in names if not name.startswith("(")}
    planned = {name.strip("()") for name in names if name.startswith("(")}
    modules = {f"classicnets.{module.name}" for module in pkgutil.iter_modules(classicnets.__path__)}
    assert needed <= modules - {"classicnets.__main__"} <= needed | planned


STAND_WITHOUT_TRAINING = ("explanation", "deployment", "serving")
"""A model that was trained elsewhere is explained, exported and served like any other: these never import training."""


def trains(graph: grimp.ImportGraph, package: str) -> bool:
    """Whether anything in the package imports `classicnets.training`, directly or through others."""
    return graph.chain_exists(f"classicnets.{package}", "classicnets.training", as_packages=True)


def test_what_uses_a_trained_model_does_not_import_training() -> None:
    graph = grimp.build_graph("classicnets", exclude_type_checking_imports=True, cache_dir=None)
    there = [package for package in STAND_WITHOUT_TRAINING if f"classicnets.{package}" in graph.modules]
    for package in ("scorer", "classifier", "evaluation", "reports", *there):
        assert not trains(graph, package), package
    assert trains(graph, "search")
