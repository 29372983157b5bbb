"""How long a report takes on this machine, before there is anything to report."""

from __future__ import annotations

from classicnets.data.imageset import ImageSet
from classicnets.images import thumbnail_uri
from classicnets.reports.canvas import png
from classicnets.reports.curves import CurvePoint, training_curves
from classicnets.reports.mistakes import MOST_MISTAKES
from classicnets.reports.page import MOST_EXAMPLES, MOST_SHOWN, SIDE
from classicnets.reports.thumbnails import picture
from classicnets.system.stopwatch import seconds_of

_FIGURES = 10  # drawings of the curves that take as long as all figures of a report
_REST = 0.2  # seconds for the numbers and the page


def report_seconds(images: ImageSet) -> float:
    """Estimate how long `write_report` takes: a figure is drawn and a picture is read, which takes a fraction of it.

    Args:
        images: the images of the report, 1 or more.

    Raises BadImage if the first one cannot be decoded.

    >>> report_seconds(load_data("digits").test)  # doctest: +SKIP
    1.9
    """
    rows = [CurvePoint(epoch, 1.0, 1.0, 0.5, 0.5) for epoch in (1, 2)]

    def draw() -> object:
        return png(training_curves(rows))

    draw()  # the first figure loads the fonts
    examples = min(len(images), MOST_EXAMPLES * min(len(images.classes), MOST_SHOWN))
    pictures = examples + 2 * min(len(images), MOST_MISTAKES)  # mistakes are in a figure and on the page
    picture_seconds = seconds_of(lambda: thumbnail_uri(picture(images, 0, side=SIDE)))
    return _FIGURES * seconds_of(draw) + pictures * picture_seconds + _REST
