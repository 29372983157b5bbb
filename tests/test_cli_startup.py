"""The command line answers at once: nothing heavy is loaded for help, or for the list of models."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from classicnets.cli.main import app

HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "PIL",
    "sklearn",
    "scipy",
    "matplotlib",
    "safetensors",
    "simplejpeg",
)

_RUN = """
import sys
from classicnets.cli.main import app
for arguments in {commands}:
    app(arguments, standalone_mode=False)
loaded = [name for name in {heavy} if name in sys.modules]
assert not loaded, loaded
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_and_models_load_nothing_heavy() -> None:
    verbs = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    commands = [["--help"], *([verb, "--help"] for verb in verbs), ["models"], ["models", "vgg", "--json"]]
    done = python(_RUN.format(commands=commands, heavy=HEAVY))
    assert done.returncode == 0, done.stderr
    assert "resnet152_tutorial" in done.stdout


def test_commands_that_need_torch_do_not_load_torchvision() -> None:
    """It takes as long as torch itself, and only published weights, data sets and some policies need it."""
    packages = "training, classifier, evaluation, explanation, reports, analysis"
    assert (
        python(f"import sys; from classicnets import {packages}; assert 'torchvision' not in sys.modules").returncode
        == 0
    )


_SMALLEST = """
import sys
import typer

app = typer.Typer(rich_markup_mode="rich")

@app.command()
def models(): pass

@app.command()
def other(): pass

app(sys.argv[1:])
"""
"""A program of two commands that do nothing: what typer and rich cost by themselves."""


@pytest.mark.parametrize("arguments", ["--help", "models"])
def test_answers_load_little_more_than_the_smallest_program(arguments: str) -> None:
    """Start-up time is the time to import modules; their number is the same on a slow or busy machine."""
    ours = imported("-m", "classicnets", arguments)
    others = {name for name in ours - imported("-c", _SMALLEST, arguments) if not name.startswith("classicnets")}
    assert len(others) < 30, sorted(others)
    own = [name for name in ours if name.startswith("classicnets") and not name.startswith("classicnets.cli.")]
    assert len(own) < 15, sorted(own)  # beside the commands, a thin file each


def imported(*arguments: str) -> set[str]:
    """The modules that a Python run imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("arguments", ["--help", "models"])
def test_answers_take_little_longer_than_the_smallest_program(arguments: str) -> None:
    """Other programs on a busy machine change processor time little, and both programs alike."""

    def is_fast() -> bool:
        python = seconds("-c", "pass")
        cost = seconds("-m", "classicnets", arguments) - python
        return cost < 0.3 or cost < 2.5 * (seconds("-c", _SMALLEST, arguments) - python)

    assert any(is_fast() for _ in range(5))


def seconds(*arguments: str) -> float:
    """Processor time of a Python run."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "PASSIVE None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "1000"}, "None 1000"),
    ],
)
def test_threads_wait_passively_except_if_the_user_chose(given: dict[str, str], found: str) -> None:
    code = (
        "import atexit, os, sys\n"
        "from classicnets.cli.main import main\n"
        "sys.argv = ['classicnets', '--version']\n"
        "names = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')\n"
        "atexit.register(lambda: print(*(os.environ.get(name) for name in names)))\n"
        "main()\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean | given)
    assert done.stdout.splitlines()[-1] == found
