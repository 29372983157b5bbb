"""The six families, one file each. `contract` says what they share, `catalog` lists them.

This file imports nothing, so that `classicnets.models.facts` works without loading PyTorch.
"""
