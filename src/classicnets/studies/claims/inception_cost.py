"""What the 1x1 reductions of the Inception modules save: the multiply-adds of GoogLeNet with and without them.

Counted by running each network without data, as `classicnets inspect` does.
"""

from __future__ import annotations

from classicnets.studies.claim import Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import ratio


def _count() -> Cells:
    from classicnets.analysis import inspect
    from classicnets.models.catalog import create

    cells = {}
    for name, reduce in (("reduced (Fig. 2b)", True), ("naive (Fig. 2a)", False)):
        found = inspect(create("googlenet", device="meta", reduce=reduce))
        cells[name] = {"macs": found.macs, "parameters": found.parameters}
    return cells


CLAIM = Claim(
    name="inception-cost",
    sentence="1x1 convolutions before the larger ones cut GoogLeNet's multiply-adds to less than half.",
    guide="4.1, 4.4",
    paper="Szegedy et al. 2014, Sec. 4",
    hypotheses=[
        Hypothesis(
            what="multiply-adds of GoogLeNet: without the reductions divided by with them",
            value=ratio("macs", "naive (Fig. 2a)", "reduced (Fig. 2b)"),
            threshold=2.0,
            unit="times",
        )
    ],
    quick=Preset(minutes=0.1),
    full=Preset(minutes=0.1),
    count=_count,
    draw=dots({"multiply-adds": "macs", "parameters": "parameters"}, scale="count"),
)
