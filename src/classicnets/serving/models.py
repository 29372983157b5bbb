"""`Served`: a classifier under a name, which is loaded again when its files are replaced."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classicnets.card import Card
from classicnets.deployment import Bundle, load
from classicnets.deployment.manifest import is_bundle
from classicnets.errors import ClassicNetsError, ConfigError
from classicnets.serving.drift import DriftTest
from classicnets.serving.sessions import open_for_server
from classicnets.system.finite import finite

if TYPE_CHECKING:
    from classicnets.classifier import Classifier

logger = logging.getLogger(__name__)

_DOCUMENTS = ("bundle.json", "config.json", "model/config.json")  # replaced last when a classifier is saved


class Served:
    """A classifier that a server answers with.

    Attributes:
        name: what requests call it.
        path: the run, model folder or bundle.
        scorer: what answers now. A request keeps the one that it began with.
        version: 1, and one more for each time that its files were replaced.
        drift: tests whether images still look like the validation images; None if the scorer's card keeps none of them.
    """

    def __init__(self, name: str, path: Path, *, workers: int = 1) -> None:
        self.name, self.path = name, path
        self.version = 1
        self._workers = workers
        self._state = self._look()
        self.scorer = self._load()
        self.drift = _test_of(self.scorer)
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Load the classifier again if its files were replaced; return whether it was.

        If the new ones cannot be loaded, the old classifier goes on answering.
        """
        with self._lock:
            state = self._look()
            if state == self._state:
                return False
            try:
                scorer = self._load()
            except ClassicNetsError as error:
                logger.warning("%s was not loaded again: %s", self.name, error)
                return False
            self._state, self.scorer, self.drift = state, scorer, _test_of(scorer)
            self.version += 1
            return True

    def watch(self, scorer: Classifier | Bundle, strangeness: Iterable[float]) -> None:
        """Have the drift test see images that `scorer` answered, unless it was replaced meanwhile."""
        test = self.drift
        if test is not None and test.reference is scorer.card.drift:
            for score in strangeness:
                test.add(score)

    def _load(self) -> Classifier | Bundle:
        """Load it so that `workers` threads can ask it at once."""
        return open_for_server(self.path, workers=self._workers) if is_bundle(self.path) else load(self.path)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        """What tells an old document from a new one."""
        found = []
        for name in _DOCUMENTS:
            try:
                state = (self.path / name).stat()
            except OSError:
                continue
            found.append((state.st_ino, state.st_mtime_ns, state.st_size))
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Return what a client may know, JSON-ready. No path of this machine is in it."""
        card = self.scorer.card
        bundle = self.scorer if isinstance(self.scorer, Bundle) else None
        return {
            "name": self.name,
            "version": self.version,
            "model": card.model_name,
            "classes": list(card.classes),
            "input_size": list(card.preprocess.input_size),
            "channels": card.preprocess.channels,
            "engine": bundle.manifest.engine if bundle else "torch",
            "precision": bundle.session.executed if bundle else "fp32",
            "can_explain": bundle is None,
            "coverage": card.conformal is not None,
            "unlike_training": card.novelty is not None,
            "drift": None if self.drift is None else self.drift.state().to_dict(),
            "metrics": _metrics(card),
        }


def _metrics(card: Card) -> dict[str, Any]:
    """What was measured, as far as it is numbers and texts. A bundle may come from anywhere."""
    metrics = card.provenance.get("metrics")
    if not isinstance(metrics, dict):
        return {}
    return {name: finite(value) for name, value in metrics.items() if _is_flat(value)}


def _is_flat(value: object) -> bool:
    return not any(isinstance(one, dict | list) for one in (value if isinstance(value, list) else [value]))


def _test_of(scorer: Classifier | Bundle) -> DriftTest | None:
    return None if scorer.card.drift is None else DriftTest(scorer.card.drift)


def serve_names(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the paths under the names that requests use: NAME=PATH as given, else the folder's name.

    Raises ConfigError if two have the same name, or a name cannot stand in an address.

    >>> serve_names([Path("runs/birds"), Path("old=runs/birds-2")])
    {'birds': PosixPath('runs/birds'), 'old': PosixPath('runs/birds-2')}
    """
    named: dict[str, Path] = {}
    for given in paths:
        name, separator, rest = str(given).partition("=")
        path = Path(rest) if separator else given
        if not separator:
            folder = path.absolute()
            name = folder.parent.name if folder.name in ("bundle", "model") else folder.name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ConfigError(
                f"{name!r} cannot be a model's name in an address. Name it with letters, digits, '.', '_' and '-': "
                f"NAME={path}"
            )
        if name in named:
            raise ConfigError(f"Two models are called {name}: {named[name]} and {path}. Name them: NAME=PATH.")
        named[name] = path
    return named
