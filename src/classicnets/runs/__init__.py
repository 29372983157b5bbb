"""What runs reached, side by side, and their TensorBoard logs."""
