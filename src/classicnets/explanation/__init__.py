"""What a classifier's network sees, and why it answers as it does.

`explain` makes maps of the places in an image that speak for a class, each with a verdict: `score` is what a map
explains, `attribution` and `gradcam` are the methods, `verdict` tests a map, `entry` brings them together.

`look` shows the network itself: `filters`, `activations` and `projection` are its numbers, `inside` brings them
together, `view` is the result and `page` its HTML. Nothing here changes the classifier.
"""

from classicnets.explanation.entry import check_request, explain
from classicnets.explanation.explanation import Explanation
from classicnets.explanation.inside import check_look, look
from classicnets.explanation.verdict import Verdict
from classicnets.explanation.view import NetworkView

__all__ = ["Explanation", "NetworkView", "Verdict", "check_look", "check_request", "explain", "look"]
