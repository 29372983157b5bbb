"""What a search yields: a trial begins, a trial is over, the search is over. Plain results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classicnets.evaluation.best import Best, score_of, words_of
from classicnets.training.run.folder import Run
from classicnets.training.run.job import Finished


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins, or is resumed.

    Attributes:
        number: of the trial, from 1.
        params: the value tried for each key that is searched.
        run: the trial's run.
        num_steps: optimizer steps of the whole run.
    """

    number: int
    params: dict[str, Any]
    run: Run
    num_steps: int


@dataclass(frozen=True)
class TrialDone:
    """A trial is over.

    Attributes:
        number: of the trial, from 1.
        params: the value tried for each key that is searched.
        state: "finished", "given up" (worse than the median of the others) or "diverged".
        value: the best epoch's, by the recipe's `best`: a share, 0..1, or a loss. None if no epoch was done.
        epochs: how many were done.
    """

    number: int
    params: dict[str, Any]
    state: str
    value: float | None
    epochs: int


@dataclass(frozen=True)
class Tuned:
    """The search is over.

    Attributes:
        folder: of the search.
        by: what trials were compared by, on the validation images.
        trials: every trial, in the order of their numbers.
        best: the best trial.
        recipe: the file with the best trial's recipe.
        finished: the best trial's measurement on the test images.
        importances: the share, 0..1, of the differences between trials that each key explains; empty if there are
            too few trials.
    """

    folder: Path
    by: Best
    trials: tuple[TrialDone, ...]
    best: TrialDone
    recipe: Path
    finished: Finished
    importances: dict[str, float]

    @property
    def judged(self) -> str:
        """What trials were compared by, in words."""
        return f"validation {words_of(self.by)}"

    @property
    def ranked(self) -> list[TrialDone]:
        """The trials, best first (of equals, the earlier); those without an epoch last."""

        def place(trial: TrialDone) -> tuple[bool, float, int]:
            return trial.value is None, -score_of(trial.value or 0.0, self.by), trial.number

        return sorted(self.trials, key=place)
