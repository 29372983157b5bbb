"""The `classicnets` command: the list of its verbs, and the one place where errors become exit codes.

Commands import what they need when they run, so that `--help` and `models` answer without PyTorch.
"""

from __future__ import annotations

import errno
import signal
import sys
from typing import NoReturn

import typer

from classicnets import __version__
from classicnets.cli import (
    check,
    convert,
    doctor,
    evaluate,
    find_lr,
    inspect,
    models,
    predict,
    recipes,
    runs,
    train,
    tune,
)
from classicnets.cli.output import error_console
from classicnets.errors import ClassicNetsError

app = typer.Typer(
    name="classicnets",
    help="AlexNet, VGG, NiN, GoogLeNet, ResNet and DenseNet: from a folder of images to a usable classifier.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (models, inspect, check, recipes, find_lr, train, tune, runs, evaluate, predict, convert, doctor):
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
    """Run the command line; never returns. Usage errors, Ctrl-C (130) and broken pipes are typer's."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # an exception, so that `finally` blocks run
    try:
        app()
    except ClassicNetsError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{where}. {_ADVICE[error.errno]}", 6)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _fail("There is not enough memory. Try smaller batches (--set batch_size=32) or smaller images.", 6)


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
    error_console().print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
