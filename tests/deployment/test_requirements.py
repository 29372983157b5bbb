"""A machine without PyTorch: what is imported there is what the list names, and a fresh environment answers with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from bundles import CLASSES, colour, write_bundle
from classicnets.deployment.requirements import NAMES, requirements

ROOT = Path(__file__).parents[2]
MEGABYTE = 1e6

_ASK = """
import sys
import classicnets as cn
bundle = cn.load(sys.argv[1])
assert bundle.predict(sys.argv[2]).label == "blue"
assert [answer.label for answer in bundle.predict_many([sys.argv[2]] * 3)] == ["blue"] * 3
"""
_RECORD = """
import builtins, importlib.metadata, json, sys
real, names = builtins.__import__, set()
def record(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and str((globals or {}).get("__name__")).partition(".")[0] == "classicnets":
        names.add(name.partition(".")[0])
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = record
"""
_PRINT = """
from classicnets.cli.main import app
bundle, photo, folder = sys.argv[1:]
predict, doctor = ["predict", bundle, photo], ["doctor", bundle, "--no-measure"]
for command in (predict, [*predict, "--format", "json"], doctor, ["evaluate", bundle, folder]):
    app(command, standalone_mode=False)
packages = importlib.metadata.packages_distributions()
names -= {"classicnets", *sys.stdlib_module_names}
print(json.dumps(sorted({package.lower() for name in names for package in packages[name]})), file=sys.stderr)
"""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo in the folder of its class, beside another class."""
    for k in (0, 2):
        place = tmp_path / "images" / CLASSES[k]
        place.mkdir(parents=True)
        Image.fromarray(colour(k).transpose(1, 2, 0)).resize((40, 60)).save(place / "one.jpg")
    return tmp_path / "images" / "blue" / "one.jpg"


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of the processes that `work` starts: those of other programs on a busy machine do not count."""
    before = os.times()
    work()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_list_is_what_is_imported(tmp_path: Path, photo: Path, engine: str) -> None:
    bundle = write_bundle(tmp_path / "bundle", engine)
    command = [sys.executable, "-c", _RECORD + _ASK + _PRINT, str(bundle), str(photo), str(photo.parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == sorted((*NAMES, engine))


def test_the_list_has_the_bounds_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    core = {Requirement(line).name: line for line in project["dependencies"]}
    listed = requirements("onnxruntime").splitlines()
    assert [line for line in listed if line in core.values()] == [core[name] for name in NAMES]
    assert Requirement(listed[-1]).name == "onnxruntime"
    assert not {"torch", "torchvision"} & {Requirement(line).name for line in listed}


@pytest.mark.slow  # downloads about 60 MB
@pytest.mark.timeout(900)
def test_a_fresh_environment_without_torch_answers(tmp_path: Path, photo: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "requirements.txt").write_text(requirements("onnxruntime"), "utf-8")
    venv.create(tmp_path / "env", with_pip=True)
    places = {"PATH": f"{tmp_path / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")} | places

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, env=clean, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "install", "--quiet", "--no-deps", ROOT)
    run("pip", "install", "--quiet", "-r", "requirements.txt")
    assert "False" in run("python", "-c", "import importlib.util as u; print(bool(u.find_spec('torch')))")
    assert min(seconds(lambda: run("python", "-c", _ASK, bundle, photo)) for _ in range(5)) < 1
    assert "blue" in run("classicnets", "predict", bundle, photo)
    assert "top-1 accuracy" in run("classicnets", "evaluate", bundle, photo.parents[1])
    assert "holds on this machine" in run("classicnets", "doctor", bundle)
    assert json.loads(run("classicnets", "doctor", "--json"))["torch"] == "not installed"
    packages = run("python", "-c", "import numpy; print(numpy.__path__[0])").strip()
    size = sum(file.stat().st_size for file in Path(packages).parent.rglob("*") if file.is_file())
    print(f"{size / MEGABYTE:.0f} MB")
    assert size < 350 * MEGABYTE
