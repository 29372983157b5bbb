"""`classicnets explain`: where in an image a classifier finds a class, and whether to believe it."""

from __future__ import annotations

import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from classicnets.cli.found import FoundImages
from classicnets.cli.options import Device
from classicnets.cli.output import JsonFlag, print_json, print_table, progress_bars
from classicnets.cli.output import error as say_error
from classicnets.errors import BadImage, ConfigError
from classicnets.system.paths import numbered

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets explain runs/photos cat.jpg

  classicnets explain runs/photos holiday/ --class dog --method integrated-gradients --out maps

  classicnets explain runs/photos cat.jpg --stage conv4 --no-verdict --json
"""


class MethodChoice(StrEnum):
    """How a map is made."""

    grad_cam = "grad-cam"
    grad_cam_plus_plus = "grad-cam++"
    integrated_gradients = "integrated-gradients"
    occlusion = "occlusion"
    smoothgrad = "smoothgrad"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(explain)


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    images: Annotated[list[str], typer.Argument(help="Image files, folders (searched to any depth) or globs.")],
    method: Annotated[
        MethodChoice, typer.Option(help="The last three need captum: pip install 'classicnets[explain]'.")
    ] = MethodChoice.grad_cam,
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="The class to look for. Default: the best class.")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For grad-cam and grad-cam++: a stage, as `inspect` lists them. Default: the last of 4x4 or more.",
        ),
    ] = None,
    verdict: Annotated[
        bool, typer.Option(help="Test each map: up to 5 more maps and 88 more images through the network.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Decides the random numbers of smoothgrad and of the tests.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A new folder for the files. Default: explanations, with a number if taken."),
    ] = None,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Show where in images a classifier finds a class, and whether to believe it.

    Each image gets an overlay (.png) and the map itself (.npy). Two tests say whether the map can be trusted: it must
    change when the network's weights are replaced with random ones, and what it marks must matter to the answer.

    An image that cannot be read gets an error line on stderr. The others are still explained; the exit code is then 3.
    """
    from classicnets.classifier import Classifier
    from classicnets.explanation import check_request
    from classicnets.explanation import explain as explain_image
    from classicnets.system.threads import limit_threads

    folder = _new_folder(out)
    limit_threads()
    classifier = Classifier.load(run, device=device)
    check_request(classifier, method=method.value, class_name=class_name, stage=stage)
    found = FoundImages(images)
    bad = found.problems
    rows = []
    with progress_bars() as report:
        for number, path in enumerate(found.paths, start=1):
            what = f"Image {number} of {len(found.paths)}"
            try:
                explanation = explain_image(
                    classifier, path, method=method.value, class_name=class_name, stage=stage, verdict=verdict,
                    seed=seed, progress=partial(report, what),
                )  # fmt: skip
            except BadImage as error:
                say_error(str(error))
                bad += 1
                continue
            overlay, values = explanation.save(folder)
            rows.append(explanation.to_dict() | {"overlay": str(overlay), "values": str(values)})
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ("image", "class", "score", "overlay", "verdict"),
            [(row["path"], row["class"], f"{row['score']:.1%}", row["overlay"], row["finding"]) for row in rows],
        )
    if bad:
        raise typer.Exit(3)


def _new_folder(out: Path | None) -> Path:
    """The folder to write, which does not exist yet. Raises ConfigError if the user chose one that exists."""
    if out is None:
        return next(folder for folder in numbered(Path("explanations")) if not os.path.lexists(folder))
    if os.path.lexists(out):
        raise ConfigError(f"--out must name a new folder, such as maps; got {out}, which exists.")
    return out
