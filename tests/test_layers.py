"""Imports point down: the contract is in pyproject.toml."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

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
