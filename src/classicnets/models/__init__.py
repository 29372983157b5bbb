"""The six families, one file each; `contract` is what they share, `catalog` is the list of them.

This file imports nothing, so that `classicnets.models.facts` answers without loading PyTorch.
"""
