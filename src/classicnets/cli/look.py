"""`classicnets look`: see inside a classifier's network, on one page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.found import FoundImages
from classicnets.cli.options import Device
from classicnets.cli.output import JsonFlag, answer, check_page, print_json, progress_bars
from classicnets.cli.output import error as say_error
from classicnets.cli.output import note as say_note
from classicnets.errors import BadImage, ConfigError, DataError, first_sentence
from classicnets.system.paths import free_file

if TYPE_CHECKING:
    from classicnets.classifier import Classifier
    from classicnets.evaluation.choose import Chosen

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets look runs/photos

  classicnets look runs/photos cat.jpg dog.jpg --stage conv4 --units 24

  classicnets look runs/photos --data holiday/ --images 5000 --out inside.html --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(look)


def look(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE...", help="Images whose feature maps are shown. Default: two of the data's."),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The stage to look at, as `inspect` lists them. Default: some of all."),
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="How many units of a stage: the most selective ones.")] = 8,
    images: Annotated[
        int, typer.Option(min=1, help="At most how many images of the data pass through the network.")
    ] = 1_000,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled images: a folder, csv:FILE or a data set. Default: the run's test images."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which images pass, and t-SNE's random numbers.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new .html file. Default: look.html, with a number if taken."),
    ] = None,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """See inside a network: first filters, feature maps, the images that excite its units, its features on a plane.

    Writes one page that needs no other file. If the run's images are gone, the page has what can still be shown.

    An image that cannot be read gets an error line on stderr. The others are still shown; the exit code is then 3.
    """
    from classicnets.classifier import Classifier
    from classicnets.explanation import check_look
    from classicnets.explanation import look as look_inside
    from classicnets.system.threads import limit_threads

    if out is not None:
        check_page(out)
    limit_threads()
    classifier = Classifier.load(run, device=device)
    check_look(classifier, stage=stage, units=units, num_images=images)
    found = FoundImages(pictures or [])
    good = [path for path in found.paths if _can_be_read(classifier, path)]
    chosen, gone = _images(classifier, run, data)
    for text in [*(chosen.notes if chosen else ()), *gone]:
        say_note(text)
    with progress_bars() as report:
        view = look_inside(
            classifier, chosen.images if chosen else None, pictures=good, stage=stage, units=units, num_images=images,
            data=chosen.name if chosen else "", on_error="skip", seed=seed, progress=report,
        )  # fmt: skip
    view = replace(view, notes=(*view.notes, *gone))
    page = view.save(out or free_file(Path("look.html")))
    if as_json:
        print_json({**view.to_dict(), "page": str(page)})
    else:
        answer(f"page: {page}")
    if found.problems or len(good) < len(found.paths):
        raise typer.Exit(3)


def _images(classifier: Classifier, run: Path, data: str | None) -> tuple[Chosen | None, list[str]]:
    """The labelled images, or a sentence that says why there are none. Raises DataError for those that a user names."""
    from classicnets.evaluation.choose import given_images, own_images, run_of

    if data is not None:
        return given_images(data, on_error="skip", run=run_of(run)), []
    try:
        return own_images(classifier, run=run_of(run)), []
    except (DataError, ConfigError) as error:
        reason = first_sentence(error)
        return None, [
            f"Units and features are left out, as they need the run's images ({reason}); --data names others."
        ]


def _can_be_read(classifier: Classifier, path: Path) -> bool:
    try:
        classifier.preprocess.read(path)
    except BadImage as error:
        say_error(str(error))
        return False
    return True
