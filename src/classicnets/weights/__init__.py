"""Trained weights: reading anybody's safely, translating them, fetching published ones, and keeping our own."""

from classicnets.weights.pretrained import Pretrained, create_model, pretrained

__all__ = ["Pretrained", "create_model", "pretrained"]
