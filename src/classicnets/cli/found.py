"""What a command's arguments name: images, and the classifier that is asked about them."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from classicnets.cli.output import error as say_error
from classicnets.errors import DataError

if TYPE_CHECKING:
    from classicnets.classifier import Classifier
    from classicnets.deployment import Bundle


def load_scorer(path: Path, *, device: str) -> Classifier | Bundle:
    """Load a run, a model folder or a bundle. A run's network uses no more threads than this process may use cores."""
    from classicnets.deployment import Bundle, load

    loaded = load(path, device=device)
    if not isinstance(loaded, Bundle):
        from classicnets.system.threads import limit_threads

        limit_threads()
    return loaded


class FoundImages:
    """The images that the arguments name, each once, in order. `problems` counts the arguments without an image."""

    def __init__(self, arguments: Iterable[str]) -> None:
        paths: dict[Path, None] = {}
        self.problems = 0
        for argument in arguments:
            try:
                paths |= dict.fromkeys(_images_at(argument))
            except DataError as error:
                self.problems += 1
                say_error(str(error))
        self.paths = list(paths)


def _images_at(argument: str) -> list[Path]:
    """The images of one argument. Raises DataError if there are none."""
    from classicnets.images import find_images

    path = Path(argument)
    if path.exists() or not glob.has_magic(argument):
        places = [path]
    else:
        places = sorted(map(Path, glob.glob(argument, recursive=True)))
    found = [image for place in places for image in find_images(place)]
    if not found:
        raise DataError(f"{argument}: no images there. Give image files, folders with images, or globs.")
    return found
