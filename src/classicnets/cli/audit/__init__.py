"""`classicnets audit`: is the data right? One file for each of its commands."""

from __future__ import annotations

import typer

from classicnets.cli.audit import curve, labels, next_, shortcuts


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    for command in (labels, shortcuts, curve, next_):
        command.register(group)
    app.add_typer(group, name="audit", help="Is the data right? Wrong labels, shortcuts, enough images, what is next.")
