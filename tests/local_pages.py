"""The page that corrects labels, answered by a thread for a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classicnets.audit.correct_page import CorrectPage
from classicnets.audit.decisions import Decisions


@contextmanager
def correcting(folder: Path) -> Iterator[CorrectPage]:
    """Answer for the audit in `folder` until the block ends."""
    with CorrectPage(Decisions.open(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
