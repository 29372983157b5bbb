"""The search as Optuna sees it: which values the next trial tries, whether a trial is hopeless, which one is best.

Optuna is an extra and is imported only here, inside the functions that need it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from classicnets.errors import MissingExtra
from classicnets.evaluation.best import metric_of
from classicnets.search.space import Choice, Range, Space, value_in
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.state import EpochDone

if TYPE_CHECKING:
    import optuna

_RANDOM_TRIALS = 5  # before Optuna's TPE has enough to go by, and before any trial is given up


def require_optuna() -> None:
    """Raise MissingExtra, with the line that installs Optuna, if it is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingExtra('Optuna is not installed. Install it with: pip install "classicnets[tune]"') from None


def open_study(journal: Path, recipe: Recipe, space: Space) -> optuna.Study:
    """Open the study in the file `journal`, or begin it. The recipe as it is comes first, if it lies in the space."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
        study_name="tune",
        direction="minimize" if metric_of(recipe.best) == "loss" else "maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_RANDOM_TRIALS - 1, n_warmup_steps=2),
        load_if_exists=True,
    )
    usual = {key: value_in(recipe, key) for key in space}
    if not study.trials and all(usual[key] in search for key, search in space.items()):
        study.enqueue_trial(usual)
    return study


def next_trial(study: optuna.Study, *, most: int, seed: int) -> optuna.Trial | None:
    """The trial that was under way, else a new one, else None: `most` trials have begun."""
    import optuna

    begun = [trial for trial in study.trials if trial.state != optuna.trial.TrialState.WAITING]
    for trial in begun:
        if trial.state == optuna.trial.TrialState.RUNNING:
            return optuna.Trial(study, trial._trial_id)
    if len(begun) >= most:
        return None
    # A seed for each trial, so that a resumed search tries what it would have tried without a stop.
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=(seed + len(begun)) % 2**32)
    return study.ask()


def suggested(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """The value that the trial tries, for each key."""
    return {key: _suggest(trial, key, search) for key, search in space.items()}


def tried(trial: optuna.trial.FrozenTrial, space: Space) -> dict[str, Any]:
    """The value that the trial tried, for each key."""
    return {key: _rounded(trial.params[key], search) for key, search in space.items()}


def is_hopeless(trial: optuna.Trial, event: EpochDone, recipe: Recipe) -> bool:
    """Report an epoch to Optuna. Whether the trial is worse than the median of the others, and not at its end."""
    if event.epoch not in trial.study.trials[trial.number].intermediate_values:
        trial.report(event.value(recipe.best), event.epoch)
    return event.epoch < recipe.epochs and trial.should_prune()


def close_trial(study: optuna.Study, trial: optuna.Trial, state: str, value: float | None) -> None:
    """Record how a trial ended: `state` as in `TrialDone`. Only a finished trial can be the best."""
    import optuna

    trial.set_user_attr("state", state)
    if state == "finished":
        study.tell(trial, value)
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def fail_trial(study: optuna.Study, trial: optuna.Trial) -> None:
    """Record that a trial ended with an error, and has no result."""
    import optuna

    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def best_number(study: optuna.Study) -> int | None:
    """The number, from 1, of the best trial among those that finished (of equals, the first); None if there is none."""
    finished = any(trial.state.name == "COMPLETE" for trial in study.trials)
    return study.best_trial.number + 1 if finished else None


def importances(study: optuna.Study) -> dict[str, float]:
    """The share, 0..1, of the differences between trials that each key explains (fANOVA); empty if there are few."""
    import optuna

    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < _RANDOM_TRIALS or len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))


def _suggest(trial: optuna.Trial, key: str, search: Range | Choice) -> Any:
    if isinstance(search, Choice):
        return trial.suggest_categorical(key, search.values)
    if search.whole:
        return trial.suggest_int(key, int(search.low), int(search.high), log=search.log)
    return _rounded(trial.suggest_float(key, search.low, search.high, log=search.log), search)


def _rounded(value: Any, search: Range | Choice) -> Any:
    """A value from Optuna as it is tried: a real number to four digits."""
    return value if isinstance(search, Choice) or search.whole else float(f"{value:.4g}")
