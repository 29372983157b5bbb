"""The public names, and what a wheel holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import classicnets as cn

ROOT = Path(__file__).parents[1]
_PACKAGED = {".py", ".toml", ".json", ".typed", ".j2", ".html", ".css", ".js", ".svg"}

PUBLIC = [
    "Bundle",
    "ClassicNetsError",
    "Classifier",
    "Preprocess",
    "__version__",
    "audit_labels",
    "audit_shortcuts",
    "compare",
    "compare_runs",
    "create_model",
    "evaluate",
    "explain",
    "export",
    "inspect",
    "learning_curve",
    "list_models",
    "load",
    "load_data",
    "look",
    "next_to_label",
    "read_image",
    "resume",
    "train",
]


def test_public_names_are_these() -> None:
    assert sorted(cn.__all__) == PUBLIC
    assert dir(cn) == PUBLIC


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(cn, name)
    assert value.__doc__
    assert value.__doc__ != f"{name}()"
    methods = vars(value) if isinstance(value, type) else {}
    undocumented = [m for m, f in methods.items() if not m.startswith("_") and callable(f) and not f.__doc__]
    assert undocumented == []


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(AttributeError, match="create_model"):
        cn.create  # noqa: B018  (the access is what is tested)


def test_importing_the_package_does_not_load_pytorch() -> None:
    code = "import sys, classicnets as cn; cn.list_models('*'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wheel_holds_the_code_the_recipes_and_the_facts(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    package = ROOT / "src" / "classicnets"
    wanted = [p for p in package.rglob("*") if p.suffix in _PACKAGED]
    assert {p.relative_to(package.parent).as_posix() for p in wanted} <= names
    assert "classicnets/models/facts.json" in names
    assert any(name.startswith("classicnets/recipes/") and name.endswith(".toml") for name in names)
    assert "classicnets = classicnets.cli.main:main" in entry_points
    assert {name.split("/")[0].split("-")[0] for name in names} == {"classicnets"}
