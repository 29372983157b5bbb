"""Fifteen ways in which images go bad, at five severities: noise, blur, weather and digital damage.

The kinds are those of ImageNet-C (Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", Sec. 3). The implementation is our own: it works on uint8 images of any size and number
of channels, with severities that follow the image's size, and needs no picture files. Its numbers compare classifiers
with each other, not with published results on ImageNet-C.

`noise`, `blur`, `weather` and `digital` hold the corruptions, `draws` their random numbers, `robustness` measures a
classifier on them.
"""

from classicnets.evaluation.corruptions.corrupt import CORRUPTIONS, KINDS, SEVERITIES, corrupt
from classicnets.evaluation.corruptions.robustness import Robustness, evaluate_corruptions

__all__ = ["CORRUPTIONS", "KINDS", "SEVERITIES", "Robustness", "corrupt", "evaluate_corruptions"]
