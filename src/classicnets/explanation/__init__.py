"""Why a classifier answers as it does: maps of the places in an image that speak for a class, each with a verdict.

`score` is what a map explains, `attribution` and `gradcam` are the methods, `verdict` tests a map, `entry` brings
them together. Nothing here changes the classifier.
"""

from classicnets.explanation.entry import check_request, explain
from classicnets.explanation.explanation import Explanation
from classicnets.explanation.verdict import Verdict

__all__ = ["Explanation", "Verdict", "check_request", "explain"]
