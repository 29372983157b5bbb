"""`classicnets audit labels`: find labels that are probably wrong, and correct them without touching a file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.evaluate import OnBadImage, Split
from classicnets.cli.options import DATA
from classicnets.cli.output import JsonFlag, answer, note, print_json, print_table, progress_bars
from classicnets.errors import ConfigError

if TYPE_CHECKING:
    from classicnets.audit.suspects import LabelAudit

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets audit labels photos/ --out audit

  classicnets audit labels photos/ --model resnet18 --weights torchvision --out audit

  classicnets audit labels --page audit

  classicnets train resnet18 photos/ --corrections audit/corrections.csv
"""
_MOST_PAIRS = 20


def register(group: typer.Typer) -> None:
    """Add the command to the group `audit`."""
    group.command(epilog=_EXAMPLES)(labels)


def labels(
    data: Annotated[str | None, DATA] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for suspects.csv and labels.html.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Trained weights: a run, a model folder, a file, or torchvision[:NAME]. Much better than none."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The network of --weights. Without weights: the network that is trained for each fold."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A run whose weights are used; the same as --weights.")] = None,
    part: Annotated[
        Split, typer.Option(help="The images to audit. Data that is not divided is audited as a whole.")
    ] = (Split.train),
    folds: Annotated[int, typer.Option(min=2, help="Into how many parts the images are divided.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Decides the folds, and the training of the networks.")] = 0,
    on_error: Annotated[
        OnBadImage, typer.Option(help="If images cannot be decoded: fail, or skip them.")
    ] = OnBadImage.fail,
    page: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Correct the labels of an audit: serve its page on 127.0.0.1 until Ctrl-C."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of --page; 0 takes a free one.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Find the images whose labels are probably wrong, by models that did not learn from them.

    No image is changed. --page shows the suspects one by one, and saves each decision to DIR/corrections.csv, which
    `train --corrections` uses.
    """
    if page is not None:
        if data is not None or out is not None:
            raise ConfigError("--page DIR shows an audit that exists. Give only --page DIR, or DATA and --out DIR.")
        _serve(page, port)
        return
    if data is None or out is None:
        raise ConfigError("Give the data and a new folder: `classicnets audit labels DATA --out DIR`. Or --page DIR.")

    from classicnets.audit.labels import audit_labels
    from classicnets.system.storage import check_new
    from classicnets.system.threads import limit_threads

    check_new(out)
    limit_threads()
    with progress_bars() as report:
        found = audit_labels(
            data, weights=weights, model=model, run=run, part=part.value, folds=folds, seed=seed,
            on_error=on_error.value, progress=report,
        )  # fmt: skip
    found.save(out)
    for text in found.notes:
        note(text)
    if as_json:
        print_json({**found.to_dict(), "out": str(out)})
    else:
        _print(found, out)


def _print(found: LabelAudit, out: Path) -> None:
    share = found.expected_wrong / found.num_images
    answer(
        f"{found.data}: {len(found.suspects):,} suspects among {found.num_images:,} images; about "
        f"{found.expected_wrong:,.0f} labels are expected to be wrong ({share:.1%})",
        style="bold",
    )
    answer(f"judged by {found.method}\n")
    if found.pairs:
        print_table(("label", "probably", "suspects"), found.pairs[:_MOST_PAIRS])
        if len(found.pairs) > _MOST_PAIRS:
            answer(f"({len(found.pairs) - _MOST_PAIRS:,} more pairs of classes; --json lists all)")
        answer("")
    answer(f"suspects: {out / 'suspects.csv'}")
    answer(f"page:     {out / 'labels.html'}")
    answer(f"next:     classicnets audit labels --page {shlex.quote(str(out))}")


def _serve(folder: Path, port: int) -> None:
    from collections import Counter

    from classicnets.audit.correct_page import CorrectPage
    from classicnets.audit.decisions import Decisions

    decisions = Decisions.open(folder)
    with CorrectPage(decisions, port) as server:
        answer(f"page: {server.url}")
        answer("Open it in a browser. Stop with Ctrl-C; every decision is saved at once.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            answer("")
    counts = Counter(correction.action for correction in decisions.read().values())
    answer(f"{decisions.file}: {counts['keep']:,} kept, {counts['relabel']:,} relabelled, {counts['drop']:,} dropped")
    answer(f"next: classicnets train MODEL DATA --corrections {shlex.quote(str(decisions.file))}")
