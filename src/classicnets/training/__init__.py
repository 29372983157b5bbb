"""Training. `train` and `resume` do it all; `start` and `reopen` give a job to iterate over; a `Run` is left."""

from classicnets.training.entry import reopen, resume, start, train
from classicnets.training.recipe.schema import Recipe, load_recipe, shipped_recipes
from classicnets.training.run.folder import Run
from classicnets.training.run.job import Finished, Job
from classicnets.training.step.state import EpochDone, StepDone

__all__ = [
    "EpochDone",
    "Finished",
    "Job",
    "Recipe",
    "Run",
    "StepDone",
    "load_recipe",
    "reopen",
    "resume",
    "shipped_recipes",
    "start",
    "train",
]
