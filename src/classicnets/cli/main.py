"""The `classicnets` command: the list of its verbs, and the one place where errors become exit codes.

Commands import what they need when they run, so that `--help` and `models` answer without PyTorch.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

import typer

from classicnets import __version__
from classicnets.cli import check, convert, doctor, evaluate, inspect, models, predict, train
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
for command in (models, inspect, check, train, evaluate, predict, convert, doctor):
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
    """Run the command line; never returns."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except ClassicNetsError as error:
        error_console().print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        where = f" ({error.filename})" if error.filename else ""
        error_console().print(
            f"error: {error.strerror}{where}. Free some space or choose another folder with --out.",
            style="red", markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        sys.exit(6)
    except KeyboardInterrupt:
        error_console().print("interrupted", style="yellow")
        sys.exit(130)


_STORAGE_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EACCES)


class Terminated(SystemExit):
    """SIGTERM, raised in the main thread so that `finally` blocks run; exits with 143."""


def _terminate(signum: int, frame: object) -> None:
    raise Terminated(143)


if __name__ == "__main__":
    # A broken pipe (`classicnets models | head -1`) ends quietly, as every Unix tool does.
    try:
        main()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
