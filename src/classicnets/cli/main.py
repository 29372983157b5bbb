"""The `classicnets` command: its list of commands, and the one place where errors become exit codes.

A command imports what it needs when it runs, so that `--help` and `models` answer without PyTorch.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import NoReturn

import typer

from classicnets import __version__
from classicnets.cli import (
    BEGUN,
    audit,
    bench,
    check,
    compare,
    convert,
    doctor,
    evaluate,
    explain,
    export,
    find_lr,
    inspect,
    look,
    models,
    predict,
    recipes,
    report,
    runs,
    serve,
    study,
    train,
    tune,
)
from classicnets.cli.output import error, print_any_text
from classicnets.errors import ClassicNetsError, MissingExtra

app = typer.Typer(
    name="classicnets",
    help="AlexNet, VGG, NiN, GoogLeNet, ResNet and DenseNet: from a folder of images to a usable classifier.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    models,
    inspect,
    compare,
    check,
    audit,
    recipes,
    find_lr,
    train,
    tune,
    runs,
    evaluate,
    predict,
    explain,
    look,
    report,
    study,
    serve,
    export,
    convert,
    bench,
    doctor,
):
    command.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"classicnets {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line. Never returns. typer handles usage errors, Ctrl-C (exit code 130) and broken pipes."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # an exception, so that `finally` blocks run
    print_any_text()
    _wait_passively()
    try:
        app(obj=BEGUN)
    except ClassicNetsError as failure:
        _fail(str(failure), failure.exit_code)
    except ModuleNotFoundError as failure:
        _fail(_not_installed(failure), MissingExtra.exit_code)
    except (OSError, MemoryError, RuntimeError) as failure:
        _fail(_advice(failure), 6)


def _wait_passively() -> None:
    """Have OpenMP's threads sleep while they wait for one another, except if the user chose how they wait.

    By default they spin for milliseconds, on cores that other threads may need. OpenMP reads this when PyTorch loads.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _not_installed(failure: ModuleNotFoundError) -> str:
    """What to say on a machine that was set up for bundles only. Raises any other error again."""
    package = (failure.name or "").partition(".")[0]
    if package not in ("torch", "torchvision", "safetensors", "sklearn", "matplotlib", "jinja2", "tomli_w"):
        raise failure
    return (
        f"This command needs {package}, which is not installed: only bundles work here. "
        f"Install everything with: pip install classicnets"
    )


def _advice(failure: OSError | MemoryError | RuntimeError) -> str:
    """What to say if the machine lacks something. Raises any other error again, to show its traceback."""
    from classicnets.system.memory import is_out_of_memory

    if is_out_of_memory(failure):
        return "There is not enough memory. Try smaller batches (--set batch_size=32) or smaller images."
    if isinstance(failure, OSError) and failure.errno in _ADVICE:
        place = f" ({failure.filename})" if failure.filename else ""
        return f"{failure.strerror}{place}. {_ADVICE[failure.errno]}"
    raise failure


_ROOM = "Free some space, or choose another folder."
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: "Choose another folder.",
    errno.EIO: "The disk does not answer; nothing more was written.",
    errno.EACCES: "Change its permissions, or choose another one.",
}


def _fail(message: str, code: int) -> NoReturn:
    error(message)
    sys.exit(code)
