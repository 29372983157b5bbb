"""How good a classifier is, in numbers: scorer, images -> evaluate -> Report."""

from classicnets.evaluation.report import Report, evaluate

__all__ = ["Report", "evaluate"]
