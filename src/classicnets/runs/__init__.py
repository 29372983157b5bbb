"""Runs side by side, and their TensorBoard files."""
