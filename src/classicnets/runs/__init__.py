"""What runs reached, side by side."""
