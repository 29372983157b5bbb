"""`classicnets audit next`: which images of a pool without labels to label first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.evaluate import OnBadImage
from classicnets.cli.options import DATA
from classicnets.cli.output import JsonFlag, answer, note, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from classicnets.audit.wanted import NextLabels

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets audit next photos/ unlabelled/ --run runs/photos --out next

  classicnets audit next csv:labels.csv unlabelled/ --model resnet18 --weights torchvision --count 200 --out next
"""
_MOST_SHOWN = 20


def register(group: typer.Typer) -> None:
    """Add the command to the group `audit`."""
    group.command(name="next", epilog=_EXAMPLES)(next_)


def next_(
    data: Annotated[str, DATA],
    pool: Annotated[Path, typer.Argument(help="A folder of images without labels, with all its subfolders.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder for next.csv and next.html.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images to choose.")] = 100,
    run: Annotated[Path | None, typer.Option(help="A run whose network is used; the same as --weights.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Trained weights: a run, a model folder, a file, or torchvision[:NAME]. Better than none."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The network of --weights. Without weights: the network that is trained.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the clusters, and the training of a network.")] = 0,
    on_error: Annotated[
        OnBadImage, typer.Option(help="If images of the pool cannot be decoded: fail, or skip them.")
    ] = OnBadImage.skip,
    as_json: JsonFlag = False,
) -> None:
    """Choose which images of a pool to label next: those that the classifier is unsure of, each unlike the others.

    Images that are labelled already, and copies, are left out. No file is changed.
    """
    from classicnets.audit.next_label import next_to_label
    from classicnets.system.storage import check_new
    from classicnets.system.threads import limit_threads

    if out is not None:
        check_new(out)
    limit_threads()
    with progress_bars() as report:
        found = next_to_label(
            data, pool, weights=weights, model=model, run=run, count=count, seed=seed, on_error=on_error.value,
            progress=report,
        )  # fmt: skip
    if out is not None:
        found.save(out)
    for text in (*found.notes, *found.left_out):
        note(text)
    if as_json:
        print_json({**found.to_dict(), "out": out and str(out)})
    else:
        _print(found, out)


def _print(found: NextLabels, out: Path | None) -> None:
    answer(f"label these {len(found.wanted):,} of {found.num_pool:,} images next", style="bold")
    answer(f"chosen by {found.method}\n")
    shown = found.wanted[:_MOST_SHOWN]
    print_table(("path", "score", "guess", "reason"), [(one.path, one.score, one.guess, one.reason) for one in shown])
    if len(found.wanted) > len(shown):
        answer(f"({len(found.wanted) - len(shown):,} more; --out DIR writes all)")
    if out is not None:
        answer(f"\nlist: {out / 'next.csv'}")
        answer(f"page: {out / 'next.html'}")
