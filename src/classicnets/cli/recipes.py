"""`classicnets recipes`: the recipes that come with the package, and the accuracy that each states."""

from __future__ import annotations

import typer

from classicnets.cli.output import JsonFlag, print_json, print_table

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets recipes

  classicnets recipes --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(recipes)


def recipes(as_json: JsonFlag = False) -> None:
    """List the recipes for `train --recipe`: what each is for, and its stated accuracy."""
    from classicnets.training.recipe.files import load_recipe, recipe_facts, shipped_recipes

    rows = {name: {"description": load_recipe(name).description, **recipe_facts(name)} for name in shipped_recipes()}
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("recipe", "for", "accuracy"),
            [(name, row["description"], row.get("accuracy", "not stated")) for name, row in rows.items()],
        )
