"""One page on all studies: the verdicts in a table, then each study with its numbers and its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from classicnets.reports.html import render, themed
from classicnets.studies.outcome import Outcome
from classicnets.studies.verdict import Verdict
from classicnets.system.storage import written_aside


def write_page(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Write the page, or write it again.

    Args:
        outcomes: what the studies found, in the order of the page; 1 or more.
        path: the .html file.

    Returns `path`. Raises StorageError if it cannot be written.
    """
    counts = Counter(outcome.verdict for outcome in outcomes)
    text = render(
        "studies.html.j2",
        outcomes=outcomes,
        figures=[themed(outcome.draw) for outcome in outcomes],
        counts=", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]),
        environment=outcomes[0].environment,
    )
    with written_aside(path) as new:
        new.write_text(text, "utf-8")
    return path
