"""`classicnets audit`: is the data right? One file for each of its commands."""

from __future__ import annotations

import typer

from classicnets.cli.audit import labels, next_


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    for command in (labels, next_):
        command.register(group)
    app.add_typer(group, name="audit", help="Is the data right? Wrong labels, what to label next.")
