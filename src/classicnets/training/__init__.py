"""Training: `train` does it all, `start` and `resume` give a job to iterate over, a `Run` is what it leaves."""

from classicnets.training.entry import resume, start, train
from classicnets.training.recipe.files import load_recipe, shipped_recipes
from classicnets.training.recipe.schema import Recipe
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
    "resume",
    "shipped_recipes",
    "start",
    "train",
]
