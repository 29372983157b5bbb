"""`classicnets runs`: what runs reached, how their recipes differ, and their curves in one figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from classicnets.cli.output import JsonFlag, clock, print_json, print_table, say

if TYPE_CHECKING:
    from classicnets.runs.compare import RunSummary

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets runs

  classicnets runs runs/resnet20_cifar-digits runs/resnet20_cifar-digits-2 --figure curves.svg

  classicnets runs runs/tune-resnet20_cifar-digits --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(runs)


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER|RUN", help="Run folders, or folders of runs; default runs/."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the curves of all runs to a new .png or .svg file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List runs, oldest first. Runs given one by one are also compared: what differs between their recipes.

    The column val shows the best epoch's validation value of the measure that the recipe's key `best` names.
    """
    from classicnets.reports.canvas import check_figure_path, save_figure
    from classicnets.runs import compare as library
    from classicnets.training import Run

    if figure is not None:
        check_figure_path(figure)
    given = paths or [Path("runs")]
    found = library.find_runs(*given) if paths or given[0].is_dir() else []
    rows = sorted((library.summarize(path) for path in found), key=lambda row: row.started or "")
    whole = [row for row in rows if row.state != "damaged"]
    one_by_one = len(found) > 1 and set(found) == set(given)
    differences = library.recipe_differences([Run.open(row.path).recipe for row in whole]) if one_by_one else {}
    names = library.short_names([row.path for row in rows])
    if figure is not None:
        save_figure(library.compare_curves({names[row.path]: row.path for row in whole}), figure)
    if as_json:
        answer: dict[str, Any] = {"runs": [row.to_dict() for row in rows]}
        if one_by_one:
            answer["differences"] = {key: _by_path(whole, values) for key, values in differences.items()}
        print_json(answer)
        return
    _print(rows, names, given)
    if one_by_one and len(whole) > 1:
        _print_differences(differences, [names[row.path] for row in whole])
    if figure is not None:
        typer.echo(f"\nfigure: {figure}")


def _print(rows: list[RunSummary], names: dict[Path, str], given: list[Path]) -> None:
    if not rows:
        say(f"No runs in {', '.join(map(str, given))}. Train one with: classicnets train MODEL DATA")
        return
    listed = [row for row in rows if row.state != "damaged"]
    if listed:
        print_table(
            ("run", "model", "data", "state", "epochs", "val", "test", "time", "started"),
            [
                (
                    names[row.path], row.model, row.data, row.state, f"{row.epochs}/{row.epochs_planned}",
                    _best(row), _percent(row.test_accuracy),
                    None if row.seconds is None else clock(row.seconds),
                    None if row.started is None else row.started[:16].replace("T", " "),
                )
                for row in listed
            ],
        )  # fmt: skip
    for row in rows:
        if row.state == "damaged":
            typer.echo(f"damaged: {names[row.path]}: {row.reason}")


def _print_differences(differences: dict[str, list[Any]], names: list[str]) -> None:
    typer.echo("")
    if differences:
        rows = [(key, *(_value(value) for value in values)) for key, values in differences.items()]
        print_table(("recipe", *names), rows)
    else:
        typer.echo("Their recipes are the same.")


def _by_path(rows: list[RunSummary], values: list[Any]) -> dict[str, Any]:
    return {str(row.path): value for row, value in zip(rows, values, strict=True)}


def _best(row: RunSummary) -> str | None:
    """The best epoch's value; what it measures is said unless it is the accuracy."""
    from classicnets.evaluation.best import metric_of, shown, words_of

    if row.best is None or row.best_value is None:
        return None
    text = shown(row.best_value, row.best)
    return text if row.best == "accuracy" else f"{words_of(metric_of(row.best))} {text}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.2%}"


def _value(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
