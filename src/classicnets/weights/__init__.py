"""Trained weights: read any file safely, translate its names, fetch published weights, save our own."""

from classicnets.weights.pretrained import Pretrained, create_model, pretrained

__all__ = ["Pretrained", "create_model", "pretrained"]
